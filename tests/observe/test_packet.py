"""Ends of packets, from whole and broken headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.observe.packet import Ends, parse

A4, B4 = bytes((10, 244, 1, 2)), bytes((10, 244, 2, 3))
A6, B6 = bytes(15) + b"\1", bytes(15) + b"\2"
PORTS = (4321).to_bytes(2, "big") + (80).to_bytes(2, "big")


def four(protocol: int, rest: bytes, *, words: int = 5, offset: int = 0) -> bytes:
    head = bytes((0x40 | words, 0, 0, 0, 0, 0)) + offset.to_bytes(2, "big") + bytes((64, protocol, 0, 0)) + A4 + B4
    return head + bytes(4 * (words - 5)) + rest


def six(following: int, rest: bytes) -> bytes:
    return bytes((0x60, 0, 0, 0, 0, 0, following, 64)) + A6 + B6 + rest


CASES: dict[str, tuple[bytes, Ends | None]] = {
    "TCP": (four(6, PORTS), Ends(A4, B4, 6, 4321, 80)),
    "UDP with options": (four(17, PORTS, words=7), Ends(A4, B4, 17, 4321, 80)),
    "ICMP has no ports": (four(1, PORTS), Ends(A4, B4, 1)),
    "a later fragment has no ports": (four(17, PORTS, offset=100), Ends(A4, B4, 17)),
    "a first fragment has": (four(17, PORTS, offset=0x2000), Ends(A4, B4, 17, 4321, 80)),
    "cut off before the ports": (four(6, PORTS[:3]), Ends(A4, B4, 6)),
    "a header shorter than headers are": (four(6, PORTS, words=5)[:19], None),
    "a length that is none": (bytes((0x42,)) + four(6, PORTS)[1:], Ends(A4, B4, 6)),
    "IPv6 TCP": (six(6, PORTS), Ends(A6, B6, 6, 4321, 80)),
    "IPv6 with options": (six(0, bytes((17, 0)) + bytes(6) + PORTS), Ends(A6, B6, 17, 4321, 80)),
    "IPv6 first fragment": (six(44, bytes((17, 0, 0, 1)) + bytes(4) + PORTS), Ends(A6, B6, 17, 4321, 80)),
    "IPv6 later fragment": (six(44, bytes((17, 0, 1, 1)) + bytes(4) + PORTS), Ends(A6, B6, 17)),
    "IPv6 cut off in its headers": (six(0, b"\6"), Ends(A6, B6, 0)),
    "neither": (b"\x50" + bytes(60), None),
    "nothing": (b"", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_ends(case: str) -> None:
    packet, expected = CASES[case]
    assert parse(packet) == expected


@given(st.binary(max_size=128))
def test_any_bytes_are_a_packet_or_none(packet: bytes) -> None:
    found = parse(packet)
    assert found is None or (len(found.source) == len(found.destination) and len(found.source) in (4, 16))
