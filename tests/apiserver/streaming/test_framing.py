"""What clients send through streams: whatever it is, sessions end in order and hold no more than they should."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.streaming.remote_command import WebSocketClient
from fairlead.apiserver.streaming.session import SpdySession
from fairlead.apiserver.streaming.spdy import MOST_STREAMS, Spdy
from fairlead.apiserver.streaming.transport import RawPipe, WebSocketPipe


class Pipe:
    """A client that sends `chunks` and then goes."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = list(chunks)
        self.written = b""

    async def read(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""

    async def write(self, data: bytes) -> None:
        self.written += data


async def drained(session: SpdySession) -> list[Any]:
    """Run a session to its end and return the streams that it opened."""
    await asyncio.wait_for(session.run(), 10)
    opened = []
    while (stream := await asyncio.wait_for(session.accept(), 1)) is not None:
        opened.append(stream)
    return opened


def frames(draw_from: st.DataObject) -> list[bytes]:
    """Draw frames of a client that mostly keeps to the protocol."""
    client = Spdy()
    found = []
    for number in range(draw_from.draw(st.integers(0, 6))):
        stream = 2 * number + 1
        found.append(client.open(stream, {"streamtype": draw_from.draw(st.sampled_from(["data", "stdin", "?"]))}))
        found.append(client.data(stream, draw_from.draw(st.binary(max_size=40)), fin=draw_from.draw(st.booleans())))
        if draw_from.draw(st.booleans()):
            found.append(client.reset(stream))
    if found and draw_from.draw(st.booleans()):
        place = draw_from.draw(st.integers(0, len(found) - 1))
        found[place] = draw_from.draw(st.binary(max_size=60))
    return found


@given(st.data())
def test_sessions_end_whatever_comes(data: st.DataObject) -> None:
    stream = b"".join(frames(data))
    cut = data.draw(st.integers(1, 50))
    pipe = Pipe([stream[start : start + cut] for start in range(0, len(stream), cut)])
    opened = asyncio.run(drained(SpdySession(pipe)))
    assert len(opened) <= 6


async def test_streams_that_nobody_takes_are_bounded() -> None:
    client = Spdy()
    flood = [client.open(2 * number + 1, {}) + client.reset(2 * number + 1) for number in range(3 * MOST_STREAMS)]
    pipe = Pipe(flood)
    opened = await drained(SpdySession(pipe))
    assert len(opened) == MOST_STREAMS
    assert pipe.written.endswith(Spdy().go_away())


class Transport(asyncio.Transport):
    """A connection that notes whether it is held back."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def test_who_sends_faster_than_is_read_is_held_back() -> None:
    transport = Transport()
    pipe = RawPipe(transport, asyncio.Protocol())
    sent = 0
    while not transport.paused:
        pipe.data_received(bytes(65536))
        sent += 65536
        assert sent < 8 << 20, "nothing holds it back"
    while transport.paused:
        assert await pipe.read()
    pipe.data_received(b"more")
    pipe.eof_received()
    received = b""
    while chunk := await pipe.read():
        received += chunk
    assert received.endswith(b"more")


class Socket:
    """A WebSocket whose client sends `messages` and then closes."""

    def __init__(self, messages: list[WSMessage]) -> None:
        self._messages = list(messages)

    async def receive(self) -> WSMessage:
        return self._messages.pop(0) if self._messages else WSMessage(WSMsgType.CLOSED, None, None)


def binary(data: bytes) -> WSMessage:
    return WSMessage(WSMsgType.BINARY, data, None)


MESSAGES = st.lists(
    st.binary(max_size=8).map(binary)
    | st.sampled_from(
        [
            WSMessage(WSMsgType.TEXT, "text", None),
            WSMessage(WSMsgType.CLOSE, 1000, ""),
            WSMessage(WSMsgType.ERROR, None, None),
        ]
    ),
    max_size=8,
)


@given(MESSAGES)
def test_channels_of_websockets_end_at_the_first_message_that_is_no_bytes(messages: list[WSMessage]) -> None:
    expected = []
    for message in messages:
        if message.type is not WSMsgType.BINARY:
            break
        expected.append(message.data)

    async def read() -> tuple[list[tuple[int, bytes]], bytes]:
        client, found = WebSocketClient(Socket(messages)), []  # type: ignore[arg-type]
        while (frame := await client.read()) is not None:
            found.append(frame)
        pipe, received = WebSocketPipe(Socket(messages)), b""  # type: ignore[arg-type]
        while chunk := await pipe.read():
            received += chunk
        return found, received

    found, received = asyncio.run(read())
    assert found == [(data[0], data[1:]) for data in expected if data]
    assert received == b"".join(expected)


@pytest.mark.parametrize("ended", [True, False])
async def test_the_end_of_a_connection_ends_its_readers(ended: bool) -> None:
    pipe = RawPipe(Transport(), asyncio.Protocol())
    reading = asyncio.create_task(pipe.read())
    await asyncio.sleep(0)
    if ended:
        pipe.eof_received()
    else:
        pipe.connection_lost(None)
    assert await asyncio.wait_for(reading, 1) == b""
