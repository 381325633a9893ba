"""SPDY framing: what one end says the other understands; what is malformed is refused within bounds."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.streaming.spdy import (
    DICTIONARY,
    Data,
    Pinged,
    Spdy,
    SpdyError,
    StreamOpened,
    StreamReset,
)

NAMES = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=20)
VALUES = st.text(st.characters(codec="ascii"), max_size=100)


def test_the_dictionary_is_the_prescribed_one() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=1, max_size=5), st.integers(1, 50))
def test_streams_open_whatever_the_cut(headers: list[dict[str, str]], cut: int) -> None:
    client, server = Spdy(), Spdy()
    sent = b"".join(client.open(2 * number + 1, fields) for number, fields in enumerate(headers))
    events = [event for start in range(0, len(sent), cut) for event in server.receive(sent[start : start + cut])]
    assert events == [StreamOpened(2 * number + 1, fields, False) for number, fields in enumerate(headers)]


@given(st.binary(max_size=100_000), st.booleans())
def test_data_arrives_in_order(payload: bytes, fin: bool) -> None:
    events = Spdy().receive(Spdy().data(3, payload, fin=fin))
    assert all(isinstance(event, Data) and event.stream == 3 for event in events)
    assert b"".join(event.payload for event in events if isinstance(event, Data)) == payload
    assert [event.fin for event in events if isinstance(event, Data)] == [False] * (len(events) - 1) + [fin]


def test_control_frames() -> None:
    peer = Spdy()
    assert Spdy().receive(peer.ping(7)) == [Pinged(7)]
    assert Spdy().receive(peer.reset(5)) == [StreamReset(5)]
    reader = Spdy()
    assert reader.receive(peer.reply(1, {"a": "b"}) + peer.open(3, {"c": "d"})) == [StreamOpened(3, {"c": "d"}, False)]


MALFORMED = {
    "another version": struct.pack(">II", 0x80020001, 0),
    "a frame over the bound": struct.pack(">II", 1, (1 << 20) + 1),
    "too short to hold a stream": struct.pack(">II", 0x80030003, 2) + b"ab",
    "headers that do not decompress": struct.pack(">II", 0x80030001, 14) + struct.pack(">IIH", 1, 0, 0) + b"junk",
    "headers that expand without end": (
        lambda block: struct.pack(">II", 0x80030001, len(block) + 10) + struct.pack(">IIH", 1, 0, 0) + block
    )((lambda z: z.compress(bytes(10_000_000)) + z.flush())(zlib.compressobj(zdict=DICTIONARY))),
    "headers that promise more than there is": (
        lambda block: struct.pack(">II", 0x80030001, len(block) + 10) + struct.pack(">IIH", 1, 0, 0) + block
    )((lambda z: z.compress(b"\0\0\0\1\xff\xff\xff\xff") + z.flush())(zlib.compressobj(zdict=DICTIONARY))),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SpdyError):
        Spdy().receive(data)


def test_streams_are_bounded() -> None:
    client, server = Spdy(), Spdy()
    with pytest.raises(SpdyError, match="more than"):
        for number in range(2000):
            server.receive(client.open(2 * number + 1, {}))


@given(st.binary(max_size=2000))
def test_noise_never_breaks_anything_else(noise: bytes) -> None:
    try:
        Spdy().receive(noise)
    except SpdyError:
        pass
