"""Serves the lab's internet: DNS on port 53, HTTP echo on port 80, as one small process without asyncio.

`GET /dns` tells how often each question was asked, so that a test sees what a look-up in a pod cost outside.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

from fairlead.lab.loop import Loop
from fairlead.lab.outside.names import Names
from fairlead.lab.responder import echo
from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Connection, Server
from fairlead.lab.responder.speakers import Detect

_WHO = echo.Who("internet", "", "internet", "")


def run(*, dns_port: int = 53, http_port: int = 80) -> int:
    """Serve until SIGTERM; raises OSError when a port is taken."""
    loop = Loop()
    server = Server(loop)
    names = Names()

    def web(request: Request, respond: Callable[[Response], None]) -> None:
        if request.path == "/dns":
            body = json.dumps(names.asked, sort_keys=True).encode() + b"\n"
            respond(Response(body, content_type="application/json"))
        else:
            respond(echo.answer(_WHO, request))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(number, server.end)
    server.listen_datagrams(dns_port, lambda data, _client: names.answer(data, stream=False))
    server.listen(dns_port, lambda connection: _Stream(connection, names))
    server.listen(http_port, lambda connection: Detect(connection, web, _WHO.line(), web))
    code = loop.run()
    loop.close()
    return code


class _Stream:
    """DNS over one TCP connection (RFC 7766)."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection, self._names = connection, names
        self._unread = b""

    def feed(self, data: bytes) -> None:
        """Answer every question that is complete; an end or nonsense closes."""
        if not data:
            self._connection.finish()
            return
        self._unread += data
        while len(self._unread) >= 2 and len(self._unread) >= 2 + (size := int.from_bytes(self._unread[:2], "big")):
            packet, self._unread = self._unread[2 : 2 + size], self._unread[2 + size :]
            reply = self._names.answer(packet, stream=True)
            if reply is None:
                self._connection.close()
                return
            self._connection.write(len(reply).to_bytes(2, "big") + reply)

    def drain(self) -> None:
        """Close when what was asked is answered."""
        self._connection.finish()
