"""A netlink socket to nf_tables: one transaction is one send, and the kernel has answered when that returns.

Everything here blocks for as long as the kernel works, 30 µs for one element. It must never interpret what it carries.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from fairlead.drivers.nft import wire

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_CLONE_NEWNET = 0x40000000
_RECEIVE_BYTES = 1 << 20
_TIMEOUT_S = 30
_DUMP_TRIES = 20

_libc = ctypes.CDLL(None, use_errno=True)


class NftError(OSError):
    """The kernel refused something: errno, and a message with the kernel's own words."""


class DumpInterruptedError(Exception):
    """Someone changed a table while it was listed: list it again."""


class NftSocket:
    """A NETLINK_NETFILTER socket of the network namespace at `namespace`, by default the process's own."""

    def __init__(self, namespace: Path | None = None) -> None:
        self._socket = _open() if namespace is None else _inside(namespace, _open)
        self._sequence = 0
        self._send_bytes = 0

    def __repr__(self) -> str:
        return f"<NftSocket fd={self._socket.fileno()} sequence={self._sequence}>"

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def transact(self, transaction: bytes) -> list[wire.Refusal]:
        """Send a transaction and return what was refused: empty means that all of it is in force, else nothing is.

        Raises OSError when the transaction cannot be sent at all.
        """
        self._drain()
        self._reserve(len(transaction))
        self._socket.send(transaction)
        refusals: list[wire.Refusal] = []
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return refusals
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # More was refused than the queue could tell.
                refusals.append(wire.Refusal(0, errno.ENOBUFS, "refusals were lost"))
                continue
            for kind, flags, _, payload in wire.messages(data):
                if kind == wire.NLMSG_ERROR:
                    found = wire.refusal(flags, payload)
                    if found.code:
                        refusals.append(found)

    def generation(self) -> int:
        """Return the number that every change of any table of the namespace increases."""
        for kind, payload in self._ask(wire.Message(wire.GETGEN, wire.NFPROTO_UNSPEC, b""), 0):
            if kind == wire.NEWGEN:
                return wire.as_u32(wire.generic(payload)[1][1])
        raise NftError(errno.EPROTO, "the kernel does not tell the generation of its tables")

    def dump(self, message: wire.Message) -> list[bytes]:
        """Return the payloads of a whole listing; raises NftError, and DumpInterruptedError when it was not consistent."""
        return [payload for _, payload in self._ask(message, wire.NLM_F_DUMP)]

    def _ask(self, message: wire.Message, flags: int) -> list[tuple[int, bytes]]:
        self._drain()
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        self._socket.send(wire.request(message, self._sequence, flags=flags))
        found: list[tuple[int, bytes]] = []
        interrupted = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise DumpInterruptedError from error
                raise
            for kind, message_flags, sequence, payload in wire.messages(data):
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(message_flags & wire.NLM_F_DUMP_INTR)
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    refusal = wire.refusal(message_flags, payload)
                    if interrupted or refusal.code == errno.EINTR:
                        raise DumpInterruptedError
                    if refusal.code:
                        raise NftError(refusal.code, describe(refusal))
                    return found
                found.append((kind, payload))
            if not flags and found:
                return found

    def _reserve(self, size: int) -> None:
        """Make room for a message of `size` bytes: the kernel takes a transaction only whole."""
        if size + 1024 <= self._send_bytes:
            return
        self._send_bytes = max(2 * size, 1 << 20)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, self._send_bytes)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_bytes)

    def _drain(self) -> None:
        """Throw away what an interrupted listing left in the queue."""
        while True:
            try:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def describe(refusal: wire.Refusal) -> str:
    """Return the kernel's answer in words: errno name, and its extended message or what the errno means."""
    name = errno.errorcode.get(refusal.code, str(refusal.code))
    return f"{name} ({refusal.words or os.strerror(refusal.code)})"


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
        opened.setsockopt(_SOL_NETLINK, option, 1)
    opened.bind((0, 0))
    # By the kernel and not by settimeout(), under which Python would wait in spite of MSG_DONTWAIT.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT_S, 0))
    return opened


def _inside(namespace: Path, action: Callable[[], socket.socket]) -> socket.socket:
    """Return what `action` returns in a thread of its own inside `namespace`; the thread ends there and harms no other."""
    result: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(descriptor, _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code), str(namespace))
            finally:
                os.close(descriptor)
            result.append(action())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=work, name="nft-namespace")
    thread.start()
    thread.join()
    (outcome,) = result
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
