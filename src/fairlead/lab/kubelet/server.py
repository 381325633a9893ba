"""The kubelet's HTTP API on a Unix socket: logs, exec, attach, port-forward, /pods and /healthz, for the API server alone.

HTTP/1.1 with one request per connection. A stream is joined by `Upgrade: fairlead-stream`; then both sides send frames of one byte
channel, four bytes length (big-endian) and payload (`fairlead.apiserver.streaming.kubelet_stream` is the other end). Port-forward
carries raw bytes after the upgrade.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs, unquote, urlsplit

from fairlead.lab.kubelet.floor import Floor, Session
from fairlead.lab.kubelet.frames import CLOSE, EXIT, RESIZE, STDIN, exit_status, failure_status, frame, read_frame
from fairlead.lab.kubelet.launch import log_file
from fairlead.lab.kubelet.logs import parse_options, read_log
from fairlead.lab.kubelet.pod import Container, Json
from fairlead.lab.kubelet.record import PodRecord
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.sync import PodSync
from fairlead.lab.runtime.spec import CommandMissing, RuntimeFault

log = logging.getLogger(__name__)

_HEAD_BYTES = 64 << 10
_HEAD_TIMEOUT_S = 10.0
_COPY = 1 << 16
_REASONS = {200: "OK", 101: "Switching Protocols", 400: "Bad Request", 404: "Not Found", 502: "Bad Gateway"}


class Refusal(Exception):
    """An answer with an error: HTTP status and the kubelet's words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request:
    """A parsed request and its connection."""

    def __init__(
        self, method: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upgrade: bool
    ) -> None:
        parts = urlsplit(target)
        self.method = method
        self.path = tuple(unquote(part) for part in parts.path.strip("/").split("/"))
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.reader = reader
        self.writer = writer
        self.upgrade = upgrade

    def flag(self, name: str) -> bool:
        """Tell whether a boolean parameter is set."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def switch(self) -> None:
        """Answer 101."""
        if not self.upgrade:
            raise Refusal(400, "Upgrade request required")
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: fairlead-stream\r\n\r\n"
        )


class Server:
    """Serves one node's pods."""

    def __init__(self, settings: Settings, floor: Floor, pods: PodSync) -> None:
        self._settings = settings
        self._floor = floor
        self._pods = pods
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[None]]] = {
            ("GET", "healthz"): self._healthz,
            ("GET", "pods"): self._list,
            ("GET", "containerLogs"): self._logs,
            ("POST", "exec"): self._exec,
            ("POST", "attach"): self._attach,
            ("POST", "portForward"): self._port_forward,
        }

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on the kubelet's socket, replacing one that a killed kubelet left."""
        path = self._settings.socket
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path=str(path), limit=_HEAD_BYTES)
        path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(reader, writer)
            if request is None:
                return
            try:
                handler = self._routes.get((request.method, request.path[0]))
                if handler is None:
                    raise Refusal(404, "404 page not found")
                await handler(request)
            except Refusal as refusal:
                _answer(writer, refusal.code, str(refusal).encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # The server is going down; asyncio's stream protocol reports a cancelled handler as an error.
            pass
        except Exception:
            log.warning("request failed", exc_info=True)
        finally:
            writer.close()

    async def _healthz(self, request: Request) -> None:
        _answer(request.writer, 200, b"ok")

    async def _list(self, request: Request) -> None:
        items: list[Json] = [
            record.obj | {"status": self._pods.writer.status(record)} for record in self._pods.records.values()
        ]
        body = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}).encode()
        _answer(request.writer, 200, body, "application/json")

    async def _logs(self, request: Request) -> None:
        record, container = self._container(request)
        try:
            options = parse_options({key: values[0] for key, values in request.query.items()}, time.time())
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        own = record.container(container.name)
        state = own.frozen
        if state is None:
            reason = own.waiting[0] if own.waiting else "ContainerCreating"
            raise Refusal(
                400,
                f'container "{container.name}" in pod "{record.pod.metadata.name}" is waiting to start: {reason}',
            )
        attempt = state.attempt - 1 if options.previous else state.attempt
        path = log_file(self._settings, record.pod.uid, container.name, attempt)
        if options.previous and not path.exists():
            raise Refusal(
                400,
                f'previous terminated container "{container.name}" in pod "{record.pod.metadata.name}" not found',
            )

        def alive() -> bool:
            current = own.frozen
            return (
                not options.previous
                and not record.gone
                and current is not None
                and current.attempt == attempt
                and current.state != "exited"
            )

        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        await request.writer.drain()
        hung_up = asyncio.ensure_future(request.reader.read(1))
        copying = asyncio.ensure_future(_copy_log(read_log(path, options, alive), request.writer))
        try:
            await asyncio.wait({hung_up, copying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hung_up.cancel()
            copying.cancel()
            await asyncio.gather(hung_up, copying, return_exceptions=True)

    async def _exec(self, request: Request) -> None:
        record, container = self._running(request)
        command = request.query.get("command") or []
        if not command:
            raise Refusal(400, "you must specify at least 1 command")
        tty = request.flag("tty")
        try:
            session = await self._floor.exec(
                record.pod.uid, container.name, command, tty=tty, stdin=request.flag("stdin"), env=_terminal(tty)
            )
        except CommandMissing as error:
            # The real kubelet has joined the streams by now and tells it as the command's failure.
            request.switch()
            request.writer.write(frame(EXIT, failure_status(f"error executing command in container: {error}")))
            return
        except RuntimeFault as error:
            raise Refusal(404, f"error executing command in container: {error}") from error
        await self._join(request, session)

    async def _attach(self, request: Request) -> None:
        record, container = self._running(request)
        stdin = request.flag("stdin") and bool(container.stdin)
        try:
            session = await self._floor.attach(record.pod.uid, container.name, stdin=stdin)
        except RuntimeFault as error:
            raise Refusal(404, f"error attaching to container: {error}") from error
        await self._join(request, session)

    async def _port_forward(self, request: Request) -> None:
        record = self._record(request)
        try:
            port = int(request.query.get("port", [""])[0])
        except ValueError:
            raise Refusal(400, "a port is required") from None
        try:
            reader, writer = await self._floor.dial(record.pod.uid, port)
        except (OSError, RuntimeFault) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(number).lower() if number else str(error)
            raise Refusal(
                502,
                f"error forwarding port {port} to pod {record.pod.uid}, uid : failed to connect to localhost:{port} inside "
                f'namespace "{record.pod.uid}": {reason}',
            ) from error
        request.switch()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(request.reader, writer))
                group.create_task(_pipe(reader, request.writer))
        except* (ConnectionError, OSError):
            pass
        finally:
            writer.close()

    async def _join(self, request: Request, session: Session) -> None:
        """Carry frames between the connection and the process until the process ends or the connection does."""
        try:
            request.switch()
        except Refusal:
            await session.kill()
            raise
        inputs = asyncio.ensure_future(_inputs(request.reader, session))
        outputs = asyncio.ensure_future(_outputs(session, request.writer))
        try:
            done, _ = await asyncio.wait({inputs, outputs}, return_when=asyncio.FIRST_COMPLETED)
            if outputs in done:
                code = await session.wait()
                request.writer.write(frame(EXIT, exit_status(code)))
                await request.writer.drain()
        finally:
            for task in (inputs, outputs):
                task.cancel()
            await asyncio.gather(inputs, outputs, return_exceptions=True)
            await session.kill()

    def _record(self, request: Request) -> PodRecord:
        if len(request.path) < 3:
            raise Refusal(404, "404 page not found")
        namespace, name = request.path[1], request.path[2]
        found = [
            record
            for record in self._pods.records.values()
            if record.pod.metadata.name == name and record.pod.metadata.namespace == namespace
        ]
        # A pod that is going and its successor may share a name for a moment; the successor is meant.
        found.sort(key=lambda record: record.gone)
        if not found:
            raise Refusal(404, f'pod "{name}" not found')
        return found[0]

    def _container(self, request: Request) -> tuple[PodRecord, Container]:
        record = self._record(request)
        name = request.path[3] if len(request.path) > 3 else ""
        container = record.pod.container(name)
        if container is None:
            raise Refusal(404, f'container "{name}" not found in pod "{record.pod.metadata.name}"')
        return record, container

    def _running(self, request: Request) -> tuple[PodRecord, Container]:
        record, container = self._container(request)
        state = self._floor.containers(record.pod.uid).get(container.name)
        if state is None or state.state != "running":
            raise Refusal(404, f'container not found ("{container.name}")')
        return record, container


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Return the request, None when the peer hung up or sent something else."""
    try:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    upgrade = headers.get("upgrade", "").lower() == "fairlead-stream"
    return Request(words[0], words[1], reader, writer, upgrade)


def _answer(writer: asyncio.StreamWriter, code: int, body: bytes, kind: str = "text/plain") -> None:
    head = f"HTTP/1.1 {code} {_REASONS.get(code, 'Error')}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)


def _terminal(tty: bool) -> dict[str, str]:
    return {"TERM": "xterm"} if tty else {}


async def _copy_log(chunks: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for chunk in chunks:
        writer.write(chunk)
        await writer.drain()


async def _inputs(reader: asyncio.StreamReader, session: Session) -> None:
    """Pass frames on to the process until the connection ends."""
    while (received := await read_frame(reader)) is not None:
        channel, payload = received
        if channel == STDIN:
            await session.write(payload)
        elif channel == RESIZE:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                size = json.loads(payload)
                await session.resize(int(size["Width"]), int(size["Height"]))
        elif channel == CLOSE and payload[:1] == bytes([STDIN]):
            session.close_stdin()


async def _outputs(session: Session, writer: asyncio.StreamWriter) -> None:
    while (chunk := await session.read()) is not None:
        channel, data = chunk
        writer.write(frame(channel, data))
        await writer.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_COPY):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
