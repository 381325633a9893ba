"""`test-webserver`: serves the files that the container sees, folders as lists of links, on port 80."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from fairlead.lab.agnhost.flags import number, parse
from fairlead.lab.agnhost.serving import new_server, say, serve_http
from fairlead.lab.responder.http1 import Request, Response

_MAX_FILE = 16 << 20


def run(args: Sequence[str]) -> int:
    """Serve until SIGTERM. Raises UsageError."""
    flags, _rest = parse(args, {"port": "80"})
    server = new_server()
    serve_http(server, number(flags, "port"), answer)
    say(f"Serving files on port {flags['port']}")
    return server.loop.run()


def answer(request: Request) -> Response:
    """A file, a listing, or 404; the process's own rights are the only limit."""
    path = Path("/" + unquote(request.path))
    try:
        if path.is_dir():
            return _listing(path)
        if not path.is_file():
            return Response(b"404 page not found\n", status=404)
        with path.open("rb") as file:
            return Response(file.read(_MAX_FILE), content_type="application/octet-stream")
    except (OSError, ValueError):
        return Response(b"403 Forbidden\n", status=403)


def _listing(folder: Path) -> Response:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    lines = [f'<a href="{quote(name)}">{html.escape(name)}</a>' for name in names]
    return Response(("<pre>\n" + "\n".join(lines) + "\n</pre>\n").encode(), content_type="text/html; charset=utf-8")
