"""HTTP/2 and gRPC as a dialogue between the h2 library's client and the responder, without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

import h2.connection
import h2.events
import pytest

from fairlead.lab.responder import echo
from fairlead.lab.responder.h2c import Http2
from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Connection

WHO = echo.Who("web-1", "shop", "node-1", "zone-a")


class FakeConnection:
    """Collects what is written; timers fire at once when told."""

    client = "10.0.0.9:1"
    open = True

    def __init__(self) -> None:
        self.written = bytearray()
        self.finished = False
        self.timers: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def finish(self) -> None:
        self.finished = True

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        self.timers.append(work)


class Dialogue:
    """A client and the server under test."""

    def __init__(self) -> None:
        self.connection = FakeConnection()

        def answer(request: Request, respond: Callable[[Response], None]) -> None:
            respond(echo.answer(WHO, request))

        self.server = Http2(cast(Connection, self.connection), answer)
        self.client = h2.connection.H2Connection()
        self.client.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.exchange()

    def ask(self, path: str, body: bytes = b"", *, method: str = "POST", grpc: bool = False) -> int:
        stream = self.client.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "web")]
        if grpc:
            headers += [("content-type", "application/grpc"), ("te", "trailers")]
        self.client.send_headers(stream, headers, end_stream=not body)
        if body:
            self.client.send_data(stream, body, end_stream=True)
        self.exchange()
        return stream

    def exchange(self) -> None:
        while data := self.client.data_to_send():
            self.server.feed(data)
            self.receive()

    def receive(self) -> None:
        data, self.connection.written = bytes(self.connection.written), bytearray()
        for event in self.client.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def answer(self, stream: int) -> tuple[dict[str, str], bytes, dict[str, str]]:
        headers: dict[str, str] = {}
        trailers: dict[str, str] = {}
        body = b""
        for event in self.events:
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h2.events.TrailersReceived):
                trailers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
        return headers, body, trailers


def test_requests_are_echoed_on_one_connection() -> None:
    talk = Dialogue()
    for number in range(3):
        headers, body, _ = talk.answer(talk.ask(f"/{number}", method="GET"))
        assert headers[":status"] == "200"
        assert (json.loads(body)["path"], json.loads(body)["host"]) == (f"/{number}", "web")


def test_a_body_larger_than_the_window_arrives_whole() -> None:
    talk = Dialogue()
    headers, body, _ = talk.answer(talk.ask("/?size=1000000", b"x" * 16000))
    assert (headers["content-length"], len(body)) == ("1000000", 1000000)


def test_head_has_no_body() -> None:
    talk = Dialogue()
    headers, body, _ = talk.answer(talk.ask("/", method="HEAD"))
    assert int(headers["content-length"]) > 0 and body == b""


def test_a_delayed_answer_comes_later() -> None:
    talk = Dialogue()
    stream = talk.ask("/?delay_ms=5", method="GET")
    assert talk.answer(stream)[0] == {}
    talk.connection.timers.pop()()
    talk.receive()
    assert talk.answer(stream)[0][":status"] == "200"


def test_grpc_health_is_serving() -> None:
    talk = Dialogue()
    headers, body, trailers = talk.answer(talk.ask("/grpc.health.v1.Health/Check", b"\0\0\0\0\0", grpc=True))
    assert headers["content-type"] == "application/grpc"
    assert body == b"\0\0\0\0\x02\x08\x01"
    assert trailers == {"grpc-status": "0"}


def test_any_grpc_method_answers_the_echo_as_a_string() -> None:
    talk = Dialogue()
    _, body, trailers = talk.answer(talk.ask("/shop.Cart/Add", b"\0\0\0\0\0", grpc=True))
    assert body[0] == 0 and int.from_bytes(body[1:5], "big") == len(body) - 5
    assert body[5] == 0x0A
    text = body[body.index(b"{") :]
    assert json.loads(text)["path"] == "/shop.Cart/Add"
    assert trailers == {"grpc-status": "0"}


def test_draining_finishes_what_is_under_way_and_ends_watches() -> None:
    talk = Dialogue()
    watch = talk.ask("/grpc.health.v1.Health/Watch", b"\0\0\0\0\0", grpc=True)
    slow = talk.ask("/?delay_ms=5", method="GET")
    talk.server.drain()
    talk.receive()
    assert talk.answer(watch)[2] == {"grpc-status": "0"}
    assert any(isinstance(event, h2.events.ConnectionTerminated) for event in talk.events)
    assert not talk.connection.finished
    talk.connection.timers.pop()()
    assert talk.connection.finished
    assert b'"pod": "web-1"' in talk.connection.written
    assert slow > watch


@pytest.mark.parametrize(
    "noise", [b"\0\0\1\0\0\0\0\0\0x", b"\0\0\1\1\4\0\0\0\1\xff"], ids=["data without stream", "bad headers"]
)
def test_noise_ends_the_connection(noise: bytes) -> None:
    talk = Dialogue()
    talk.server.feed(noise)
    assert talk.connection.finished
