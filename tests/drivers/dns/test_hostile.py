"""What attackers send: to the resolver, and to it in the name of other resolvers. Bounded, and never believed beyond its question."""

from __future__ import annotations

import contextlib
import struct

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.dns.test_cache import response
from tests.drivers.dns.test_protocol import NAMES_OF_ALL_KINDS, cluster

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import Hit, understand
from fairlead.drivers.dns.join import join
from fairlead.drivers.dns.protocol import Forward
from fairlead.drivers.dns.responder import Responder
from fairlead.drivers.dns.search import search_path
from fairlead.drivers.dns.upstream import Resolver, Upstream

HOST4, HOST6 = bytes((10, 244, 1, 2)), bytes(15) + b"\2"
_resolver = Resolver([Upstream("192.0.2.1")])
RESPONDER = Responder(cluster(), _resolver)
RESPONDER.clients = dict.fromkeys((HOST4, HOST6), search_path("default", "cluster.local"))

_labels = st.lists(st.binary(min_size=1, max_size=20), max_size=6)
_names = st.one_of(
    st.sampled_from([wire.name(each) for each in NAMES_OF_ALL_KINDS]),
    _labels.map(lambda labels: b"".join(bytes([len(each)]) + each for each in labels) + b"\0"),
    _labels.map(
        lambda labels: b"".join(bytes([len(each)]) + each for each in labels) + wire.name("default.svc.cluster.local")
    ),
    st.binary(max_size=40),
)
_packets = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda number, flags, counts, name, kind, klass, rest: (
            struct.pack(">HH4H", number, flags, *counts) + name + struct.pack(">HH", kind, klass) + rest
        ),
        st.integers(0, 65535),
        st.sampled_from([0, wire.RD, wire.RD | wire.CD, wire.QR, 0x2800, 0xFFFF]),
        st.sampled_from(
            [(1, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 9), (65535,) * 4]
        ),
        _names,
        st.sampled_from([1, 28, 33, 12, 5, 6, 2, 16, 15, 65, 251, 252, 255, 41, 0, 65535]),
        st.sampled_from([1, 3, 4, 254, 255, 0]),
        st.sampled_from(
            [b"", wire.option_record(), wire.option_record(dnssec=True), b"\0\0\x29\xff\xff\0\1\0\0\0\0", b"\xc0\x0c"]
        ),
    ),
)


@given(_packets, st.sampled_from([HOST4, HOST6]), st.booleans())
def test_any_packet_is_answered_within_bounds_or_not_at_all(packet: bytes, host: bytes, stream: bool) -> None:
    RESPONDER.renew()
    kept = RESPONDER.images.kept.get(packet[2:])
    reply = RESPONDER.respond(packet, host, stream=stream)
    if reply is None:
        return
    if isinstance(reply, Forward):
        assert len(reply.name) <= 255
        return
    assert reply[:2] == packet[:2]
    assert reply[2] & 0x80, "an answer never looks like a question"
    message = dns.message.from_wire(reply, raise_on_truncation=False)
    if not stream:
        assert len(reply) <= (1232 if message.edns >= 0 else 512)
        if kept is not None and message.rcode() == 0:
            assert reply[2:] == kept[0], "a kept answer is the answer"


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=12), st.binary(max_size=100))
def test_nothing_that_a_resolver_sends_breaks_an_alias(changes: list[tuple[int, int]], tail: bytes) -> None:
    """Compression loops and pointers to nowhere are in here: pointers are bytes of 0xc0 and above."""
    packet = bytearray(response("example.com. 300 IN CNAME x.example.com.", "x.example.com. 20 IN A 192.0.2.1"))
    for offset, value in changes:
        packet[offset % len(packet)] = value
    query = wire.parse_query(dns.message.make_query("outside.default.svc.cluster.local", "A", use_edns=0).to_wire())
    alias = wire.record(query.name, wire.CNAME, 5, wire.name("example.com"))
    with contextlib.suppress(IndexError, struct.error):
        understood = understand(bytes(packet) + tail)
        reply = join(Hit(understood, 3, True, False), Forward(query, wire.name("example.com"), (alias,)), limit=1232)
        assert len(reply) <= 1232
        assert reply[:2] == query.id.to_bytes(2, "big")


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\x03www\xc0\x0c", b"\x03www\xc0\x10\0", b"\xff" * 8],
    ids=["to itself", "to its beginning", "forward", "nowhere"],
)
def test_questions_with_compression_are_refused(name: bytes) -> None:
    packet = struct.pack(">6H", 7, wire.RD, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    reply = RESPONDER.respond(packet, HOST4, stream=False)
    assert isinstance(reply, bytes)
    assert (len(reply), reply[3] & 0xF) == (12, wire.FORMERR)


def test_what_is_sent_unasked_is_not_kept() -> None:
    packet = response("example.com. 300 IN A 192.0.2.1", additional="bank.example. 300 IN A 203.0.113.66")
    resolver = Resolver([Upstream("192.0.2.1")])
    resolver.cache.put((wire.name("example.com"), wire.A, False, False), understand(packet), 0.0)
    assert resolver.cache.look((wire.name("bank.example"), wire.A, False, False), 1.0) is None
    hit = resolver.cache.look((wire.name("example.com"), wire.A, False, False), 1.0)
    assert hit is not None
    assert b"\x04bank" not in hit.response.packet


@pytest.mark.parametrize("kind", ["ANY", "A", "SRV", "TXT", "NS", "SOA"])
@pytest.mark.parametrize("name", NAMES_OF_ALL_KINDS)
def test_no_question_without_edns_gets_more_than_512_bytes(name: str, kind: str) -> None:
    packet = dns.message.make_query(name, kind).to_wire()
    reply = RESPONDER.respond(packet, HOST4, stream=False)
    assert isinstance(reply, Forward) or (reply is not None and len(reply) <= 512)
