"""What one table of family inet holds, as the kernel lists it. It must change nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TypeVar

from fairlead.drivers.nft import wire
from fairlead.drivers.nft.socket import DumpInterruptedError, NftError, NftSocket

T = TypeVar("T")

_TRIES = 20
_UNSTEADY = "nf_tables change faster than they can be listed"
_FAMILY = wire.NFPROTO_INET


class Listing:
    """The table `name` behind a socket. Everything may raise NftError, and DumpInterruptedError outside of `exists` and `consistent`."""

    def __init__(self, socket: NftSocket, name: str) -> None:
        self._socket = socket
        self._name = name

    def flags(self) -> int | None:
        """Return the table's flags, None when there is no such table."""
        for payload in self._socket.dump(wire.Message(wire.GETTABLE, wire.NFPROTO_UNSPEC, b"")):
            family, found = wire.generic(payload)
            if family == _FAMILY and wire.as_text(found[1]) == self._name:
                return wire.as_u32(found.get(2, bytes(4)))
        return None

    def exists(self) -> bool:
        """Tell whether there is such a table, however others change theirs meanwhile."""
        for _ in range(_TRIES):
            try:
                return self.flags() is not None
            except DumpInterruptedError:
                continue
        raise NftError(errno.EAGAIN, _UNSTEADY)

    def objects(self, kind: int) -> Iterable[dict[int, bytes]]:
        """Yield the attributes of each set, chain, rule or counter of the table."""
        for payload in self._socket.dump(wire.Message(kind, _FAMILY, wire.text(1, self._name))):
            _, found = wire.generic(payload)
            if wire.as_text(found.get(1, b"")) == self._name:
                yield found

    def members(self, name: str) -> list[bytes]:
        """Return the payloads that list the elements of a set."""
        return self._socket.dump(wire.Message(wire.GETSETELEM, _FAMILY, wire.text(1, self._name) + wire.text(2, name)))

    def elements(self, name: str) -> Iterable[tuple[bytes, bytes, int]]:
        """Yield (key, data, flags) of the elements of a set."""
        for payload in self.members(name):
            yield from wire.elements(payload)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) by counter."""
        found: dict[str, tuple[int, int]] = {}
        for listed in self.objects(wire.GETOBJ):
            values = wire.attributes(listed.get(4, b""))
            found[wire.as_text(listed[2])] = (wire.as_u32(values[2]), wire.as_u32(values[1]))
        return found

    def consistent(self, read: Callable[[], T]) -> tuple[T, int]:
        """Return what `read` returns while nobody changes any table, and the generation of the tables then."""
        for _ in range(_TRIES):
            try:
                before = self._socket.generation()
                found = read()
                if self._socket.generation() == before:
                    return found, before
            except DumpInterruptedError:
                continue
        raise NftError(errno.EAGAIN, _UNSTEADY)
