"""A client of HTTP/3: one connection, as many requests as are asked, and what it was shown.

As a script: `ADDRESS PORT HOST CA_FILE`; prints status and body of one GET. So it runs in any network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset
from aioquic.tls import SessionTicket
from cryptography import x509
from tests.drivers.xds import load

_ANSWER_S = 20.0


class Answer(msgspec.Struct):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Reader(H3Connection):
    """Remembers that the other side wants no more requests (RFC 9114, 5.2), which aioquic does not."""

    leaving = False

    def _check_control_frame_type(self, frame_type: int) -> None:
        self.leaving |= frame_type == FrameType.GOAWAY
        super()._check_control_frame_type(frame_type)


class Http3(QuicConnectionProtocol):
    """The client's end of a connection."""

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)  # type: ignore[arg-type]
        self._h3 = _Reader(self._quic)
        self._events: dict[int, deque[H3Event]] = {}
        self._ended: dict[int, asyncio.Future[None]] = {}
        self.gone = False
        """Whether the other side has ended the connection."""

    @property
    def shown(self) -> x509.Certificate:
        """The certificate of the other side."""
        found = self._quic.tls._peer_certificate
        assert found is not None
        return found

    async def move(self) -> None:
        """Send from another port of this machine, as a client does whose router has forgotten it."""
        before = self._transport
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        before.close()

    def leave(self) -> None:
        """Close what it sends from now."""
        self._transport.close()

    @property
    def leaving(self) -> bool:
        """Whether the other side wants new requests on another connection."""
        return self._h3.leaving

    async def ask(
        self,
        host: str,
        path: str = "/",
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request; raises ConnectionError where the other side ends the connection or the request."""
        said = {":method": method, ":scheme": "https", ":authority": host, ":path": path, **(headers or {})}
        stream = self._quic.get_next_available_stream_id()
        self._events[stream] = deque()
        ended = self._ended[stream] = asyncio.get_running_loop().create_future()
        self._h3.send_headers(stream, [(k.encode(), v.encode()) for k, v in said.items()], end_stream=not body)
        if body:
            self._h3.send_data(stream, body, end_stream=True)
        self.transmit()
        async with asyncio.timeout(_ANSWER_S):
            await ended
        found = self._events.pop(stream)
        heads = [dict(each.headers) for each in found if isinstance(each, HeadersReceived)]
        return Answer(
            int(heads[0][b":status"]),
            {k.decode(): v.decode() for k, v in heads[0].items()},
            b"".join(each.data for each in found if isinstance(each, DataReceived)),
        )

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.gone = True
            for each in self._ended.values():
                if not each.done():
                    each.set_exception(ConnectionResetError(f"{event.error_code} {event.reason_phrase}"))
        elif isinstance(event, StreamReset) and not self._ended[event.stream_id].done():
            self._ended[event.stream_id].set_exception(ConnectionAbortedError(f"stream reset: {event.error_code}"))
        for each in self._h3.handle_event(event):
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_id in self._events:
                self._events[each.stream_id].append(each)
                if each.stream_ended and not self._ended[each.stream_id].done():
                    self._ended[each.stream_id].set_result(None)


@contextlib.asynccontextmanager
async def connected(
    address: str,
    port: int,
    server_name: str,
    authority: str,
    *,
    tickets: list[SessionTicket] | None = None,
) -> AsyncIterator[Http3]:
    """Connect, believing certificates of `authority` (PEM); raises ConnectionError where that fails. `tickets` takes those for the next time."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        server_name=server_name,
        cadata=authority.encode(),
        idle_timeout=60,
    )
    keep = (lambda each: tickets.append(each)) if tickets is not None else None
    with contextlib.ExitStack() as last:
        async with connect(
            address, port, configuration=configuration, create_protocol=Http3, session_ticket_handler=keep
        ) as found:
            assert isinstance(found, Http3)
            # The library closes the socket that it began with.
            last.callback(found.leave)
            yield found


async def ask(address: str, port: int, host: str, authority: str, path: str = "/", **more: object) -> Answer:
    """Ask on a connection of its own; `host` may have a port, which is no part of the server name."""
    async with connected(address, port, host.partition(":")[0], authority) as client:
        return await client.ask(host, path, **more)  # type: ignore[arg-type]


class Load(load.Load):
    """Requests without a pause over HTTP/3: a connection that is told to leave is left (RFC 9114, 5.2), and no request is sent again."""

    def __init__(self, port: int, host: str, authority: str) -> None:
        super().__init__(port, host, keeping=3, new=2)
        self._authority = authority

    async def _connection(self, *, keep: bool) -> None:
        address, port, host = self._at
        async with connected(address, port, host, self._authority) as client:
            going = True
            while going and not self._stop.is_set():
                found = await client.ask(host, method=next(self._methods))
                if found.status == 200:
                    self.good += 1
                else:
                    self.failed[f"{found.status} {found.body[:160].decode(errors='replace')}"] += 1
                going = keep and not client.leaving


async def main(address: str, port: int, host: str, authority: str) -> None:
    """Print one answer."""
    found = await ask(address, port, host, Path(authority).read_text())
    print(found.status, found.body.decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
