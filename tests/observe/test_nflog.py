"""The log's messages: what the kernel sends, and what nobody should."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from fairlead.observe.nflog import ALLOWED, DENIED, Logged, logged, number_of, refusal
from fairlead.observe.packet import Ends

A4, B4 = bytes((10, 244, 1, 2)), bytes((10, 244, 2, 3))
PACKET = bytes((0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0)) + A4 + B4 + struct.pack(">HH", 4321, 80)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(*attributes: bytes, kind: int = 0x400) -> bytes:
    body = bytes(4) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_a_drop_says_its_rule_and_its_time() -> None:
    datagram = message(
        attribute(10, DENIED.encode() + b"\0"),
        attribute(2, struct.pack(">I", number_of("r"))),
        attribute(3, struct.pack(">QQ", 100, 500_000)),
        attribute(9, PACKET),
    )
    ends = Ends(A4, B4, 6, 4321, 80)
    expected = Logged(DENIED, ends, number_of("r"), 100.5)
    assert list(logged(datagram + datagram)) == [expected] * 2


def test_what_is_not_ours_is_left_out() -> None:
    prefix = attribute(10, ALLOWED.encode() + b"\0")
    assert list(logged(message(attribute(10, b"ulogd\0"), attribute(9, PACKET)))) == []
    assert list(logged(message(prefix, attribute(9, b"")))) == []
    assert list(logged(message(prefix, attribute(9, PACKET), kind=0x100))) == []
    assert list(logged(message(prefix, attribute(2, b"\0\0\0\7"), attribute(9, PACKET)))) == [
        Logged(ALLOWED, Ends(A4, B4, 6, 4321, 80))
    ]


def test_answers_to_requests() -> None:
    assert refusal(struct.pack("=IHHII", 36, 2, 0, 0, 0) + struct.pack("=i", -16) + bytes(16)) == 16
    assert refusal(message()) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(datagram: bytes) -> None:
    for each in logged(datagram):
        assert each.verdict in (ALLOWED, DENIED)
    refusal(datagram)
