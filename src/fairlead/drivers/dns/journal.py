"""Questions that are under way, in memory that outlives the process: the batches being answered and those that others were asked about.

The memory is a file without a name (memfd) that the keeper of the sockets holds too. Its successor answers all of it again: two
answers do no harm, none does. One process at a time writes it, which a lock on the file ensures.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator

from fairlead.drivers.dns import batch

VERSION = 1
"""Of the layout: a journal of another version is not read."""
SLOTS = 2048
_SLOT_HEADER = struct.Struct("=IHH28s")
"""Length of the packet, index of the socket, length of the socket address, socket address."""


class Journal:
    """The memory of `sockets` sockets."""

    def __init__(self, sockets: int, descriptor: int | None = None) -> None:
        """Use the file `descriptor`, or a new one when it is None or still written by another process. Raises OSError."""
        self._sockets = sockets
        # All headers together, so that looking for what was left touches no packet: untouched memory costs nothing.
        self._headers_at = sockets * batch.BYTES
        self._packets_at = self._headers_at + -(-SLOTS * _SLOT_HEADER.size // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self._packets_at + SLOTS * batch.SLOT_BYTES
        if descriptor is not None and (os.fstat(descriptor).st_size != size or not _lock(descriptor)):
            os.close(descriptor)
            descriptor = None
        self.is_new = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("fairlead-dns", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
            _lock(descriptor)
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, size)
        self._free = list(range(SLOTS - 1, -1, -1))

    def left_over(self, families: list[bool]) -> list[tuple[int, bytes, bytes]]:
        """Return (index of the socket, packet, socket address) of what an earlier process left, and forget it. Nothing of a new file.

        `families`: whether each socket is one of IPv6.
        """
        if self.is_new:
            return []
        found = [
            (index, packet, address)
            for index, is_ipv6 in enumerate(families)
            for packet, address in batch.left_over(self.memory, index * batch.BYTES, is_ipv6=is_ipv6)
        ]
        found += self._forwards(families)
        for slot in range(SLOTS):
            start = self._headers_at + slot * _SLOT_HEADER.size
            if self.memory[start : start + 4] != b"\0\0\0\0":
                self.memory[start : start + 4] = b"\0\0\0\0"
        return found

    def remember(self, index: int, packet: bytes, address: bytes) -> int | None:
        """Keep a question that somebody else is asked about; return its slot, None when all are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        packet_at = self._packets_at + slot * batch.SLOT_BYTES
        self.memory[packet_at : packet_at + len(packet)] = packet
        start = self._headers_at + slot * _SLOT_HEADER.size
        self.memory[start : start + _SLOT_HEADER.size] = _SLOT_HEADER.pack(len(packet), index, len(address), address)
        return slot

    def answered(self, slot: int | None) -> None:
        """Forget the question in `slot`."""
        if slot is not None:
            start = self._headers_at + slot * _SLOT_HEADER.size
            self.memory[start : start + 4] = b"\0\0\0\0"
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the memory; what is in it stays for the next one."""
        with contextlib.suppress(BufferError):
            self.memory.close()
        os.close(self.descriptor)

    def _forwards(self, families: list[bool]) -> Iterator[tuple[int, bytes, bytes]]:
        for slot in range(SLOTS):
            start = self._headers_at + slot * _SLOT_HEADER.size
            length, index, address_length, address = _SLOT_HEADER.unpack_from(self.memory, start)
            if (
                0 < length <= batch.SLOT_BYTES
                and index < self._sockets
                and address_length == (28 if families[index] else 16)
            ):
                begin = self._packets_at + slot * batch.SLOT_BYTES
                yield index, self.memory[begin : begin + length], address[:address_length]


def _lock(descriptor: int) -> bool:
    # A lock of the process, not of the open file, which is shared: it ends with its holder, however that ends.
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
