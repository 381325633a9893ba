from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import Cache, readdress, understand

QUERY = dns.message.make_query("example.com", "A")
QUESTION = (wire.name("example.com"), wire.A, False, False)


def response(*answers: str, rcode: int = 0, authority: str = "", additional: str = "", tc: bool = False) -> bytes:
    message = dns.message.make_response(QUERY)
    message.set_rcode(rcode)
    message.answer = [dns.rrset.from_text(*each.split(" ", 4)) for each in answers]
    message.authority = [dns.rrset.from_text(*authority.split(" ", 4))] if authority else []
    message.additional = [dns.rrset.from_text(*additional.split(" ", 4))] if additional else []
    message.flags |= dns.flags.TC if tc else 0
    message.use_edns(0)
    return message.to_wire()


SOA = "com. 900 IN SOA a.example. b.example. 1 2 3 4 60"


@pytest.mark.parametrize(
    ("packet", "lifetime_s"),
    [
        (response("example.com. 300 IN A 192.0.2.1"), 300),
        (response("example.com. 300 IN CNAME x.example.com.", "x.example.com. 20 IN A 192.0.2.1"), 20),
        (response("example.com. 90000 IN A 192.0.2.1"), 3600),
        (response("example.com. 0 IN A 192.0.2.1"), 0),
        (response(authority=SOA), 60),
        (response(rcode=3, authority=SOA), 60),
        (response(rcode=3, authority="com. 10 IN SOA a.example. b.example. 1 2 3 4 60"), 10),
        (response(rcode=3), 0),
        (response(rcode=2, authority=SOA), 0),
        (response("example.com. 300 IN A 192.0.2.1", tc=True), 0),
    ],
    ids=[
        "as it says", "the shortest of a chain", "at most an hour", "not at all", "no such record", "no such name",
        "the authority's own", "no authority", "a failure", "truncated",
    ],
)  # fmt: skip
def test_how_long_an_answer_may_be_believed(packet: bytes, lifetime_s: int) -> None:
    assert understand(packet).lifetime_s == lifetime_s


def test_answers_age_and_end() -> None:
    cache = Cache()
    cache.put(QUESTION, understand(response("example.com. 300 IN A 192.0.2.1")), 1000.0)
    kept = cache.get(QUESTION, 1100.5)
    assert kept is not None
    assert dns.message.from_wire(kept).answer[0].ttl == 200
    assert cache.get((QUESTION[0], wire.AAAA, False, False), 1100.5) is None
    assert cache.get(QUESTION, 1300.0) is None
    assert len(cache) == 1, "it may still be served stale"
    assert cache.get(QUESTION, 1300.0 + 3600) is None
    assert len(cache) == 0


def test_the_least_recently_used_leave_first() -> None:
    cache = Cache(most_entries=2)
    answer = understand(response("example.com. 300 IN A 192.0.2.1"))
    for name in "ab":
        cache.put((wire.name(name), 1, False, False), answer, 0)
    cache.get((wire.name("a"), 1, False, False), 1)
    cache.put((wire.name("c"), 1, False, False), answer, 1)
    assert [cache.get((wire.name(name), 1, False, False), 1) is not None for name in "abc"] == [True, False, True]


def test_unasked_records_do_not_travel() -> None:
    packet = understand(response("example.com. 300 IN A 192.0.2.1", additional="bank.example. 300 IN A 203.0.113.66"))
    assert b"bank" not in packet.packet


@pytest.mark.parametrize("edns", [-1, 0])
def test_a_kept_answer_fits_whoever_asks(edns: int) -> None:
    kept = understand(response("example.com. 300 IN A 192.0.2.1")).packet
    query = dns.message.make_query("eXample.COM", "A", use_edns=edns)
    reply = readdress(kept, wire.parse_query(query.to_wire()), limit=512)
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    assert message.edns == edns
    assert b"eXample" in reply
    short = dns.message.from_wire(
        readdress(kept, wire.parse_query(query.to_wire()), limit=40), raise_on_truncation=False
    )
    assert short.flags & dns.flags.TC and not short.answer


@given(st.binary(max_size=300), st.integers(12, 80), st.integers(0, 255))
def test_whatever_a_resolver_sends_is_understood_or_refused(noise: bytes, offset: int, value: int) -> None:
    good = bytearray(response("example.com. 300 IN A 192.0.2.1", authority=SOA))
    good[offset % len(good)] = value
    for packet in (noise, bytes(good), bytes(good[:offset])):
        try:
            understood = understand(packet)
        except (IndexError, Exception) as error:
            assert type(error).__name__ in ("IndexError", "error")
        else:
            assert 0 <= understood.lifetime_s <= 3600
            assert len(understood.aged(5)) == len(understood.packet)


def test_stale_answers_say_so_and_end() -> None:
    cache = Cache(stale_s=100)
    cache.put(QUESTION, understand(response("example.com. 300 IN A 192.0.2.1")), 1000.0)
    fresh, stale = cache.look(QUESTION, 1299.0), cache.look(QUESTION, 1301.0)
    assert fresh and fresh.fresh
    assert stale and not stale.fresh
    assert dns.message.from_wire(stale.response.stale()).answer[0].ttl == 30
    assert cache.look(QUESTION, 1401.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(("asked_before", "now", "due"), [(1, 1290.0, True), (0, 1290.0, False), (1, 1100.0, False)])
def test_what_is_asked_again_is_fetched_before_it_ends(asked_before: int, now: float, due: bool) -> None:
    cache = Cache()
    cache.put(QUESTION, understand(response("example.com. 300 IN A 192.0.2.1")), 1000.0)
    for _ in range(asked_before):
        cache.look(QUESTION, 1001.0)
    hit = cache.look(QUESTION, now)
    assert hit is not None and hit.due is due


def test_limits_may_change_while_it_is_used() -> None:
    cache = Cache()
    for number in range(10):
        question = (wire.name(f"n{number}.example"), wire.A, False, False)
        cache.put(question, understand(response("example.com. 300 IN A 192.0.2.1")), 0.0)
    cache.configure(3, stale_s=0, most_ttl_s=10, prefetch=False)
    assert len(cache) == 3
    assert cache.get((wire.name("n9.example"), wire.A, False, False), 9.0) is not None
    assert cache.get((wire.name("n9.example"), wire.A, False, False), 11.0) is None
