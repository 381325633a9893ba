"""Questions to a small cluster and their answers, read with an independent codec (dnspython)."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.zone import Zones, record_set

RECORDS = """
web.default.svc.cluster.local. A 10.96.0.20
web.default.svc.cluster.local. AAAA fd10:96::20
_http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local.
20.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.
v4.default.svc.cluster.local. A 10.96.0.21
db.shop.svc.cluster.local. A 10.244.1.5 10.244.2.5 10.244.3.5
db-0.db.shop.svc.cluster.local. A 10.244.1.5
db-1.db.shop.svc.cluster.local. A 10.244.2.5
_sql._tcp.db.shop.svc.cluster.local. SRV 0 50 5432 db-0.db.shop.svc.cluster.local.|0 50 5432 db-1.db.shop.svc.cluster.local.
5.1.244.10.in-addr.arpa. PTR db-0.db.shop.svc.cluster.local.
a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.d.f.ip6.arpa. PTR six.default.svc.cluster.local.
outside.default.svc.cluster.local. CNAME api.example.com.
inside.default.svc.cluster.local. CNAME web.default.svc.cluster.local.
deep.default.svc.cluster.local. CNAME inside.default.svc.cluster.local.
broken.default.svc.cluster.local. CNAME nowhere.default.svc.cluster.local.
loop-a.default.svc.cluster.local. CNAME loop-b.default.svc.cluster.local.
loop-b.default.svc.cluster.local. CNAME loop-a.default.svc.cluster.local.
"""


def cluster(text: str = RECORDS) -> Zones:
    zones = Zones(
        "cluster.local",
        ["10.96.0.0/16", "10.244.0.0/16", "fd10:96::/108"],
        ["10.244.0.0/16", "fd10:244::/48"],
        ["10.96.0.10", "fd10:96::a"],
    )
    for line in text.strip().splitlines():
        name, kind, data = line.split(" ", 2)
        number = wire.TYPES[kind]
        parts = data.split("|") if kind == "SRV" else data.split()
        zones.put(wire.name(name), record_set(number, 5, [wire.rdata(number, part) for part in parts]))
    return zones


ZONES = cluster()
NAMES_OF_ALL_KINDS = [line.split()[0] for line in RECORDS.strip().splitlines()] + [
    "cluster.local.",
    "svc.cluster.local.",
    "none.default.svc.cluster.local.",
    "10-244-1-5.default.pod.cluster.local.",
    "www.example.com.default.svc.cluster.local.",
]


def ask(name: str, kind: str, *, limit: int = 1232, **options: object) -> dns.message.Message | Forward:
    packet = dns.message.make_query(name, kind, **options).to_wire()
    reply = respond(wire.parse_query(packet), ZONES, random.Random(1), limit=limit, recursion=True)
    return reply if isinstance(reply, Forward) else dns.message.from_wire(reply)


def said(reply: dns.message.Message | Forward) -> str:
    assert not isinstance(reply, Forward)
    datas = [f"{dns.rdatatype.to_text(rrset.rdtype)} {item}" for rrset in reply.answer for item in rrset]
    denial = "" if not reply.authority else " soa"
    return f"{dns.rcode.to_text(reply.rcode())}{denial} {', '.join(sorted(datas))}".strip()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.default.svc.cluster.local", "A", "NOERROR A 10.96.0.20"),
        ("WEB.Default.svc.CLUSTER.local", "A", "NOERROR A 10.96.0.20"),
        ("web.default.svc.cluster.local", "AAAA", "NOERROR AAAA fd10:96::20"),
        ("v4.default.svc.cluster.local", "AAAA", "NOERROR soa"),
        ("web.default.svc.cluster.local", "MX", "NOERROR soa"),
        ("web.default.svc.cluster.local", "HTTPS", "NOERROR soa"),
        ("nothing.default.svc.cluster.local", "A", "NXDOMAIN soa"),
        ("nothing.default.svc.cluster.local", "AAAA", "NXDOMAIN soa"),
        ("x.web.default.svc.cluster.local", "A", "NXDOMAIN soa"),
        # Names between records exist (RFC 8020).
        ("default.svc.cluster.local", "A", "NOERROR soa"),
        ("svc.cluster.local", "A", "NOERROR soa"),
        ("_tcp.web.default.svc.cluster.local", "SRV", "NOERROR soa"),
        ("other.svc.cluster.local", "A", "NXDOMAIN soa"),
        ("cluster.local", "A", "NOERROR soa"),
        ("cluster.local", "NS", "NOERROR NS ns.dns.cluster.local."),
        ("ns.dns.cluster.local", "AAAA", "NOERROR AAAA fd10:96::a"),
        ("dns-version.cluster.local", "TXT", 'NOERROR TXT "1.1.0"'),
        (
            "_http._tcp.web.default.svc.cluster.local",
            "SRV",
            "NOERROR SRV 0 100 80 web.default.svc.cluster.local.",
        ),
        ("_http._udp.web.default.svc.cluster.local", "SRV", "NXDOMAIN soa"),
        ("db.shop.svc.cluster.local", "A", "NOERROR A 10.244.1.5, A 10.244.2.5, A 10.244.3.5"),
        ("db-1.db.shop.svc.cluster.local", "A", "NOERROR A 10.244.2.5"),
        ("20.0.96.10.in-addr.arpa", "PTR", "NOERROR PTR web.default.svc.cluster.local."),
        ("5.1.244.10.in-addr.arpa", "PTR", "NOERROR PTR db-0.db.shop.svc.cluster.local."),
        ("6.1.244.10.in-addr.arpa", "PTR", "NXDOMAIN soa"),
        ("1.244.10.in-addr.arpa", "PTR", "NOERROR soa"),
        (
            "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.d.f.ip6.arpa",
            "PTR",
            "NOERROR PTR six.default.svc.cluster.local.",
        ),
        ("10-244-1-7.default.pod.cluster.local", "A", "NOERROR A 10.244.1.7"),
        ("10-244-1-7.default.pod.cluster.local", "AAAA", "NOERROR soa"),
        ("fd10-244-0-1--7.default.pod.cluster.local", "AAAA", "NOERROR AAAA fd10:244:0:1::7"),
        ("192-0-2-1.default.pod.cluster.local", "A", "NXDOMAIN soa"),
        ("nonsense.default.pod.cluster.local", "A", "NXDOMAIN soa"),
        ("x.10-244-1-7.default.pod.cluster.local", "A", "NXDOMAIN soa"),
        ("default.pod.cluster.local", "A", "NOERROR soa"),
        ("pod.cluster.local", "A", "NOERROR soa"),
        (
            "inside.default.svc.cluster.local",
            "A",
            "NOERROR A 10.96.0.20, CNAME web.default.svc.cluster.local.",
        ),
        ("inside.default.svc.cluster.local", "CNAME", "NOERROR CNAME web.default.svc.cluster.local."),
        (
            "deep.default.svc.cluster.local",
            "AAAA",
            "NOERROR AAAA fd10:96::20, CNAME inside.default.svc.cluster.local., CNAME web.default.svc.cluster.local.",
        ),
        (
            "broken.default.svc.cluster.local",
            "A",
            "NXDOMAIN soa CNAME nowhere.default.svc.cluster.local.",
        ),
        (
            "loop-a.default.svc.cluster.local",
            "A",
            "SERVFAIL CNAME loop-a.default.svc.cluster.local., CNAME loop-b.default.svc.cluster.local.",
        ),
        ("cluster.local", "AXFR", "REFUSED"),
    ],
)
def test_answers(name: str, kind: str, expected: str) -> None:
    assert said(ask(name, kind)) == expected


def test_denials_carry_the_zone_s_soa_with_its_negative_ttl() -> None:
    reply = ask("nothing.default.svc.cluster.local", "A")
    (soa,) = reply.authority
    assert (soa.name.to_text(), soa.ttl, soa[0].minimum) == ("cluster.local.", 5, 5)
    (soa,) = ask("6.1.244.10.in-addr.arpa", "PTR").authority
    assert soa.name.to_text() == "244.10.in-addr.arpa."


def test_any_is_answered_with_one_set() -> None:
    reply = ask("web.default.svc.cluster.local", "ANY")
    assert len(reply.answer) == 1


def test_srv_brings_the_addresses_of_its_targets() -> None:
    reply = ask("_sql._tcp.db.shop.svc.cluster.local", "SRV")
    assert sorted(str(rrset[0]) for rrset in reply.additional) == ["10.244.1.5", "10.244.2.5"]


@pytest.mark.parametrize(
    ("name", "forwarded", "chain"),
    [
        ("example.com", "example.com.", 0),
        ("outside.default.svc.cluster.local", "api.example.com.", 1),
        ("7.0.0.127.in-addr.arpa", "7.0.0.127.in-addr.arpa.", 0),
    ],
)
def test_what_is_not_ours_is_forwarded(name: str, forwarded: str, chain: int) -> None:
    reply = ask(name, "A")
    assert isinstance(reply, Forward)
    assert (wire.text(reply.name), len(reply.chain)) == (forwarded, chain)


def test_the_spelling_of_the_question_is_kept() -> None:
    packet = dns.message.make_query("wEb.DEFAULT.svc.cluster.LOCAL", "A").to_wire()
    reply = respond(wire.parse_query(packet), ZONES, random.Random(), limit=512, recursion=False)
    assert b"\x03wEb\x07DEFAULT\x03svc\x07cluster\x05LOCAL\0" in reply


def test_flags() -> None:
    reply = ask("web.default.svc.cluster.local", "A")
    assert reply.flags & dns.flags.AA and reply.flags & dns.flags.RA and reply.flags & dns.flags.RD
    assert reply.edns == -1
    assert ask("web.default.svc.cluster.local", "A", use_edns=0, payload=4096).payload == 1232
    with pytest.raises(wire.Malformed) as refused:
        ask("web.default.svc.cluster.local", "A", use_edns=1)
    assert dns.message.from_wire(refused.value.reply).rcode() == dns.rcode.BADVERS


def parsed(packet: bytes) -> object:
    try:
        return wire.parse_query(packet)
    except wire.Malformed as malformed:
        return malformed.reply and malformed.reply[3] & 0xF


QUERY = dns.message.make_query("web.default.svc.cluster.local", "A", use_edns=0).to_wire()


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", None),
        (QUERY[:11], None),
        (QUERY[:2] + b"\x81\x00" + QUERY[4:], None),
        (QUERY[:2] + b"\x28\x00" + QUERY[4:], wire.NOTIMP),
        (QUERY[:5] + b"\x00" + QUERY[6:], wire.FORMERR),
        (QUERY[:5] + b"\x02" + QUERY[6:], wire.FORMERR),
        (QUERY[:7] + b"\x01" + QUERY[8:], wire.FORMERR),
        (QUERY[:-1], wire.FORMERR),
        (QUERY + b"x", wire.FORMERR),
        (QUERY[:12] + b"\xc0\x0c" + b"\0\1\0\1", wire.FORMERR),
        (QUERY[:10] + b"\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0" + b"\0\1\0\1", wire.FORMERR),
        (QUERY[:10] + b"\0\2" + QUERY[12:] + QUERY[-11:], wire.FORMERR),
    ],
    ids=[
        "empty", "half a header", "an answer", "another operation", "no question", "two questions", "an answer in it",
        "cut off", "something behind", "a pointer", "a name that is too long", "two options",
    ],
)  # fmt: skip
def test_malformed_questions(packet: bytes, expected: object) -> None:
    assert parsed(packet) == expected


def test_too_many_records_are_cut_and_marked() -> None:
    zones = cluster()
    name = wire.name("big.default.svc.cluster.local")
    zones.put(name, record_set(wire.A, 5, [bytes((10, 244, n // 250, n % 250)) for n in range(200)]))
    for limit, most in ((512, 28), (1232, 73), (65535, 200)):
        packet = dns.message.make_query("big.default.svc.cluster.local", "A", use_edns=0, payload=4096).to_wire()
        reply = respond(wire.parse_query(packet), zones, random.Random(), limit=limit, recursion=True)
        message = dns.message.from_wire(reply, raise_on_truncation=False)
        assert len(reply) <= limit
        assert bool(message.flags & dns.flags.TC) == (most < 200)
        assert most - 2 <= len(message.answer[0]) <= most


def test_headless_answers_come_in_every_order() -> None:
    chance = random.Random(7)
    packet = wire.parse_query(dns.message.make_query("db.shop.svc.cluster.local", "A").to_wire())
    first = {
        str(dns.message.from_wire(respond(packet, ZONES, chance, limit=512, recursion=True)).answer[0][0])
        for _ in range(50)
    }
    assert first == {"10.244.1.5", "10.244.2.5", "10.244.3.5"}


_mutations = st.lists(st.tuples(st.integers(0, len(QUERY) - 1), st.integers(0, 255)), max_size=6)


@given(st.one_of(st.binary(max_size=600), _mutations))
def test_whatever_comes_is_answered_properly_or_not_at_all(case: bytes | list[tuple[int, int]]) -> None:
    if isinstance(case, bytes):
        packet = case
    else:
        mutated = bytearray(QUERY)
        for offset, value in case:
            mutated[offset] = value
        packet = bytes(mutated)
    try:
        query = wire.parse_query(packet)
    except wire.Malformed as malformed:
        assert malformed.reply is None or (malformed.reply[:2] == packet[:2] and malformed.reply[2] & 0x80)
        return
    reply = respond(query, ZONES, random.Random(0), limit=512, recursion=True)
    if not isinstance(reply, Forward):
        assert len(reply) <= 512
        message = dns.message.from_wire(reply, raise_on_truncation=False)
        assert message.id == int.from_bytes(packet[:2], "big")
        assert message.flags & dns.flags.QR


@pytest.mark.parametrize(
    ("cidr", "zones"),
    [
        ("10.96.0.0/16", ["96.10.in-addr.arpa."]),
        ("10.0.0.0/8", ["10.in-addr.arpa."]),
        ("10.1.2.0/23", ["2.1.10.in-addr.arpa.", "3.1.10.in-addr.arpa."]),
        ("fd10:96::/108", [".".join("00000000000000000006900001df") + ".ip6.arpa."]),
    ],
)
def test_reverse_zones(cidr: str, zones: list[str]) -> None:
    found = [wire.text(zone) for zone in wire.reverse_zones(cidr)]
    if "/108" in cidr:
        assert len(found) == 1 and found[0].count(".") == 27 + 2
    else:
        assert found == zones


@pytest.mark.parametrize("text", ["a..b", "a" * 64, ".".join(["a" * 60] * 5), "ü.example"])
def test_names_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        wire.name(text)


@pytest.mark.parametrize("text", ['"1.1.0"', "1.1.0"])
def test_quotes_around_text_are_presentation(text: str) -> None:
    assert wire.rdata(wire.TXT, text) == b"\x051.1.0"
