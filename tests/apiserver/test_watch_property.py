"""Every client that resumes sees every change of its selection once, in order: through restarts, compaction and lost connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.apiserver.store import engine
from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Compacted, Op
from fairlead.apiserver.store.selection import Selection
from fairlead.apiserver.store.watch import Watcher
from fairlead.base import selectors

TABLE = "things"
SELECTIONS = {
    "all": Selection(),
    "namespace": Selection(namespace="n"),
    "label": Selection(labels=selectors.parse("color=red")),
    "both": Selection(namespace="n", labels=selectors.parse("color!=red")),
}
_HISTORY = 6

NAMES = st.sampled_from(["n/a", "n/b", "m/a"])
STEPS = st.lists(
    st.tuples(st.just("put"), NAMES, st.sampled_from(["red", "blue"]))
    | st.tuples(st.just("drop"), NAMES, st.just(""))
    | st.tuples(st.sampled_from(["read", "disconnect"]), st.sampled_from(sorted(SELECTIONS)), st.just(""))
    | st.tuples(st.just("restart"), st.just(""), st.just("")),
    max_size=40,
)


@dataclass
class Client:
    """A reflector: lists, watches, resumes from what it saw last, and lists again when that is too old."""

    selection: Selection
    mirror: dict[tuple[str, str], int] = field(default_factory=dict)
    last: int = 0
    told: list[int] = field(default_factory=list)
    lists: int = 0
    watcher: Watcher | None = None

    def connect(self, store: Store) -> None:
        if self.watcher is not None:
            self.watcher.close()
        try:
            if not self.lists:
                raise Compacted(0, 0)
            self.watcher = store.watch(TABLE, self.selection, since=self.last)
        except Compacted:
            self.lists += 1
            found = [entry for entry in store.entries(TABLE) if self.selection.matches(entry)]
            self.mirror = {entry.key: entry.revision for entry in found}
            self.last = store.revision
            self.watcher = store.watch(TABLE, self.selection, since=self.last)

    async def read(self) -> None:
        assert self.watcher is not None
        for kind, change in await self.watcher.wait(0):
            assert change.revision > self.last, "told twice, or out of order"
            self.last = change.revision
            self.told.append(change.revision)
            key = change.entry.key
            if kind == "DELETED":
                assert key in self.mirror, "the end of something never seen"
                del self.mirror[key]
            else:
                assert (kind == "ADDED") == (key not in self.mirror)
                self.mirror[key] = change.revision


class History:
    """A store through its restarts, its clients, and what each of them should have been told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.clients = {name: Client(selection) for name, selection in SELECTIONS.items()}
        self.expected: dict[str, list[int]] = {name: [] for name in SELECTIONS}
        self.store = self._open()

    def _open(self) -> Store:
        store = Store(self._path, history_changes=_HISTORY)
        store.open()
        for client in self.clients.values():
            client.connect(store)
        return store

    async def step(self, action: str, name: str, color: str) -> None:
        match action:
            case "put" | "drop":
                await self._write(name, color if action == "put" else None)
            case "read":
                await self.clients[name].read()
            case "disconnect":
                # What was queued and not read is lost with the connection.
                self.clients[name].connect(self.store)
            case "restart":
                await self.store.close()
                self.store = self._open()

    async def _write(self, name: str, color: str | None) -> None:
        namespace, _, short = name.partition("/")
        before = self.store.latest(TABLE, namespace, short)
        if color is None and before is None:
            return
        obj: Any = None if color is None else {"metadata": {"name": short, "labels": {"color": color}}}
        (entry,) = await self.store.write(Op(TABLE, (namespace, short), obj, before))
        for title, selection in SELECTIONS.items():
            if (before is not None and selection.matches(before)) or (obj is not None and selection.matches(entry)):
                self.expected[title].append(entry.revision)

    async def finish(self) -> None:
        for name, client in self.clients.items():
            await client.read()
            entries = [entry for entry in self.store.entries(TABLE) if client.selection.matches(entry)]
            assert client.mirror == {entry.key: entry.revision for entry in entries}, name
            if client.lists == 1:
                assert client.told == self.expected[name], "nothing was missed where history sufficed"
            assert set(client.told) <= set(self.expected[name])
        await self.store.close()


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_resumes_sees_every_change_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, str, str]]
) -> None:
    # History is trimmed after few changes, so that clients which stay away for long come back too late.
    monkeypatch.setattr(engine, "_TRIM_STEP", 1)

    async def run() -> None:
        history = History(tmp_path_factory.mktemp("store") / "state.db")
        for step in steps:
            await history.step(*step)
        await history.finish()

    asyncio.run(run())
