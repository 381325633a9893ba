"""All objects in memory, every acknowledged change on disk, every change told to its watchers in order.

A write is accepted at once against the latest accepted state, becomes durable with its group, and only then is visible to reads
and watches: nobody ever sees what a crash could take back. Everything here runs on the event loop's thread except the log's writer.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from fairlead.apiserver.store.records import (
    Change,
    Compacted,
    Entry,
    Json,
    Key,
    Mismatch,
    Op,
    Unavailable,
    encode,
)
from fairlead.apiserver.store.selection import Selection
from fairlead.apiserver.store.sqlite import Batch, Log, Row, Trim
from fairlead.apiserver.store.watch import Watcher

log = logging.getLogger(__name__)

HISTORY_CHANGES = 10_000
HISTORY_BYTES = 32 << 20
"""Bounds of the history kept per resource; beyond either a resuming watcher gets `Compacted`."""
_TRIM_STEP = 500


class Table:
    """The objects of one stored resource and their recent history."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[Key, Entry] = {}
        self.order: list[Key] = []
        self.accepted: dict[Key, Entry | None] = {}
        self.history: deque[Change] = deque()
        self.history_bytes = 0
        self.floor = 0
        self.watchers: set[Watcher] = set()
        self.followers: list[Callable[[Change], None]] = []

    def __repr__(self) -> str:
        return f"<Table {self.name} objects={len(self.entries)} watchers={len(self.watchers)}>"

    def latest(self, key: Key) -> Entry | None:
        """Return the latest accepted version, which may not be durable yet."""
        return self.accepted[key] if key in self.accepted else self.entries.get(key)

    def keys(self, namespace: str | None) -> Sequence[Key]:
        """Return the keys in list order, of one namespace or of all."""
        if namespace is None:
            return self.order
        start = bisect.bisect_left(self.order, (namespace, ""))
        return self.order[start : bisect.bisect_left(self.order, (namespace + "\0", ""))]

    def apply(self, change: Change) -> None:
        """Make a durable change visible."""
        key = change.entry.key
        if change.type == "DELETED":
            if self.entries.pop(key, None) is not None:
                del self.order[bisect.bisect_left(self.order, key)]
        else:
            if key not in self.entries:
                bisect.insort(self.order, key)
            self.entries[key] = change.entry
        self.history.append(change)
        self.history_bytes += len(change.entry.data)


class _Pending(NamedTuple):
    """What is settled when a batch is on the disk: its changes and those who wait."""

    changes: list[tuple[Table, Change]]
    durable: asyncio.Future[None]
    settled: Callable[[bool], None] | None


