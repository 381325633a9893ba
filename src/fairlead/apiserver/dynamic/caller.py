"""One call of a webhook: an AdmissionReview posted over TLS, to a URL or to a pod behind a Service.

Pods are not reached from here, so a Service is reached as `pods/proxy` is: through the kubelet of a ready pod. The certificate must be
signed by the webhook's `caBundle`; a call never outlasts its timeout.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fairlead.apiserver.proxy import read_body, read_head
from fairlead.apiserver.store.records import decode, encode

Json = dict[str, Any]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ToService = Callable[[str, str, int], Awaitable[Streams]]
"""(namespace, name, port) → a connection to a pod behind the Service; raises Unreachable."""

_MOST_BYTES = 3 << 20


class Unreachable(Exception):
    """The webhook did not answer as it must; the message stands behind `failed calling webhook "NAME": `."""


async def call(config: Json, review: Json, timeout_s: float, to_service: ToService) -> Json:
    """Return the response of an AdmissionReview; raises Unreachable."""
    service = config.get("service")
    if service is not None:
        host, port = f"{service['name']}.{service['namespace']}.svc", int(service.get("port") or 443)
        path = service.get("path") or "/"
        path = path if path.startswith("/") else f"/{path}"
        shown = f"https://{host}:{port}{path}"
    else:
        shown = str(config.get("url") or "")
        parts = urlsplit(shown)
        host, port, path = parts.hostname or "", parts.port or 443, parts.path or "/"
        if parts.query:
            path += f"?{parts.query}"
    shown = f"{shown}?timeout={timeout_s:g}s"
    path += f"{'&' if '?' in path else '?'}timeout={timeout_s:g}s"
    try:
        async with asyncio.timeout(timeout_s):
            if service is not None:
                reader, writer = await to_service(service["namespace"], service["name"], port)
            else:
                reader, writer = await asyncio.open_connection(host, port)
            try:
                await writer.start_tls(_trust(config.get("caBundle")), server_hostname=host)
                code, content = await _post(reader, writer, host, path, encode(review))
            finally:
                writer.close()
    except Unreachable as error:
        raise Unreachable(f'failed to call webhook: Post "{shown}": {error}') from None
    except TimeoutError:
        raise Unreachable(f'failed to call webhook: Post "{shown}": context deadline exceeded') from None
    except ssl.SSLCertVerificationError as error:
        why = f"tls: failed to verify certificate: x509: {error.verify_message}"
        raise Unreachable(f'failed to call webhook: Post "{shown}": {why}') from None
    except (OSError, EOFError, ValueError, HTTPException, asyncio.LimitOverrunError) as error:
        why = (
            f"dial tcp {host}:{port}: connect: {_words(error)}"
            if isinstance(error, ConnectionRefusedError)
            else _words(error)
        )
        raise Unreachable(f'failed to call webhook: Post "{shown}": {why}') from None
    if not 200 <= code < 300:
        raise Unreachable(
            f"failed to call webhook: the server rejected our request for an unknown reason (status {code})"
        )
    return _response(content, review["request"]["uid"])


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str, body: bytes
) -> tuple[int, bytes]:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fairlead-admission\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    code, headers = await read_head(reader)
    chunks: list[bytes] = []
    size = 0
    async for chunk in read_body(reader, {name.lower(): value for name, value in headers.items()}):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_BYTES:
            raise Unreachable(f"the answer is longer than {_MOST_BYTES} bytes")
    return code, b"".join(chunks)


def _response(content: bytes, uid: str) -> Json:
    try:
        answer = decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"failed to call webhook: invalid character in the answer: {error}") from None
    if not isinstance(answer, dict) or answer.get("kind") != "AdmissionReview":
        kind = answer.get("kind") if isinstance(answer, dict) else None
        raise Unreachable(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got Kind={kind}")
    if answer.get("apiVersion") != "admission.k8s.io/v1":
        raise Unreachable(
            f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {answer.get('apiVersion')}, Kind=AdmissionReview"
        )
    response = answer.get("response")
    if not isinstance(response, dict):
        raise Unreachable("webhook response was absent")
    if response.get("uid") != uid:
        raise Unreachable(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    return response


def _trust(bundle: object) -> ssl.SSLContext:
    if not bundle:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=base64.b64decode(str(bundle)).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
        raise Unreachable(f"unable to load root certificates: {error}") from None


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, EOFError):
        return "EOF"
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else str(error) or type(error).__name__
