"""Datagrams by the dozen: recvmmsg(2) and sendmmsg(2) on one socket, with their buffers in memory that outlives the process.

What was received and is not answered yet stays in `memory` until `done`: a successor that inherits the memory answers it, so that
a killed process loses no question. No library offers these calls; a call of ours costs one microsecond for up to 64 datagrams.
Source: recvmmsg(2), sendmmsg(2), socket(7).
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
from collections.abc import Iterator

SLOTS = 64
SLOT_BYTES = 2048
"""Of a question; longer ones are cut, which makes them malformed."""
_ADDRESS_BYTES = 32
_MSG_DONTWAIT = 0x40


class Buffer(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p),
        ("buffers_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", Header), ("length", ctypes.c_uint32))


_HEADERS_BYTES = SLOTS * ctypes.sizeof(Message)
_NAMES_AT = _HEADERS_BYTES
_DATA_AT = _NAMES_AT + SLOTS * _ADDRESS_BYTES
BYTES = -(-(_DATA_AT + SLOTS * SLOT_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
"""Size of the memory of one batch."""

_libc = ctypes.CDLL(None)
recvmmsg = _libc.recvmmsg
recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
sendmmsg = _libc.sendmmsg
sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class Batch:
    """Receives into and answers from fixed slots. Use: `receive`, `packet` and `answer` for each slot, `done`."""

    def __init__(self, sock: socket.socket, memory: mmap.mmap, offset: int) -> None:
        """Use `BYTES` of `memory` from `offset` on. What an earlier process left there is lost: ask `left_over` first."""
        self.sock = sock
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.memory = memory
        self._offset = offset
        self._descriptor = sock.fileno()
        self._name_bytes = 28 if self.is_ipv6 else 16
        self.data_at = offset + _DATA_AT
        """Where the packet of slot 0 begins; each slot is `SLOT_BYTES` further."""
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))
        self._buffers = (Buffer * SLOTS)()
        self._replies = ctypes.create_string_buffer(SLOTS * SLOT_BYTES)
        self._reply_buffers = (Buffer * SLOTS)()
        self._out = (Message * SLOTS)()
        incoming = (Message * SLOTS)()
        replies = ctypes.addressof(self._replies)
        for slot in range(SLOTS):
            self._buffers[slot] = Buffer(base + _DATA_AT + slot * SLOT_BYTES, SLOT_BYTES)
            self._reply_buffers[slot] = Buffer(replies + slot * SLOT_BYTES, 0)
            name = base + _NAMES_AT + slot * _ADDRESS_BYTES
            for messages, buffers in ((incoming, self._buffers), (self._out, self._reply_buffers)):
                buffer = ctypes.addressof(buffers) + slot * ctypes.sizeof(Buffer)
                messages[slot] = Message(Header(name, self._name_bytes, buffer, 1, None, 0, 0), 0)
        self._empty = bytes(incoming)
        self._in_address = base
        self._out_address = ctypes.addressof(self._out)
        self.replies = memoryview(self._replies).cast("B")
        """Where answers are written: slot by slot, `SLOT_BYTES` each."""
        # Plain integers are read and written in a tenth of the time of a field of a structure.
        words = memoryview(memory)[offset : offset + _HEADERS_BYTES].cast("I")
        first, step = Message.length.offset // 4, ctypes.sizeof(Message) // 4
        self.lengths = words[first::step]
        """Bytes of the packet in each slot; 0: none."""
        self.reply_lengths = memoryview(self._reply_buffers).cast("B").cast("L")[1::2]
        """Bytes of the answer in each slot, to be set before `send`."""
        self.done()

    def close(self) -> None:
        """Give the views of the memory back."""
        self.lengths.release()

    def receive(self) -> int:
        """Fill slots from 0 on and return how many; 0 when nothing is there."""
        count: int = recvmmsg(self._descriptor, self._in_address, SLOTS, _MSG_DONTWAIT, None)
        # Whatever the error is, there is nothing to answer; the loop calls again when there is.
        return max(count, 0)

    def packet(self, slot: int) -> bytes:
        """Return what was received in `slot`."""
        start = self.data_at + slot * SLOT_BYTES
        return self.memory[start : start + self.lengths[slot]]

    def address(self, slot: int) -> bytes:
        """Return the sender's socket address as the kernel wrote it."""
        start = self._offset + _NAMES_AT + slot * _ADDRESS_BYTES
        return self.memory[start : start + self._name_bytes]

    def answer(self, slot: int, reply: bytes) -> None:
        """Write the answer to the packet in `slot`."""
        start = slot * SLOT_BYTES
        self.replies[start : start + len(reply)] = reply
        self.reply_lengths[slot] = len(reply)

    def send(self, begin: int, end: int) -> None:
        """Send the answers in slots `begin` to `end`, `end` excluded; one that cannot be sent stops no other."""
        size = ctypes.sizeof(Message)
        while begin < end:
            sent = sendmmsg(self._descriptor, self._out_address + begin * size, end - begin, _MSG_DONTWAIT)
            # A client that is gone, or a full buffer, costs this one answer, which UDP clients ask for again.
            begin += sent if sent > 0 else 1

    def done(self) -> None:
        """Forget what was received: it is answered, or remembered elsewhere."""
        self.memory[self._offset : self._offset + _HEADERS_BYTES] = self._empty


def left_over(memory: mmap.mmap, offset: int, *, is_ipv6: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield (packet, socket address) of what an earlier process received at `offset` and did not answer for certain."""
    size = ctypes.sizeof(Message)
    for slot in range(SLOTS):
        (length,) = struct.unpack_from("=I", memory, offset + slot * size + Message.length.offset)
        if 0 < length <= SLOT_BYTES:
            start = offset + _DATA_AT + slot * SLOT_BYTES
            name = offset + _NAMES_AT + slot * _ADDRESS_BYTES
            yield memory[start : start + length], memory[name : name + (28 if is_ipv6 else 16)]


def parse_address(raw: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return a kernel's socket address as Python's socket functions take it."""
    if len(raw) == 28:
        (port,) = struct.unpack_from(">H", raw, 2)
        (scope,) = struct.unpack_from("=I", raw, 24)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, 0, scope
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")


def packed_host(raw: bytes) -> bytes:
    """Return the bytes of the IP address of a kernel's socket address."""
    return raw[8:24] if len(raw) == 28 else raw[4:8]
