"""Messages with file descriptors over a Unix stream socket: one JSON object per line, descriptors attached to its first byte.

Both ends of the fork server's socket and of each init's socket speak it. A message that carries descriptors says how many in
its key `fds`, so that they are matched although the kernel hands them over per read. Must never import asyncio.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from typing import Any

from fairlead.lab.runtime import codec

Message = dict[str, Any]
_MAX_FDS = 16
_CHUNK = 1 << 16


class Closed(Exception):
    """The other end has gone."""


def encode(message: Message, fds: int = 0) -> bytes:
    """The line of a message that will carry `fds` descriptors."""
    return codec.encode({**message, "fds": fds} if fds else message) + b"\n"


class Decoder:
    """Collects what a socket delivers into messages, each with its descriptors under the key `fds` (a list)."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._fds: deque[int] = deque()

    def feed(self, data: bytes, fds: list[int]) -> list[Message]:
        """Whole messages that `data` completes."""
        self._fds.extend(fds)
        self._pending += data
        if b"\n" not in data:
            return []
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        messages: list[Message] = []
        for line in lines:
            message = codec.decode(line, dict)
            message["fds"] = [self._fds.popleft() for _ in range(message.get("fds", 0))]
            messages.append(message)
        return messages

    def close(self) -> None:
        """Close descriptors that no message claimed."""
        while self._fds:
            os.close(self._fds.popleft())


def receive(sock: socket.socket, decoder: Decoder) -> list[Message]:
    """Read once and return the messages completed by it. Raises Closed at the end, BlockingIOError when nothing is there."""
    try:
        data, ancillary, _flags, _address = sock.recvmsg(
            _CHUNK, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError as error:
        raise Closed from error
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % 4])
    if not data:
        for fd in fds:
            os.close(fd)
        raise Closed
    return decoder.feed(data, fds.tolist())


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Send a whole message on a blocking socket. Raises Closed when the other end has gone."""
    line = encode(message, len(fds))
    try:
        sent = socket.send_fds(sock, [line], list(fds)) if fds else sock.send(line)
        if sent < len(line):
            sock.sendall(line[sent:])
    except (BrokenPipeError, ConnectionError) as error:
        raise Closed from error
