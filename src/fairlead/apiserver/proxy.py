"""Proxied HTTP requests: to a kubelet itself, or through it to a port inside of a pod.

One request on one connection, copied without being understood, but for the headers of the hop. The client's credentials never go along.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPException, parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from fairlead.apiserver import errors
from fairlead.apiserver.http import body as bodies

_HOP = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CHUNK_BYTES = 64 << 10
_TIMEOUT_S = 30.0


async def to_kubelet(request: web.BaseRequest, socket: Path, path: str) -> web.StreamResponse:
    """Answer with what the kubelet on `socket` says at `path`; raises 503 when it does not answer."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as error:
        raise errors.unavailable(f"error dialing the kubelet: {error}") from None
    return await _exchange(request, reader, writer, path)


async def to_pod(
    request: web.BaseRequest, socket: Path, namespace: str, pod: str, port: int, path: str, *, tls: bool
) -> web.StreamResponse:
    """Answer with what listens on `port` in the pod says at `path`, over TLS if asked for; raises 503 when nothing does.

    As the real server does, it takes any certificate: pods sign their own.
    """
    from fairlead.apiserver.streaming.kubelet_stream import Refused, connect

    try:
        stream = await connect(socket, f"/portForward/{quote(namespace)}/{quote(pod)}", [("port", str(port))])
    except Refused as error:
        raise errors.unavailable(f"error trying to reach service: {error}") from None
    if tls:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await stream.writer.start_tls(_any_certificate(), server_hostname="")
        except (OSError, TimeoutError) as error:
            stream.writer.transport.abort()
            raise errors.unavailable(f"error trying to reach service: {error}") from None
    return await _exchange(request, stream.reader, stream.writer, path)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _exchange(
    request: web.BaseRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> web.StreamResponse:
    try:
        content = await bodies.read(request)
        writer.write(_head(request, path, len(content)) + content)
        async with asyncio.timeout(_TIMEOUT_S):
            await writer.drain()
            code, headers = await read_head(reader)
        response = web.StreamResponse(status=code)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                response.headers.add(name, value)
        response.enable_chunked_encoding()
        await response.prepare(request)
        if request.method != "HEAD" and code not in (204, 304):
            async for chunk in read_body(reader, {name.lower(): value for name, value in headers.items()}):
                await response.write(chunk)
        await response.write_eof()
        return response
    except (OSError, TimeoutError, EOFError, ValueError, HTTPException, asyncio.LimitOverrunError) as error:
        raise errors.unavailable(f"error trying to reach service: {error}") from None
    finally:
        writer.close()


def _head(request: web.BaseRequest, path: str, length: int) -> bytes:
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    lines = [f"{request.method} /{quote(path, safe='/:@!$&()*+,;=~')}{query} HTTP/1.1", f"Host: {request.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in _HOP]
    lines += ["Connection: close", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


async def read_head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    """Return code and headers of an HTTP/1.1 answer."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        code = int(first.split(b" ", 2)[1])
        if code >= 200:
            return code, dict(parse_headers(BytesIO(rest)).items())


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Yield the body of an HTTP/1.1 answer; the names in `headers` are in lower case."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        return
    left = int(headers["content-length"]) if "content-length" in headers else None
    while left is None or left > 0:
        chunk = await reader.read(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        yield chunk
