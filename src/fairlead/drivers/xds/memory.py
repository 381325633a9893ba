"""Names that the next agent has to know, in a file. A change that is cut off leaves the former ones."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


class Memory:
    """A set of names on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: frozenset[str] | None = None

    def read(self) -> frozenset[str]:
        """Return the names; none where there is no file, or none that can be read."""
        try:
            return frozenset(self._path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def write(self, names: Collection[str]) -> None:
        """Remember these and no others; raises OSError."""
        if self._known != frozenset(names):
            new = self._path.with_suffix(".new")
            new.write_text("\n".join(sorted(names)), encoding="utf-8")
            new.replace(self._path)
            self._known = frozenset(names)

    def forget(self) -> None:
        """Remember nothing."""
        self._known = None
        self._path.unlink(missing_ok=True)
