"""HTTP/1.1 for a server (RFC 9112) without I/O: bytes in, requests out; responses to bytes.

Only what test clients send: any method, Content-Length and chunked bodies, pipelining, keep-alive, Expect and Upgrade. Malformed
input raises BadRequest with the status to answer and never anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

_MAX_HEAD = 65536
_MAX_BODY = 16 << 20
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")

Headers = Mapping[str, str]


class BadRequest(Exception):
    """The client's bytes are not a request; `status` is the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request:
    """One request. Header names are lower-case, repeated headers joined with a comma."""

    __slots__ = ("body", "client", "headers", "keep_alive", "method", "target")

    def __init__(self, method: str, target: str, headers: dict[str, str], keep_alive: bool, body: bytes = b"") -> None:
        self.method, self.target, self.headers, self.keep_alive, self.body = method, target, headers, keep_alive, body
        self.client = ""
        """Address and port of the client, set by the server."""

    @property
    def path(self) -> str:
        """The target without query, and without the authority of an absolute form."""
        path = self.target.partition("?")[0]
        return re.sub(r"^[a-zA-Z]+://[^/]*", "", path) or "/"

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; the last of a name counts."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


class Response:
    """What to answer; `delay_s` holds it back."""

    __slots__ = ("body", "close", "content_type", "delay_s", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "text/plain; charset=utf-8",
        headers: Sequence[tuple[str, str]] = (),
        delay_s: float = 0.0,
    ) -> None:
        self.body, self.status, self.content_type, self.headers, self.delay_s = (
            body,
            status,
            content_type,
            headers,
            delay_s,
        )
        self.close = False


def looks_like(first: bytes) -> bool | None:
    """Whether a connection's first bytes begin an HTTP/1 request; None when more are needed to tell."""
    for method in _METHODS:
        if first.startswith(method):
            return True
        if method.startswith(first):
            return None
    return False


def encode(response: Response, *, head_only: bool, keep_alive: bool) -> bytes:
    """The response's bytes. `head_only` answers HEAD: the length is that of the body that is left out."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unassigned"
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    bodiless = response.status < 200 or response.status in (204, 304)
    if not bodiless:
        lines += [f"Content-Type: {response.content_type}", f"Content-Length: {len(response.body)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status != 101:
        lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head if head_only or bodiless else head + response.body


class Parser:
    """Cuts a stream into requests. `continue_wanted` is set while a client waits for 100 Continue."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._request: Request | None = None
        self._left = 0
        self._chunked = False
        self._body = bytearray()
        self.continue_wanted = False

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        self._data += data

    def rest(self) -> bytes:
        """Take the bytes after the last request, which belong to the protocol the connection was upgraded to."""
        rest, self._data = bytes(self._data), bytearray()
        return rest

    def next(self) -> Request | None:
        """The next complete request, None when more bytes are needed. Raises BadRequest."""
        if self._request is None and not self._read_head():
            return None
        assert self._request is not None
        if not (self._read_chunks() if self._chunked else self._read_length()):
            return None
        request, self._request = self._request, None
        request.body, self._body = bytes(self._body), bytearray()
        self.continue_wanted = False
        return request

    def _read_head(self) -> bool:
        while self._data[:2] == b"\r\n":  # RFC 9112, 2.2: ignore empty lines before a request
            del self._data[:2]
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > _MAX_HEAD:
                raise BadRequest(431, "request header fields too large")
            return False
        if end > _MAX_HEAD:
            raise BadRequest(431, "request header fields too large")
        first, *fields = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        words = first.split(" ")
        if len(words) != 3 or not _TOKEN.match(words[0]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequest(400, "malformed request line")
        headers: dict[str, str] = {}
        for field in fields:
            name, colon, value = field.partition(":")
            if not colon or not _TOKEN.match(name):
                raise BadRequest(400, "malformed header line")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if words[2] == "HTTP/1.1" and "host" not in headers:
            raise BadRequest(400, "missing Host header")
        self._start_body(words, headers)
        return True

    def _start_body(self, words: list[str], headers: dict[str, str]) -> None:
        encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
        self._chunked = encoding is not None
        if encoding is not None and (encoding.lower() != "chunked" or length is not None):
            raise BadRequest(400, "unsupported Transfer-Encoding")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 12):
            raise BadRequest(400, "malformed Content-Length")
        self._left = int(length or 0)
        if self._left > _MAX_BODY:
            raise BadRequest(413, "content too large")
        tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
        keep_alive = "close" not in tokens if words[2] == "HTTP/1.1" else "keep-alive" in tokens
        self._request = Request(words[0], words[1], headers, keep_alive)
        self.continue_wanted = headers.get("expect", "").lower() == "100-continue"

    def _read_length(self) -> bool:
        if len(self._data) < self._left:
            return False
        self._body += self._data[: self._left]
        del self._data[: self._left]
        return True

    def _read_chunks(self) -> bool:
        while True:
            end = self._data.find(b"\r\n")
            if end < 0:
                return self._more(end)
            size_text = self._data[:end].split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size_text):
                raise BadRequest(400, "malformed chunk")
            size = int(size_text, 16)
            if size == 0:
                return self._read_trailers(end + 2)
            if len(self._body) + size > _MAX_BODY:
                raise BadRequest(413, "content too large")
            if len(self._data) < end + 2 + size + 2:
                return False
            self._body += self._data[end + 2 : end + 2 + size]
            del self._data[: end + 2 + size + 2]

    def _read_trailers(self, start: int) -> bool:
        if self._data[start : start + 2] == b"\r\n":
            del self._data[: start + 2]
            return True
        end = self._data.find(b"\r\n\r\n", start)
        if end < 0:
            return self._more(end)
        del self._data[: end + 4]
        return True

    def _more(self, _missing: int) -> bool:
        if len(self._data) > _MAX_BODY:
            raise BadRequest(413, "content too large")
        return False
