"""`serve-hostname`: answers its host name over HTTP, TCP or UDP on port 9376."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.lab.agnhost.flags import number, parse
from fairlead.lab.agnhost.serving import hostname, new_server, say, serve_http
from fairlead.lab.responder.http1 import Response
from fairlead.lab.responder.server import Connection
from fairlead.lab.responder.speakers import Plain

_DEFAULTS = {"port": "9376", "http": "true", "tcp": "false", "udp": "false", "close": "false"}


class _Once(Plain):
    """Says the name and hangs up, as the original does over TCP."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, hostname().encode())
        connection.later(0, connection.finish)


def run(args: Sequence[str]) -> int:
    """Serve until SIGTERM. Raises UsageError."""
    flags, _rest = parse(args, _DEFAULTS)
    port = number(flags, "port")
    server = new_server()
    name = hostname().encode()
    if flags["udp"] == "true":
        server.listen_datagrams(port, lambda _data, _client: name)
    if flags["tcp"] == "true":
        server.listen(port, _Once)
    elif flags["http"] == "true":
        serve_http(server, port, lambda _request: Response(name))
    say(f"Serving hostname {name.decode()} on port {port}")
    return server.loop.run()
