"""One connection: aiohttp's HTTP/1.1 protocol with a bound on dawdling clients and refusals in the API's own form.

A client that has begun a request must finish its header within `HEADER_TIMEOUT_S`; one that opened a connection and says nothing is
closed as well.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from fairlead.apiserver.errors import failure, internal
from fairlead.apiserver.http.answers import of_error
from fairlead.apiserver.identity import ANONYMOUS, Identity, from_certificate

HEADER_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 300.0


class Connection(RequestHandler):
    """A client's connection; `identity` is what its certificate says."""

    __slots__ = ("_header_timer", "identity")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.identity: Identity = ANONYMOUS
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read the identity and start the clock."""
        self.identity = from_certificate(transport.get_extra_info("peercert"))
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a header that is still incomplete afterwards is on the clock."""
        super().data_received(data)
        # aiohttp keeps complete, unhandled requests in _messages and the one in work in _current_request.
        if self._messages or self._current_request is not None or self._request_in_progress:
            self._stop_clock()
        elif self._header_timer is None:
            self._start_clock()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP (or a defect) with a Status, never with a traceback."""
        if status == 500:
            self.logger.error("request failed", exc_info=exc)
            response = of_error(internal("the request could not be handled"))
        else:
            detail = (message or str(exc) or "malformed request").splitlines()[0]
            response = of_error(failure(status, "BadRequest", f"malformed request: {detail}"))
        response.force_close()
        return response

    def _start_clock(self) -> None:
        self._header_timer = self._loop.call_later(HEADER_TIMEOUT_S, self._expire)

    def _stop_clock(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _expire(self) -> None:
        self._header_timer = None
        if self.transport is not None:
            self.transport.abort()


class Connections(web.Server):
    """Makes connections; every request goes to one handler."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)
