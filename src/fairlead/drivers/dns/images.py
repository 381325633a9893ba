"""Answers kept as the bytes they are, for questions that come again exactly as they came before.

Most questions of a pod differ from an earlier one in their id alone. An answer of several records is not kept, because each client
is to get its own order. Everything kept is dropped when any record changes, so nothing here can be stale.
"""

from __future__ import annotations

_MOST_ENTRIES = 8192
_ID_BYTES = 2


class Images:
    """Question without its id → answer without its id, under one serial of the zones."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self._serial = -1

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, packet: bytes, serial: int) -> bytes | None:
        """Return the answer to `packet` if an equal one was answered under the same serial."""
        if serial != self._serial:
            self._kept.clear()
            self._serial = serial
            return None
        kept = self._kept.get(packet[_ID_BYTES:])
        return None if kept is None else packet[:_ID_BYTES] + kept

    def keep(self, packet: bytes, answer: bytes) -> None:
        """Keep `answer` for questions like `packet`, if its records may always come in the same order."""
        if int.from_bytes(answer[6:8], "big") > 1:
            return
        if len(self._kept) >= _MOST_ENTRIES:
            self._kept.clear()
        self._kept[packet[_ID_BYTES:]] = answer[_ID_BYTES:]
