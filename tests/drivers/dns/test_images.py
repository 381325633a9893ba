from __future__ import annotations

import random

import dns.message
from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.dns.test_protocol import RECORDS, cluster

from fairlead.drivers.dns import images, wire
from fairlead.drivers.dns.images import Images
from fairlead.drivers.dns.protocol import Forward, respond

NAMES = [line.split()[0] for line in RECORDS.strip().splitlines()] + ["none.default.svc.cluster.local."]


TALLY = [0, 0]


def look(kept: Images, packet: bytes, serial: int) -> bytes | None:
    """What the server does for a packet."""
    kept.renew(serial)
    image = kept.kept.get(packet[2:])
    return None if image is None else packet[:2] + image[0]


def test_what_is_kept_goes_with_any_change() -> None:
    kept = Images()
    assert look(kept, b"\0\1question", 1) is None
    kept.keep(b"\0\1question", b"\0\1\x84\0\0\1\0\1answer", TALLY)
    assert look(kept, b"\0\2question", 1) == b"\0\2\x84\0\0\1\0\1answer"
    assert look(kept, b"\0\2question", 2) is None
    assert len(kept) == 0


def test_denials_and_answers_of_several_records_are_not_kept() -> None:
    kept = Images()
    kept.renew(1)
    kept.keep(b"\0\1none", b"\0\1\x84\3\0\1\0\0", TALLY)
    kept.keep(b"\0\1many", b"\0\1\x84\0\0\1\0\2", TALLY)
    assert len(kept) == 0


def test_what_is_kept_is_bounded() -> None:
    kept = Images()
    kept.renew(1)
    for number in range(images._MOST_ENTRIES * 2):
        kept.keep(b"\0\0%d" % number, bytes(8), TALLY)
    assert len(kept) <= images._MOST_ENTRIES


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["A", "AAAA", "SRV"]), st.integers(-1, 0))))
def test_a_kept_answer_is_the_answer(questions: list[tuple[str, str, int]]) -> None:
    kept, zones = Images(), cluster()
    for name, kind, edns in questions:
        packet = dns.message.make_query(name, kind, use_edns=edns).to_wire()
        fresh = respond(wire.parse_query(packet), zones, random.Random(0), limit=512, recursion=False)
        if isinstance(fresh, Forward):
            continue
        known = look(kept, packet, zones.serial)
        assert known in (None, fresh)
        kept.keep(packet, fresh, TALLY)
