"""A socket to the kernel's routing tables, and namespaces to open it in.

The kernel answers rtnetlink requests before send returns, so everything here is blocking and quick; callers that must not block run
it in a thread of their own. It must never interpret what it carries.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from fairlead.drivers.netlink import wire

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_TIMEOUT_S = 10.0
_BATCH = 64
# A dump is restarted when the kernel says that it changed meanwhile.
_DUMP_TRIES = 10

_libc = ctypes.CDLL(None, use_errno=True)


class NetlinkError(OSError):
    """The kernel refused a request: errno, and a message that names the request and the kernel's own words."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request: message type, flags beyond REQUEST and ACK, the body, and what it does in words for errors."""

    kind: int
    flags: int
    body: bytes
    what: str
    tolerate: int = 0
    """An errno that means that all is well already (EEXIST, ENOENT…)."""


class RouteSocket:
    """A NETLINK_ROUTE socket of the calling thread's network namespace, whichever thread uses it later.

    One with multicast `groups` only receives notifications and never blocks; one without only does requests.
    """

    def __init__(self, groups: Sequence[int] = ()) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            # Older kernels lack some of these; then errors are terse and dumps are filtered by us alone.
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError as problem:
                if problem.errno != errno.ENOPROTOOPT:
                    raise
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._socket.settimeout(0 if groups else _TIMEOUT_S)
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<RouteSocket fd={self._socket.fileno()} sequence={self._sequence}>"

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def port(self) -> int:
        """Return the port by which the kernel knows this socket, and names it in notifications of what it caused."""
        port: int = self._socket.getsockname()[0]
        return port

    def receive(self) -> list[tuple[int, int, bytes]]:
        """Return (type, port that caused it, payload) of pending notifications, none when nothing is pending.

        Raises OSError ENOBUFS when some were lost.
        """
        try:
            data = self._socket.recv(1 << 17)
        except BlockingIOError:
            return []
        return [(kind, port, payload) for kind, _, _, port, payload in wire.messages(data)]

    def execute(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        """Do `requests` in order and return the error of each, None for those that succeeded; later ones run in any case."""
        results: list[NetlinkError | None] = []
        for start in range(0, len(requests), _BATCH):
            results += self._execute(requests[start : start + _BATCH])
        return results

    def run(self, *requests: Request) -> None:
        """Do `requests` in order; raises the first NetlinkError after all were tried."""
        for problem in self.execute(requests):
            if problem is not None:
                raise problem

    def get(self, request: Request) -> bytes:
        """Return the payload that answers `request`; raises NetlinkError."""
        sequence = self._send([request], wire.NLM_F_REQUEST)
        for kind, flags, number, _, payload in wire.messages(self._socket.recv(1 << 17)):
            if number == sequence:
                if kind == wire.NLMSG_ERROR:
                    raise _failure(request, *wire.error(flags, payload))
                return payload
        raise NetlinkError(errno.EPROTO, f"{request.what}: no answer from the kernel")

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the payloads of a whole, consistent dump; raises NetlinkError."""
        request = Request(kind, wire.NLM_F_DUMP, body, "list")
        for _ in range(_DUMP_TRIES):
            payloads, consistent = self._dump(request)
            if consistent:
                return payloads
        # A table that never rests: the next resync sees the rest.
        return payloads

    def _dump(self, request: Request) -> tuple[list[bytes], bool]:
        sequence = self._send([request], wire.NLM_F_REQUEST)
        payloads: list[bytes] = []
        consistent = True
        while True:
            for kind, flags, number, _, payload in wire.messages(self._socket.recv(1 << 17)):
                if number != sequence:
                    continue
                consistent = consistent and not flags & wire.NLM_F_DUMP_INTR
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    code, words = wire.error(flags, payload)
                    if code:
                        raise _failure(request, code, words)
                    return payloads, consistent
                payloads.append(payload)

    def _execute(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        first = self._send(requests, wire.NLM_F_REQUEST | wire.NLM_F_ACK)
        results: list[NetlinkError | None] = [None] * len(requests)
        missing = set(range(first, first + len(requests)))
        while missing:
            for kind, flags, number, _, payload in wire.messages(self._socket.recv(1 << 17)):
                if number not in missing or kind != wire.NLMSG_ERROR:
                    continue
                missing.discard(number)
                code, words = wire.error(flags, payload)
                request = requests[number - first]
                if code not in (0, request.tolerate):
                    results[number - first] = _failure(request, code, words)
        return results

    def _send(self, requests: Sequence[Request], flags: int) -> int:
        first = self._sequence + 1
        self._sequence += len(requests)
        self._socket.send(
            b"".join(
                wire.message(request.kind, request.flags | flags, first + number, request.body)
                for number, request in enumerate(requests)
            )
        )
        return first


def _failure(request: Request, code: int, words: str) -> NetlinkError:
    name = errno.errorcode.get(code, str(code))
    return NetlinkError(code, f"{request.what}: {name}" + (f" ({words})" if words else f" ({os.strerror(code)})"))


def enter(namespace: Path | int) -> None:
    """Move the calling thread into a network namespace, given by path or open file; raises OSError."""
    if isinstance(namespace, int):
        _setns(namespace)
        return
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


def inside(namespace: Path | int, home: int, action: Callable[[], T]) -> T:
    """Return what `action` returns inside `namespace`; the thread is back in `home` afterwards. Raises OSError."""
    enter(namespace)
    try:
        return action()
    finally:
        _setns(home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
