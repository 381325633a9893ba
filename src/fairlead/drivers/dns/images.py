"""Answers kept as the bytes they are, for questions that come again exactly as they came before.

Most questions of a pod differ from an earlier one in their id alone. An answer of several records is not kept, because each client
is to get its own order, nor a denial, because a client's search path may lead further. Everything kept is dropped when any record
changes, so nothing here can be stale.
"""

from __future__ import annotations

from typing import TypeAlias

Image: TypeAlias = tuple[bytes, list[int]]
"""An answer without its id, and where its uses are counted: by IPv4 clients and by IPv6 clients."""

_MOST_ENTRIES = 16_384
_ID_BYTES = 2


class Images:
    """Question without its id → image, under one serial of the zones."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Image] = {}
        """For the hot path, after `renew`; written by `keep` alone."""
        self._serial = -1

    def __len__(self) -> int:
        return len(self.kept)

    def renew(self, serial: int) -> None:
        """Drop everything if the zones are not those of `serial` any more."""
        if serial != self._serial:
            self.kept.clear()
            self._serial = serial

    def keep(self, packet: bytes, answer: bytes, tally: list[int]) -> None:
        """Keep `answer` for questions like `packet`, if every client may get it, with its records in the same order."""
        if answer[3] & 0xF or int.from_bytes(answer[6:8], "big") > 1:
            return
        if len(self.kept) >= _MOST_ENTRIES:
            self.kept.clear()
        self.kept[packet[_ID_BYTES:]] = answer[_ID_BYTES:], tally
