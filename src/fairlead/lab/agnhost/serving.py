"""What the serving commands share: a loop that ends on SIGTERM, HTTP on a port, the pod's name."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from fairlead.lab.loop import Loop
from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Server
from fairlead.lab.responder.speakers import Http1

Handler = Callable[[Request], Response]


def new_server() -> Server:
    """A server that ends gracefully on SIGTERM and SIGINT."""
    loop = Loop()
    server = Server(loop)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    loop.on_signal(signal.SIGTERM, server.end)
    loop.on_signal(signal.SIGINT, server.end)
    return server


def serve_http(server: Server, port: int, handler: Handler) -> None:
    """Answer HTTP/1.1 on a port with a function that does not block. Raises OSError."""

    def answer(request: Request, respond: Callable[[Response], None]) -> None:
        respond(handler(request))

    server.listen(port, lambda connection: Http1(connection, answer, websockets=False))


def hostname() -> str:
    """The pod's host name."""
    return os.uname().nodename


def say(text: str) -> None:
    """A line for the container's log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
