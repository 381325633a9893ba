"""`netexec`: an HTTP and UDP (on request SCTP) server whose endpoints tell who asked, who answers, and dial onwards.

Endpoints: / /clientip /dial /echo /exit /header /healthz /hostname /hostName /redirect /shell /shutdown. What can block (dialing,
shell commands, run as the pod's unprivileged user) runs in a thread of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from fairlead.lab.agnhost import dial
from fairlead.lab.agnhost.flags import UsageError, duration_s, number, parse
from fairlead.lab.agnhost.serving import hostname, new_server, say
from fairlead.lab.responder.http1 import Request, Response
from fairlead.lab.responder.server import Connection, Server
from fairlead.lab.responder.speakers import Http1

_DEFAULTS = {
    "http-port": "8080", "udp-port": "8081", "sctp-port": "-1", "http-override": "", "delay-shutdown": "0",
    "udp-listen-addresses": "", "tls-cert-file": "", "tls-private-key-file": "",
}  # fmt: skip
_SHELL_TIMEOUT_S = 60

Respond = Callable[[Response], None]


class NetExec:
    """The endpoints of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._routes: dict[str, Callable[[Request, Respond], None]] = {
            "/clientip": lambda request, respond: respond(_text(request.client)),
            "/dial": self._dial,
            "/echo": _echo,
            "/exit": self._exit,
            "/header": lambda request, respond: respond(
                _text(request.headers.get(request.query.get("key", "").lower(), ""))
            ),
            "/healthz": lambda _request, respond: respond(Response()),
            "/hostname": lambda _request, respond: respond(_text(hostname())),
            "/hostName": lambda _request, respond: respond(_text(hostname())),
            "/redirect": _redirect,
            "/shell": self._shell,
            "/shutdown": lambda _request, _respond: os._exit(0),
        }

    def answer(self, request: Request, respond: Respond) -> None:
        """Answer one request; unknown paths are the root, as Go's mux has it."""
        route = self._routes.get(request.path)
        if route is None:
            respond(_text(f"NOW: {time.strftime('%Y-%m-%d %H:%M:%S +0000 UTC', time.gmtime())}"))
        else:
            route(request, respond)

    def _dial(self, request: Request, respond: Respond) -> None:
        query = request.query
        try:
            tries = int(query.get("tries") or 1)
        except ValueError:
            respond(_text(f"tries parameter is invalid. {query['tries']}\n", 400))
            return
        protocol = query.get("protocol", "").lower() or "http"
        if not query.get("request"):
            respond(_text("request parameter not specified.\n", 400))
        elif protocol not in dial.PROTOCOLS:
            respond(_text(f"unsupported protocol. {protocol}\n", 400))
        else:
            arguments = (query.get("host", ""), query.get("port", ""), query["request"], protocol, tries)
            self._in_thread(lambda: _json(*dial.attempts(*arguments)), respond)

    def _shell(self, request: Request, respond: Respond) -> None:
        query = request.query
        command = query.get("shellCommand") or query.get("cmd") or ""
        self._in_thread(lambda: run_shell(command), respond)

    def _exit(self, request: Request, respond: Respond) -> None:
        query = request.query
        try:
            timeout_s, wait_s = duration_s(query.get("timeout") or "0"), duration_s(query.get("wait") or "0")
            code = int(query.get("code") or 0)
        except (UsageError, ValueError) as error:
            respond(_text(f"{error}\n"))
            return
        loop = self._server.loop
        respond(Response())
        if timeout_s == 0:
            loop.later(wait_s, lambda: loop.stop(code))
        else:
            loop.later(wait_s, self._server.close_listeners)
            loop.later(wait_s + timeout_s, lambda: loop.stop(code))

    def _in_thread(self, work: Callable[[], Response], respond: Respond) -> None:
        def body() -> None:
            response = work()
            self._server.loop.post(lambda: respond(response))

        threading.Thread(target=body, daemon=True).start()


def run(args: Sequence[str]) -> int:
    """Serve until SIGTERM or /exit. Raises UsageError."""
    flags, _rest = parse(args, _DEFAULTS)
    if flags["tls-cert-file"]:
        raise UsageError("--tls-cert-file: this stand-in serves no TLS")
    server = new_server()
    endpoints = NetExec(server)
    override = flags["http-override"]

    def answer(request: Request, respond: Respond) -> None:
        if override:
            request.method, request.target = "GET", override
        endpoints.answer(request, respond)

    def speak(connection: Connection) -> Http1:
        return Http1(connection, answer, websockets=False)

    for name in ("udp", "sctp"):
        port = number(flags, f"{name}-port")
        try:
            if port != -1 and name == "udp":
                server.listen_datagrams(port, datagram)
            elif port != -1:
                server.listen(port, _Commands, sctp=True)
        except OSError as error:
            say(f"cannot serve {name} port {port}: {error.strerror}")
    try:
        server.listen(number(flags, "http-port"), speak)
    except OSError as error:
        say(f"cannot serve http port {flags['http-port']}: {error.strerror}")
        return 1
    say(f"Started HTTP server on port {flags['http-port']}")
    return server.loop.run()


class _Commands:
    """The commands of the UDP server over a stream (SCTP)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def feed(self, data: bytes) -> None:
        """Answer a command."""
        reply = datagram(data, self._connection.client)
        if reply is not None and data:
            self._connection.write(reply)
        else:
            self._connection.finish()

    def drain(self) -> None:
        """Nothing is under way between commands."""
        self._connection.finish()


def datagram(data: bytes, client: str) -> bytes | None:
    """The reply to a UDP command: hostname, echo TEXT, clientip; None to anything else."""
    text = data.decode(errors="replace").strip().lower()
    if text == "hostname":
        return hostname().encode()
    if text == "clientip":
        return client.encode()
    if text.startswith("echo "):
        return text[5:].encode()
    return None


def run_shell(command: str) -> Response:
    """Run a command with the container's own rights; its output and error as JSON."""
    output: dict[str, str] = {}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SHELL_TIMEOUT_S,
            check=False,
        )
        if done.stdout:
            output["output"] = done.stdout.decode(errors="replace")
        if done.returncode:
            output["error"] = f"exit status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        output["error"] = str(error)
    return _json(output, 200)


def _echo(request: Request, respond: Respond) -> None:
    query = request.query
    code = query.get("code") or "200"
    if not code.isdigit() or not 200 <= int(code) <= 599:
        respond(_text(f"argument 'code' must be an integer or empty, got \"{code}\"\n"))
    else:
        respond(_text(query.get("msg", ""), int(code)))


def _redirect(request: Request, respond: Respond) -> None:
    query = request.query
    code = query.get("code") or "302"
    location = query.get("location", "").replace("\r", "").replace("\n", "")
    status = int(code) if code.isdigit() and 300 <= int(code) <= 399 else 302
    respond(Response(status=status, headers=[("Location", location)]))


def _text(text: str, status: int = 200) -> Response:
    return Response(text.encode(), status=status)


def _json(value: dict[str, str] | dict[str, list[str]], status: int) -> Response:
    return Response(json.dumps(value).encode(), status=status)
