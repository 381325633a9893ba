"""The questions that probes and hooks put to a pod over the network: HTTP GET, TCP connect, gRPC health; worded as the kubelet's.

One short connection per question and no client library: hundreds of pods are asked every few seconds on one small machine.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

_USER_AGENT = "kube-probe/1.37"
_MOST_REDIRECTS = 10
_HEAD_BYTES = 64 * 1024
_GRPC_UNIMPLEMENTED = "12"
_GRPC_NOT_FOUND = "5"
_SERVING = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether the question was answered well, and what to tell when it was not."""

    ok: bool
    message: str = ""


def join_host_port(host: str, port: int) -> str:
    """Return host:port with brackets where the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def tcp_connect(host: str, port: int, timeout_s: float) -> Answer:
    """Tell whether a TCP connection is accepted."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return Answer(ok=False, message=_dial(host, port, error))
    writer.transport.abort()
    return Answer(ok=True)


async def http_get(url: str, headers: Sequence[tuple[str, str]], timeout_s: float) -> Answer:
    """Send GET and tell whether the status is 200 to 399; follows redirects on the same host, certificates are not verified."""
    started_host = urlsplit(url).hostname
    current = url
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(_MOST_REDIRECTS):
                status, location = await _get(current, headers)
                if status in (301, 302, 303, 307, 308) and location:
                    following = urljoin(current, location)
                    if urlsplit(following).hostname != started_host:
                        # As upstream: a redirect elsewhere is somebody else's health, so it counts as success.
                        return Answer(ok=True, message="Probe terminated redirects")
                    current = following
                    continue
                if 200 <= status < 400:
                    return Answer(ok=True)
                return Answer(ok=False, message=f"HTTP probe failed with statuscode: {status}")
            return Answer(ok=False, message=f'Get "{current}": stopped after {_MOST_REDIRECTS} redirects')
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Answer(ok=False, message=f'Get "{url}": {why}')
    except ssl.SSLError as error:
        return Answer(ok=False, message=f'Get "{url}": tls: {error.reason or error}')
    except OSError as error:
        host, port = _endpoint(current)
        return Answer(ok=False, message=f'Get "{url}": {_dial(host, port, error)}')
    except ValueError as error:
        return Answer(ok=False, message=f'Get "{url}": net/http: HTTP/1.x transport connection broken: {error}')


async def _get(url: str, headers: Sequence[tuple[str, str]]) -> tuple[int, str | None]:
    parts = urlsplit(url)
    host, port = _endpoint(url)
    context = _unverified() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_HEAD_BYTES)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        given = {name.lower() for name, _ in headers}
        standard = (
            ("Host", join_host_port(host, port)),
            ("User-Agent", _USER_AGENT),
            ("Accept", "*/*"),
            ("Connection", "close"),
        )
        lines = [f"GET {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in standard if name.lower() not in given]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise ConnectionResetError(errno.ECONNRESET, "EOF") from error
            head = error.partial
        except asyncio.LimitOverrunError as error:
            raise ValueError("the header is too long") from error
        first, *rest = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
            raise ValueError(f'malformed HTTP response "{first[:80]}"')
        location = next((line.partition(":")[2].strip() for line in rest if line.lower().startswith("location:")), None)
        return int(words[1]), location
    finally:
        writer.transport.abort()


async def grpc_health(host: str, port: int, service: str, timeout_s: float) -> Answer:
    """Ask grpc.health.v1.Health/Check in plain text and tell whether the service is SERVING."""
    try:
        async with asyncio.timeout(timeout_s):
            status, message = await _check(host, port, service)
    except TimeoutError:
        target = join_host_port(host, port)
        return Answer(
            ok=False,
            message=f'timeout: failed to connect service "{target}" within {timeout_s:g}s: context deadline exceeded',
        )
    except OSError as error:
        target = join_host_port(host, port)
        return Answer(ok=False, message=f'error: failed to connect service at "{target}": {_dial(host, port, error)}')
    if status == _GRPC_UNIMPLEMENTED:
        return Answer(
            ok=False,
            message="error: this server does not implement the grpc health protocol (grpc.health.v1.Health)",
        )
    if status == _GRPC_NOT_FOUND:
        return Answer(ok=False, message=f'error: health rpc failed: unknown service "{service}"')
    if status != "0":
        return Answer(ok=False, message=f"error: health rpc failed: rpc error: code = {status or 'Unavailable'}")
    state = _status_of(message)
    if state != _SERVING:
        names = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
        return Answer(ok=False, message=f'service unhealthy (responded with "{names.get(state, str(state))}")')
    return Answer(ok=True)


async def _check(host: str, port: int, service: str) -> tuple[str | None, bytes]:
    """Return grpc-status and the reply's message of one Check call."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import ProtocolError

    reader, writer = await asyncio.open_connection(host, port)
    try:
        connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()
        name = service.encode()
        message = b"\x0a" + bytes([len(name)]) + name if name else b""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", join_host_port(host, port)),
            ("content-type", "application/grpc"),
            ("user-agent", _USER_AGENT),
            ("te", "trailers"),
        ]
        connection.send_headers(1, headers)
        connection.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        writer.write(connection.data_to_send())
        status: str | None = None
        body = b""
        while data := await reader.read(65536):
            try:
                events = connection.receive_data(data)
            except ProtocolError as error:
                raise ConnectionAbortedError(errno.EPROTO, f"http2: {error}") from error
            for event in events:
                if isinstance(event, (ResponseReceived, TrailersReceived)):
                    status = next(
                        (_text(value) for key, value in event.headers or () if _text(key) == "grpc-status"), status
                    )
                elif isinstance(event, DataReceived):
                    body += event.data or b""
                elif isinstance(event, (StreamEnded, StreamReset, ConnectionTerminated)):
                    return status, body[5:]
            writer.write(connection.data_to_send())
        return status, body[5:]
    finally:
        writer.transport.abort()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _status_of(message: bytes) -> int:
    """Return HealthCheckResponse.status: field 1, a varint below 128."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _endpoint(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _dial(host: str, port: int, error: BaseException) -> str:
    target = join_host_port(host, port)
    if isinstance(error, TimeoutError):
        return f"dial tcp {target}: i/o timeout"
    number = getattr(error, "errno", None)
    if number in (errno.ECONNRESET, errno.EPIPE):
        return f"read tcp {target}: connection reset by peer" if "EOF" not in str(error) else "EOF"
    words = os.strerror(number).lower() if isinstance(number, int) and number > 0 else str(error)
    return f"dial tcp {target}: connect: {words}"


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
