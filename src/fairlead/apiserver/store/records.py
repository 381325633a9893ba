"""The values of the store: one version of one object, and one change.

Objects inside are shared by every reader and must never be changed in place; who wants to change one takes `Entry.copy()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace ("" for cluster scope) and name. Sorts as lists are ordered."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class Entry:
    """One version of one object: its bytes as sent to clients, decoded when asked for."""

    __slots__ = ("_obj", "cache", "data", "key", "revision")

    def __init__(self, key: Key, revision: int, data: bytes, obj: Json | None = None) -> None:
        self.key = key
        self.revision = revision
        self.data = data
        self._obj = obj
        self.cache: dict[str, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Entry {'/'.join(self.key)} @{self.revision}>"

    @property
    def obj(self) -> Json:
        """The object; read-only."""
        found = self._obj
        if found is None:
            found = self._obj = decode(self.data)
        return found

    def copy(self) -> Json:
        """Return a copy of the object that the caller may change."""
        return decode(self.data)  # type: ignore[no-any-return]

    def forget_object(self) -> None:
        """Drop the decoded form; superseded versions are kept as bytes only."""
        self._obj = None
        self.cache = None

    def encoded(self, form: str, encoder: Callable[[Json], bytes]) -> bytes:
        """Return the object in another `form`, encoded at most once per form."""
        if self.cache is None:
            self.cache = {}
        found = self.cache.get(form)
        if found is None:
            found = self.cache[form] = encoder(self.obj)
        return found


class Change:
    """One committed change. A deleted object's `entry` is its last state under the revision of the deletion."""

    __slots__ = ("_lines", "entry", "previous", "revision", "type")

    def __init__(self, type: EventType, entry: Entry, previous: Entry | None) -> None:
        self.type = type
        self.entry = entry
        self.previous = previous
        self.revision = entry.revision
        self._lines: dict[tuple[EventType, str], bytes] = {}

    def __repr__(self) -> str:
        return f"<Change {self.type} {self.entry!r}>"

    def line(self, type: EventType, form: str, encoder: Callable[[Json], bytes] | None) -> bytes:
        """Return the line of a watch stream, encoded once for all watchers of one `form`."""
        found = self._lines.get((type, form))
        if found is None:
            found = self._lines[type, form] = watch_line(type, self._body(type, encoder))
        return found

    def forget_lines(self) -> None:
        """Drop the encoded lines; late watchers encode again."""
        self._lines.clear()

    def _body(self, type: EventType, encoder: Callable[[Json], bytes] | None) -> bytes:
        if type == "DELETED" and self.type != "DELETED" and self.previous is not None:
            # The object left the watcher's selection: it is told the last state that it knew, under this revision.
            obj = self.previous.copy()
            obj["metadata"]["resourceVersion"] = str(self.revision)
            return encoder(obj) if encoder else encode(obj)
        return encoder(self.entry.obj) if encoder else self.entry.data


def watch_line(type: str, body: bytes) -> bytes:
    """Return one line of a watch stream."""
    return b'{"type":"%s","object":%s}\n' % (type.encode(), body)


class Op(msgspec.Struct, frozen=True, eq=False):
    """One write. `obj` None deletes. `expected` must be the latest version (None: the object must not exist)."""

    table: str
    key: Key
    obj: Json | None
    expected: Entry | None


class Mismatch(Exception):
    """The latest version of an object is not the expected one; nothing was written."""


class Compacted(Exception):
    """The revision asked for is older than the history that is kept."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {revision} ({oldest})")
        self.revision = revision
        self.oldest = oldest


class Unavailable(Exception):
    """The disk refused a write."""
