"""HTTP/2 without TLS by prior knowledge (RFC 9113, 3.3), and gRPC over it, with the h2 library.

gRPC: `grpc.health.v1.Health` answers SERVING to Check and Watch; every other method answers one message whose field 1
is the JSON echo as a string, so that any stub with such a reply shows it (`google.protobuf.StringValue` is one).
"""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Connection
from fairlead.lab.responder.speakers import Answer

_HEALTH = "/grpc.health.v1.Health/"
_WATCH = _HEALTH + "Watch"
_SERVING = b"\x08\x01"
_MAX_BODY = 16 << 20


class _Stream:
    """One request and what is still to be sent of its answer."""

    __slots__ = ("body", "grpc", "request", "responded", "trailers")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.grpc = request.headers.get("content-type", "").startswith("application/grpc")
        self.body = b""
        self.trailers: list[tuple[str, str]] | None = None
        self.responded = False


class Http2:
    """A server connection. Requests are answered by `answer` when their body is complete, in any order."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection, self._answer = connection, answer
        self._streams: dict[int, _Stream] = {}
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._draining = False
        self._send()

    def feed(self, data: bytes) -> None:
        """React to frames; a protocol error ends the connection with GOAWAY."""
        if not data:
            self._connection.finish()
            return
        try:
            for event in self._h2.receive_data(data):
                self._react(event)
        except (ProtocolError, UnicodeDecodeError):
            self._send()
            self._connection.finish()
            return
        self._send()

    def drain(self) -> None:
        """Take no new streams, end health watches, and close after the last answer."""
        self._draining = True
        for number, stream in list(self._streams.items()):
            if stream.request.path == _WATCH:
                self._h2.send_headers(number, [("grpc-status", "0")], end_stream=True)
                del self._streams[number]
        self._send()
        # Written by hand: h2 itself sends nothing more on a connection once it has sent GOAWAY.
        goaway = GoAwayFrame(0, last_stream_id=max(self._streams, default=0), error_code=0)
        self._connection.write(goaway.serialize())
        self._close_when_idle()

    def _react(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                if self._draining:
                    self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
                    return
                self._streams[number] = _Stream(_request(headers, self._connection.client))
                if self._streams[number].request.path == _WATCH:
                    self._serve_watch(number)
            case DataReceived(stream_id=int(number), data=bytes(data), flow_controlled_length=int(length)):
                self._h2.acknowledge_received_data(length, number)
                stream = self._streams.get(number)
                if stream is not None and len(stream.request.body) + len(data) <= _MAX_BODY:
                    stream.request.body += data
            case StreamEnded(stream_id=int(number)):
                stream = self._streams.get(number)
                if stream is not None and not stream.responded:
                    self._complete(number, stream)
            case StreamReset(stream_id=int(number)):
                self._streams.pop(number, None)
            case WindowUpdated():
                for number in list(self._streams):
                    self._push(number)
            case ConnectionTerminated():
                self._connection.finish()
            case _:
                pass

    def _complete(self, number: int, stream: _Stream) -> None:
        if stream.grpc and stream.request.path.startswith(_HEALTH):
            self._respond_grpc(number, _SERVING)
        else:
            self._answer(stream.request, lambda response: self._respond(number, response))

    def _respond(self, number: int, response: Response) -> None:
        if response.delay_s > 0:
            delay_s, response.delay_s = response.delay_s, 0.0
            self._connection.later(delay_s, lambda: self._respond(number, response))
            return
        stream = self._streams.get(number)
        if stream is None:
            return
        if stream.grpc:
            self._respond_grpc(number, _string_message(response.body.rstrip(b"\n")))
            return
        head = stream.request.method == "HEAD" or response.status in (204, 304)
        headers = [(":status", str(response.status))]
        if response.status not in (204, 304):
            headers += [("content-type", response.content_type), ("content-length", str(len(response.body)))]
        headers += [(name.lower(), value) for name, value in response.headers]
        stream.responded = True
        stream.body = b"" if head else response.body
        self._h2.send_headers(number, headers, end_stream=not stream.body)
        self._push(number)
        self._send()

    def _respond_grpc(self, number: int, message: bytes) -> None:
        stream = self._streams[number]
        stream.responded = True
        stream.body = _grpc_frame(message)
        stream.trailers = [("grpc-status", "0")]
        self._h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
        self._push(number)
        self._send()

    def _serve_watch(self, number: int) -> None:
        """The health stream stays open: SERVING now, the end when the pod ends."""
        self._streams[number].responded = True
        self._h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
        self._h2.send_data(number, _grpc_frame(_SERVING))

    def _push(self, number: int) -> None:
        """Send as much of a body as the client's windows allow."""
        stream = self._streams.get(number)
        if stream is None or not stream.responded or stream.request.path == _WATCH:
            return
        while stream.body:
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            piece, stream.body = stream.body[:room], stream.body[room:]
            self._h2.send_data(number, piece, end_stream=not stream.body and stream.trailers is None)
        if stream.trailers is not None:
            self._h2.send_headers(number, stream.trailers, end_stream=True)
        del self._streams[number]
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._draining and not self._streams:
            self._send()
            self._connection.finish()

    def _send(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._connection.write(data)


def _request(fields: Iterable[tuple[bytes | str, bytes | str]], client: str) -> Request:
    headers: dict[str, str] = {}
    for field in fields:
        name, value = str(field[0]), str(field[1])  # text already: the configuration names their encoding
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, target = headers.pop(":method", "GET"), headers.pop(":path", "/")
    authority = headers.pop(":authority", "")
    headers.pop(":scheme", None)
    if authority:
        headers.setdefault("host", authority)
    request = Request(method, target, headers, True)
    request.client = client
    return request


def _grpc_frame(message: bytes) -> bytes:
    """Length-prefixed message of the gRPC wire format, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _string_message(text: bytes) -> bytes:
    """A protobuf message with one string as field 1."""
    length, size = bytearray(), len(text)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"\x0a" + bytes(length) + text
