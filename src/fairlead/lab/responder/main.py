"""Runs the responder on a container's declared ports until SIGTERM."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from fairlead.lab.loop import Loop
from fairlead.lab.responder import echo
from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Connection, Server, complain
from fairlead.lab.responder.speakers import Detect, Plain


class Identity(Protocol):
    """Who the responder is (`runtime.spec.Identity`)."""

    @property
    def pod(self) -> str:
        """Name of the pod."""

    @property
    def namespace(self) -> str:
        """Namespace of the pod."""

    @property
    def node(self) -> str:
        """Name of its node."""

    @property
    def zone(self) -> str:
        """Zone of its node."""


_QUIET_S, _LONGEST_S = 0.25, 10.0
"""Without requests for so long, or after so long anyway, it ends."""


def run(identity: Identity, ports: Sequence[tuple[str, int, str]], ready: Callable[[], None]) -> int:
    """Serve until SIGTERM has been obeyed; `ready` is called once everything listens. Returns the exit code."""
    who = echo.Who(identity.pod, identity.namespace, identity.node, identity.zone)
    loop = Loop()
    server = Server(loop)
    # As process 1 of a container it inherits orphans; nobody else would reap them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # The kubelet ends pods at the same moment as others hear of it: requests that are on their way are answered.
    loop.on_signal(signal.SIGTERM, lambda: server.end_when_quiet(_QUIET_S, _LONGEST_S))
    loop.on_signal(signal.SIGINT, server.end)
    try:
        for number, protocol in dict.fromkeys((number, protocol.upper()) for _name, number, protocol in ports):
            _open(server, who, number, protocol)
    except OSError as error:
        complain(f"cannot listen on port {number}/{protocol}: {error.strerror}")
        ready()
        return 1
    ready()
    code = loop.run()
    loop.close()
    return code


def _open(server: Server, who: echo.Who, number: int, protocol: str) -> None:
    def answer(request: Request, respond: Callable[[Response], None]) -> None:
        respond(echo.answer(who, request))

    def detect(connection: Connection) -> Detect:
        return Detect(connection, answer, who.line(), answer)

    if protocol == "UDP":
        server.listen_datagrams(number, lambda data, _client: f"{who.pod} ".encode() + data)
    elif protocol == "SCTP":
        try:
            server.listen(number, lambda connection: Plain(connection, who.line()), sctp=True)
        except OSError as error:
            if error.errno not in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
                raise
            complain(f"port {number}/SCTP is not served: this kernel has no SCTP")
    else:
        server.listen(number, detect)
