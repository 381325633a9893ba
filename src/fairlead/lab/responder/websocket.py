"""WebSocket for an echo server (RFC 6455) without I/O: frames in, frames out. No extensions."""

from __future__ import annotations

import base64
import hashlib
import struct

from fairlead.lab.responder.http1 import Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_MESSAGE = 16 << 20
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


def wanted(request: Request) -> bool:
    """Whether the request asks to become a WebSocket."""
    return request.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in request.headers


def handshake(request: Request, extra: str = "") -> bytes:
    """The 101 response; accepts the first subprotocol offered, for an echo speaks them all."""
    key = request.headers["sec-websocket-key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    protocol = request.headers.get("sec-websocket-protocol", "").split(",")[0].strip()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept}")
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def close_frame(code: int) -> bytes:
    """A close frame with a status code."""
    return _frame(_CLOSE, struct.pack(">H", code))


class Echo:
    """Answers each message with itself, pings with pongs; `closed` is set after a close."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._message = bytearray()
        self._opcode = _TEXT
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to answer with."""
        self._data += data
        answer = bytearray()
        while not self.closed:
            frame = self._next()
            if frame is None:
                break
            answer += self._react(*frame)
        return bytes(answer)

    def _react(self, final: bool, opcode: int, payload: bytes) -> bytes:
        if opcode == _PING:
            return _frame(_PONG, payload)
        if opcode == _PONG:
            return b""
        if opcode == _CLOSE:
            self.closed = True
            return _frame(_CLOSE, payload[:2])
        if opcode not in (_CONTINUATION, _TEXT, _BINARY) or len(self._message) + len(payload) > _MAX_MESSAGE:
            return self._fail(1002 if opcode > _BINARY else 1009)
        if opcode != _CONTINUATION:
            self._opcode = opcode
            self._message.clear()
        self._message += payload
        if not final:
            return b""
        message = bytes(self._message)
        self._message.clear()
        return _frame(self._opcode, message)

    def _fail(self, code: int) -> bytes:
        self.closed = True
        return close_frame(code)

    def _next(self) -> tuple[bool, int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length == 126:
            if len(data) < 4:
                return None
            length, start = struct.unpack_from(">H", data, 2)[0], 4
        elif length == 127:
            if len(data) < 10:
                return None
            length, start = struct.unpack_from(">Q", data, 2)[0], 10
        if length > _MAX_MESSAGE or not data[1] & 0x80:
            data.clear()
            return True, 0xF, b""
        if len(data) < start + 4 + length:
            return None
        mask, payload = data[start : start + 4], data[start + 4 : start + 4 + length]
        frame = bool(data[0] & 0x80), data[0] & 0x0F, _unmask(bytes(payload), bytes(mask))
        del data[: start + 4 + length]
        return frame


def _unmask(payload: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
    return head + payload
