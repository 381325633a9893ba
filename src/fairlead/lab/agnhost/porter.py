"""`porter`: serves the value of each variable SERVE_PORT_N (or SERVE_SCTP_PORT_N) on port N."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fairlead.lab.agnhost.flags import parse
from fairlead.lab.agnhost.serving import new_server, say, serve_http
from fairlead.lab.responder.http1 import Response
from fairlead.lab.responder.speakers import Plain

_HTTP, _SCTP = "SERVE_PORT_", "SERVE_SCTP_PORT_"


def run(args: Sequence[str]) -> int:
    """Serve until SIGTERM. Raises UsageError."""
    parse(args, {"json-response": "false"})
    server = new_server()
    for name, value in os.environ.items():
        prefix = next((prefix for prefix in (_HTTP, _SCTP) if name.startswith(prefix)), None)
        if prefix is None or not name[len(prefix) :].isdigit():
            continue
        port, body = int(name[len(prefix) :]), value.encode()
        try:
            if prefix == _HTTP:
                serve_http(server, port, lambda _request, body=body: Response(body))  # type: ignore[misc]
            else:
                server.listen(port, lambda connection, body=body: Plain(connection, body), sctp=True)  # type: ignore[misc]
        except OSError as error:
            say(f"{name}: cannot listen: {error.strerror}")
    return server.loop.run()