class Store:
    """The objects of one API server, kept in the SQLite file at `path`."""

    def __init__(
        self, path: Path, *, history_changes: int = HISTORY_CHANGES, history_bytes: int = HISTORY_BYTES
    ) -> None:
        self._log = Log(path, self._written)
        self._history_changes = history_changes
        self._history_bytes = history_bytes
        self._tables: dict[str, Table] = {}
        self._assigned = 1
        self.revision = 1
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Store revision={self.revision} tables={len(self._tables)}>"

    # Life.

    def open(self) -> None:
        """Load what is on disk and start the writer. Must be called with a running event loop. Cost: linear in the file."""
        self._loop = asyncio.get_running_loop()
        for resource, floor in self._log.floors().items():
            self.table(resource).floor = floor
        for row in self._log.load():
            self._replay(row)
        for table in self._tables.values():
            table.order = sorted(table.entries)
        self._log.start()

    async def close(self) -> None:
        """End every watch, finish what was submitted and close the file."""
        for table in self._tables.values():
            for watcher in list(table.watchers):
                watcher.stop()
        await asyncio.to_thread(self._log.close)

    def _replay(self, row: Row) -> None:
        table = self.table(row.resource)
        entry = Entry((row.namespace, row.name), row.revision, row.data)
        previous = table.entries.get(entry.key)
        if row.type == "DELETED":
            table.entries.pop(entry.key, None)
        else:
            table.entries[entry.key] = entry
        if row.revision > table.floor:
            table.history.append(Change(row.type, entry, previous))  # type: ignore[arg-type]
            table.history_bytes += len(entry.data)
        self._assigned = self.revision = row.revision

    # Reading.

    def table(self, name: str) -> Table:
        """Return the table of a stored resource; it exists from the first question."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = Table(name)
        return found

    def tables(self) -> Iterable[Table]:
        """Return every table that was ever asked for."""
        return self._tables.values()

    def get(self, table: str, namespace: str, name: str) -> Entry | None:
        """Return the visible version of one object."""
        return self.table(table).entries.get((namespace, name))

    def latest(self, table: str, namespace: str, name: str) -> Entry | None:
        """Return the version that a write must build on."""
        return self.table(table).latest((namespace, name))

    def entries(self, table: str, namespace: str | None = None) -> list[Entry]:
        """Return the visible objects in list order."""
        found = self.table(table)
        entries = found.entries
        return [entries[key] for key in found.keys(namespace)]

    def latest_entries(self, table: str, namespace: str | None = None) -> list[Entry]:
        """Return the latest accepted objects of one namespace or of all, in no order."""
        found = self.table(table)
        merged: dict[Key, Entry | None] = {key: found.entries[key] for key in found.keys(namespace)}
        merged |= {key: entry for key, entry in found.accepted.items() if namespace in (None, key[0])}
        return [entry for entry in merged.values() if entry is not None]

    def entries_at(self, table: str, namespace: str | None, revision: int) -> list[Entry]:
        """Return the objects as they were at `revision`; raises Compacted. Cost: linear in the changes since."""
        found = self.table(table)
        if revision < found.floor:
            raise Compacted(revision, found.floor)
        if not found.history or found.history[-1].revision <= revision:
            return self.entries(table, namespace)
        then = dict(found.entries)
        for change in reversed(found.history):
            if change.revision <= revision:
                break
            if change.previous is None:
                then.pop(change.entry.key, None)
            else:
                then[change.entry.key] = change.previous
        return [then[key] for key in sorted(then) if namespace is None or key[0] == namespace]

    # Writing.

    async def write(self, *ops: Op, settled: Callable[[bool], None] | None = None) -> list[Entry]:
        """Do all of `ops` or none and return when they are durable; raises Mismatch or Unavailable.

        A cancelled caller takes nothing back; `settled` is called with the outcome all the same. Returned is the new version for each op (for a deletion the last state under
        the revision of the deletion).
        """
        entries, durable = self.submit(*ops, settled=settled)
        await durable
        return entries

    def submit(
        self, *ops: Op, settled: Callable[[bool], None] | None = None
    ) -> tuple[list[Entry], asyncio.Future[None]]:
        """Accept `ops` and return their new versions and a future that ends when they are durable; raises Mismatch.

        `settled` is called once with whether they became so, also when nobody waits for the future any more.
        """
        assert self._loop is not None, "open() the store first"
        for op in ops:
            if self.table(op.table).latest(op.key) is not op.expected:
                raise Mismatch
        rows: list[Row] = []
        changes: list[tuple[Table, Change]] = []
        for op in ops:
            self._assigned += 1
            table = self.table(op.table)
            change = self._change(op, self._assigned)
            entry = change.entry
            changes.append((table, change))
            rows.append(Row(entry.revision, op.table, *op.key, change.type, entry.data))
            table.accepted[op.key] = None if op.obj is None else entry
        durable = self._loop.create_future()
        self._log.submit(Batch(rows, _Pending(changes, durable, settled)))
        return [change.entry for _, change in changes], durable

    def _change(self, op: Op, revision: int) -> Change:
        obj = op.obj
        if obj is None:
            assert op.expected is not None, "only what exists can be deleted"
            last = op.expected.copy()
            last["metadata"]["resourceVersion"] = str(revision)
            return Change("DELETED", Entry(op.key, revision, encode(last), last), op.expected)
        obj["metadata"]["resourceVersion"] = str(revision)
        data = encode(obj)
        # Decoded when asked for: callers may go on changing the object that they gave.
        entry = Entry(op.key, revision, data)
        return Change("ADDED" if op.expected is None else "MODIFIED", entry, op.expected)

    def _written(self, batches: list[Batch], error: BaseException | None) -> None:
        """Called by the writer thread; one wake-up of the loop per transaction lets watchers send its changes together."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, batches, error)

    def _settle(self, batches: list[Batch], error: BaseException | None) -> None:
        for batch in batches:
            pending = cast(_Pending, batch.tag)
            if error is None:
                self._committed(pending.changes)
            else:
                self._refused(pending.changes, error)
            if pending.settled is not None:
                pending.settled(error is None)
            if not pending.durable.done():
                if error is None:
                    pending.durable.set_result(None)
                else:
                    pending.durable.set_exception(Unavailable(str(error)))

    def _committed(self, changes: list[tuple[Table, Change]]) -> None:
        for table, change in changes:
            key = change.entry.key
            latest = table.accepted.get(key, change)
            if latest is change.entry or (latest is None and change.type == "DELETED"):
                del table.accepted[key]
            table.apply(change)
            self.revision = max(self.revision, change.revision)
            for follower in table.followers:
                follower(change)
            for watcher in tuple(table.watchers):
                watcher.offer(change)
            if change.previous is not None:
                change.previous.forget_object()
            if len(table.history) > self._history_changes + _TRIM_STEP or table.history_bytes > self._history_bytes:
                self._trim(table)

    def _refused(self, changes: list[tuple[Table, Change]], error: BaseException) -> None:
        # Later writes may have built on this one. Versions that are not durable are dropped; what builds on them and is
        # still queued commits after all, which `apply` takes as it comes.
        log.error("store refused a write", extra={"error": repr(error), "objects": len(changes)})
        for table, change in changes:
            if table.accepted.get(change.entry.key, change) in (change.entry, None):
                table.accepted.pop(change.entry.key, None)

    def _trim(self, table: Table) -> None:
        keep_bytes = self._history_bytes * 3 // 4
        revisions: list[int] = []
        while len(table.history) > 1 and (
            len(table.history) > self._history_changes or table.history_bytes > keep_bytes
        ):
            change = table.history.popleft()
            table.history_bytes -= len(change.entry.data)
            table.floor = change.revision
            if change.previous is not None:
                revisions.append(change.previous.revision)
            if change.type == "DELETED":
                revisions.append(change.revision)
        self._log.submit(Trim(revisions, {table.name: table.floor}))

    # Watching.

    def follow(self, table: str, follower: Callable[[Change], None]) -> None:
        """Call `follower` for each change of the table from now on, before any watcher is told; it must not fail or wait."""
        self.table(table).followers.append(follower)

    def watch(self, table: str, selection: Selection, *, since: int | None = None, limit: int = 20_000) -> Watcher:
        """Return a watcher of the changes after revision `since` (None: from now on); raises Compacted.

        The watcher must be closed. It holds at most `limit` changes that its reader has not taken.
        """
        found = self.table(table)
        watcher = Watcher(found.watchers, selection, limit=limit)
        if since is not None and since < self.revision:
            if since < found.floor:
                raise Compacted(since, found.floor)
            missed: list[Change] = []
            for change in reversed(found.history):
                if change.revision <= since:
                    break
                missed.append(change)
            for change in reversed(missed):
                watcher.offer(change)
        found.watchers.add(watcher)
        return watcher


def new_object(obj: Json, table: str, namespace: str, name: str) -> Op:
    """Return the write that creates `obj`."""
    return Op(table, (namespace, name), obj, None)
