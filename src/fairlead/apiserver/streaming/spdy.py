"""SPDY/3.1 as Kubernetes clients speak it: bytes in, events out; commands in, bytes out.

Only what stream multiplexing needs: no push, no settings, no flow control (clients in use never send a window update that matters). Every
length is bounded before memory is spent on it. Source: SPDY protocol, draft 3.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

MOST_FRAME_BYTES = 1 << 20
MOST_HEADER_BYTES = 64 << 10
MOST_STREAMS = 1024
_CHUNK_BYTES = 32 << 10

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
_FIN = 0x01
_CONTROL = 0x80000000
_VERSION = 3


class SpdyError(Exception):
    """The peer broke the protocol or a bound; the connection cannot go on."""


class StreamOpened(msgspec.Struct, frozen=True):
    """The peer opened a stream; header names are lower case. `fin`: it will send nothing on it."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


class Data(msgspec.Struct, frozen=True):
    """Bytes of a stream; `fin`: the peer's last."""

    stream: int
    payload: bytes
    fin: bool


class StreamReset(msgspec.Struct, frozen=True):
    """The peer gave the stream up."""

    stream: int


class Pinged(msgspec.Struct, frozen=True):
    """The peer wants `ping(ident)` back."""

    ident: int


class WentAway(msgspec.Struct, frozen=True):
    """The peer will open no more streams."""


Event: TypeAlias = StreamOpened | Data | StreamReset | Pinged | WentAway


class Spdy:
    """One end of a connection. Not for concurrent use: header compression is stateful."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._streams: set[int] = set()

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the peer and return what they complete; raises SpdyError."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if length > MOST_FRAME_BYTES:
                raise SpdyError(f"a frame of {length} bytes, more than {MOST_FRAME_BYTES}")
            if len(self._buffer) < 8 + length:
                break
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            flags = second >> 24
            if not first & _CONTROL:
                events.append(Data(first, body, bool(flags & _FIN)))
            elif (event := self._control(first, flags, body)) is not None:
                events.append(event)
        return events

    def open(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """Return the frame that opens a stream (odd numbers for clients)."""
        block = struct.pack(">IIH", stream, 0, 0) + self._compress(headers)
        return _control(_SYN_STREAM, block)

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the frame that accepts a stream of the peer."""
        return _control(_SYN_REPLY, struct.pack(">I", stream) + self._compress(headers or {}))

    def data(self, stream: int, payload: bytes, *, fin: bool = False) -> bytes:
        """Return the frames that carry `payload`; with `fin`, our last on this stream."""
        chunks = [payload[start : start + _CHUNK_BYTES] for start in range(0, len(payload), _CHUNK_BYTES)] or [b""]
        last = len(chunks) - 1
        return b"".join(
            struct.pack(">II", stream, (_FIN << 24 if fin and number == last else 0) | len(chunk)) + chunk
            for number, chunk in enumerate(chunks)
        )

    def reset(self, stream: int) -> bytes:
        """Return the frame that gives a stream up (CANCEL)."""
        self._streams.discard(stream)
        return _control(_RST_STREAM, struct.pack(">II", stream, 5))

    def ping(self, ident: int) -> bytes:
        """Return the frame that sends, or answers, a ping."""
        return _control(_PING, struct.pack(">I", ident))

    def go_away(self) -> bytes:
        """Return the frame that ends the session in order."""
        return _control(_GOAWAY, struct.pack(">II", 0, 0))

    def forget(self, stream: int) -> None:
        """Free the place of a stream that is closed on both sides."""
        self._streams.discard(stream)

    def _control(self, first: int, flags: int, body: bytes) -> Event | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"SPDY version {version} instead of {_VERSION}")
        try:
            match kind:
                case 1:
                    (stream,) = struct.unpack_from(">I", body)
                    headers = self._decompress(body[10:])
                    if stream in self._streams or len(self._streams) >= MOST_STREAMS:
                        raise SpdyError(f"stream {stream} is open already, or one of more than {MOST_STREAMS}")
                    self._streams.add(stream)
                    return StreamOpened(stream, headers, bool(flags & _FIN))
                case 2 | 8:
                    # Also of a block that nobody reads the state of the compression counts.
                    self._decompress(body[4:])
                    return None
                case 3:
                    (stream,) = struct.unpack_from(">I", body)
                    self._streams.discard(stream)
                    return StreamReset(stream)
                case 6:
                    return Pinged(struct.unpack_from(">I", body)[0])
                case 7:
                    return WentAway()
                case _:
                    return None
        except struct.error as error:
            raise SpdyError(f"a control frame of type {kind} is too short") from error

    def _compress(self, headers: Mapping[str, str]) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _decompress(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, MOST_HEADER_BYTES)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"headers of more than {MOST_HEADER_BYTES} bytes")
        return _headers(text)


def _headers(block: bytes) -> dict[str, str]:
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        if position + count > len(block):
            raise SpdyError("headers are cut off")
        part = block[position : position + count]
        position += count
        return part

    def number() -> int:
        return int.from_bytes(take(4), "big")

    found: dict[str, str] = {}
    for _ in range(number()):
        name = take(number()).decode("latin-1").lower()
        found[name] = take(number()).decode("latin-1")
    return found


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | _VERSION << 16 | kind, len(body)) + body


_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
    "keep-alive|origin"
).split("|")

DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    b"publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
"""The compression dictionary that SPDY/3 prescribes (Adler-32 0xe3c6a7c2)."""
