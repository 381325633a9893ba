"""The protocols of a stream connection: HTTP/1.1, WebSocket, plain lines, and the choice between them by the first bytes.

HTTP/2 is in `h2c`, loaded only where the h2 library is. No sockets here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from fairlead.lab.responder import http1, websocket
from fairlead.lab.responder.http1 import BadRequest, Request, Response
from fairlead.lab.responder.server import Connection, Speaker

Answer = Callable[[Request, Callable[[Response], None]], None]
"""Takes a request and calls back with its response, at once or later."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Http1:
    """HTTP/1.1 with keep-alive and pipelining, answered in order; becomes a WebSocket echo when asked."""

    def __init__(self, connection: Connection, answer: Answer, *, websockets: bool = True) -> None:
        self._connection, self._answer, self._websockets = connection, answer, websockets
        self._parser = http1.Parser()
        self._busy = False
        self._draining = False
        self._input_ended = False

    def feed(self, data: bytes) -> None:
        """Answer every request that is complete."""
        if not data:
            self._input_ended = True
            if not self._busy:
                self._connection.finish()
            return
        self._parser.feed(data)
        self._next()

    def drain(self) -> None:
        """Finish the request under way; an idle connection is closed."""
        self._draining = True
        if not self._busy:
            self._connection.finish()

    def _next(self) -> None:
        while not self._busy and self._connection.open:
            try:
                request = self._parser.next()
            except BadRequest as error:
                response = Response(f"{error}\n".encode(), status=error.status)
                self._connection.write(http1.encode(response, head_only=False, keep_alive=False))
                self._connection.finish()
                return
            if request is None:
                if self._parser.continue_wanted:
                    self._parser.continue_wanted = False
                    self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            request.client = self._connection.client
            if self._websockets and websocket.wanted(request):
                self._upgrade(request)
                return
            self._busy = True
            self._answer(request, lambda response, request=request: self._respond(request, response))  # type: ignore[misc]

    def _upgrade(self, request: Request) -> None:
        self._connection.write(websocket.handshake(request))
        speaker = WebSocketEcho(self._connection)
        self._connection.speaker = speaker
        rest = self._parser.rest()
        if rest:
            speaker.feed(rest)

    def _respond(self, request: Request, response: Response) -> None:
        if response.delay_s > 0:
            delay_s, response.delay_s = response.delay_s, 0.0
            self._connection.later(delay_s, lambda: self._respond(request, response))
            return
        ending = self._draining or self._connection.leaving
        keep_alive = request.keep_alive and not (ending or self._input_ended or response.close)
        self._connection.write(http1.encode(response, head_only=request.method == "HEAD", keep_alive=keep_alive))
        self._busy = False
        if not keep_alive:
            self._connection.finish()
        else:
            self._connection.later(0, self._next)


class WebSocketEcho:
    """A WebSocket that gives back what it gets."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._echo = connection, websocket.Echo()

    def feed(self, data: bytes) -> None:
        """Echo each message."""
        self._connection.write(self._echo.feed(data))
        if self._echo.closed or not data:
            self._connection.finish()

    def drain(self) -> None:
        """Say that the server goes away."""
        self._connection.write(websocket.close_frame(1001))
        self._connection.finish()


class Plain:
    """Names the pod in one line, then gives back what it gets."""

    def __init__(self, connection: Connection, greeting: bytes) -> None:
        self._connection = connection
        connection.write(greeting)

    def feed(self, data: bytes) -> None:
        """Echo."""
        if data:
            self._connection.write(data)
        else:
            self._connection.finish()

    def drain(self) -> None:
        """Close after what is still to be sent."""
        self._connection.finish()


class Detect:
    """Waits for the first bytes and hands the connection to the protocol that they begin."""

    def __init__(self, connection: Connection, answer: Answer, greeting: bytes, h2: Answer | None) -> None:
        self._connection, self._answer, self._greeting, self._h2 = connection, answer, greeting, h2
        self._first = b""

    def feed(self, data: bytes) -> None:
        """Decide as soon as the bytes allow."""
        self._first += data
        http = http1.looks_like(self._first)
        if self._h2 is not None and self._first.startswith(_PREFACE[: len(self._first)]):
            http = None
        preface = self._h2 is not None and self._first.startswith(_PREFACE)
        if not self._first:
            self._connection.finish()
        elif http is None and not preface and data:
            return
        else:
            self._hand_over(http is True, preface)

    def drain(self) -> None:
        """Nothing is under way yet."""
        self._connection.finish()

    def _hand_over(self, http: bool, preface: bool) -> None:
        speaker: Speaker
        if preface and self._h2 is not None:
            module = importlib.import_module("fairlead.lab.responder.h2c")
            speaker = cast(Speaker, module.Http2(self._connection, self._h2))
        elif http:
            speaker = Http1(self._connection, self._answer)
        else:
            speaker = Plain(self._connection, self._greeting)
        self._connection.speaker = speaker
        speaker.feed(self._first)
