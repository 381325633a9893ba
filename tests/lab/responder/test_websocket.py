"""Frames of RFC 6455, as clients send them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.lab.responder.http1 import Request
from fairlead.lab.responder.websocket import Echo, close_frame, handshake, wanted

MASK = b"\x01\x02\x03\x04"


def client(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("sent", "answer", "closed"),
    [
        (client(1, b"hello"), b"\x81\x05hello", False),
        (client(1, b"he", final=False) + client(0, b"llo"), b"\x81\x05hello", False),
        (client(2, b"x" * 300), b"\x82\x7e\x01\x2c" + b"x" * 300, False),
        (client(9, b"p"), b"\x8a\x01p", False),
        (client(10, b"p"), b"", False),
        (client(8, b"\x03\xe8bye"), b"\x88\x02\x03\xe8", True),
        (client(5, b""), close_frame(1002), True),
        (b"\x81\x05hello", close_frame(1002), True),
    ],
    ids=["text", "fragments", "binary", "ping", "pong", "close", "unknown opcode", "not masked"],
)
def test_frames(sent: bytes, answer: bytes, closed: bool) -> None:
    echo = Echo()
    assert echo.feed(sent) == answer
    assert echo.closed is closed


@given(st.binary(max_size=70000), st.integers(1, 70000))
def test_every_message_comes_back_however_it_is_cut(payload: bytes, cut: int) -> None:
    echo, data = Echo(), client(2, payload)
    assert (echo.feed(data[:cut]) + echo.feed(data[cut:])).endswith(payload)


def test_the_handshake_of_the_specification() -> None:
    headers = {
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "a, b",
    }
    request = Request("GET", "/", headers, True)
    assert wanted(request)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: a\r\n" in handshake(request)
    assert not wanted(Request("GET", "/", {}, True))
