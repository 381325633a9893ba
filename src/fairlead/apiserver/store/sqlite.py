"""The durable half of the store: an append-only log of object versions in SQLite, written by one thread.

A batch is acknowledged only after its transaction is on the disk (WAL, synchronous=FULL). Writes that arrive while a transaction
is being synced form the next one. This module knows nothing of objects: rows in, rows out.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS floors (resource TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
"""
_MOST_PER_TRANSACTION = 256


class Row(NamedTuple):
    """One version of one object as logged; `type` is ADDED, MODIFIED or DELETED."""

    revision: int
    resource: str
    namespace: str
    name: str
    type: str
    data: bytes


class Batch(NamedTuple):
    """What is written in one transaction, or not at all; `tag` is the submitter's."""

    rows: list[Row]
    tag: object


class Trim(NamedTuple):
    """History that may go: revisions to delete and, per resource, the newest revision that is no longer complete."""

    revisions: list[int]
    floors: dict[str, int]


class Log:
    """The log file at `path`. `load` first, then `start`; `close` waits for what was submitted.

    `done` is called from the writer thread once per transaction, with its batches and what went wrong, if anything did.
    """

    def __init__(self, path: Path, done: Callable[[list[Batch], BaseException | None], None]) -> None:
        self._path = path
        self._done = done
        self._queue: queue.SimpleQueue[Batch | Trim | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def __repr__(self) -> str:
        return f"<Log {self._path}>"

    def load(self) -> Iterator[Row]:
        """Yield every row in the order of revisions."""
        cursor = self._db.execute("SELECT revision, resource, namespace, name, type, data FROM log ORDER BY revision")
        return map(Row._make, cursor)

    def floors(self) -> dict[str, int]:
        """Return the revision up to which each resource's history is incomplete."""
        return dict(self._db.execute("SELECT resource, revision FROM floors"))

    def start(self) -> None:
        """Start the writer thread."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Batch | Trim) -> None:
        """Queue work for the writer; batches become durable in this order."""
        self._queue.put(work)

    def close(self) -> None:
        """Write what was submitted and close the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._db.close()

    def _run(self) -> None:
        while True:
            work = self._drain()
            batches = [item for item in work if isinstance(item, Batch)]
            trims = [item for item in work if isinstance(item, Trim)]
            error: BaseException | None = None
            try:
                self._write(batches, trims)
            except sqlite3.Error as problem:
                error = problem
            if batches:
                self._done(batches, error)
            if None in work:
                return

    def _drain(self) -> list[Batch | Trim | None]:
        work = [self._queue.get()]
        while len(work) < _MOST_PER_TRANSACTION and work[-1] is not None:
            try:
                work.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return work

    def _write(self, batches: list[Batch], trims: list[Trim]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for batch in batches:
                db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", batch.rows)
            for trim in trims:
                db.executemany("DELETE FROM log WHERE revision = ?", [(revision,) for revision in trim.revisions])
                db.executemany("INSERT OR REPLACE INTO floors VALUES (?, ?)", list(trim.floors.items()))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
