"""The store: what is acknowledged is durable, what is durable is seen once and in order."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Compacted, Entry, Mismatch, Op
from fairlead.apiserver.store.selection import FieldSelectorError, Selection, field_text, parse_fields
from fairlead.base import selectors


def thing(name: str, **data: object) -> dict:
    return {"metadata": {"name": name, "labels": data.pop("labels", None) or {}}, **data}


async def put(store: Store, name: str, namespace: str = "n", **data: object) -> Entry:
    expected = store.latest("things", namespace, name)
    (entry,) = await store.write(Op("things", (namespace, name), thing(name, **data), expected))
    return entry


async def drop(store: Store, name: str, namespace: str = "n") -> Entry:
    (entry,) = await store.write(Op("things", (namespace, name), None, store.latest("things", namespace, name)))
    return entry


@pytest.fixture
async def store(tmp_path: Path):
    opened = Store(tmp_path / "state.db")
    opened.open()
    yield opened
    await opened.close()


async def test_a_write_is_visible_when_it_is_durable(store: Store, tmp_path: Path):
    (entry,), durable = store.submit(Op("things", ("n", "a"), thing("a"), None))
    assert store.latest("things", "n", "a") is entry
    assert store.get("things", "n", "a") is None, "nobody may see what a crash could take back"
    await durable
    assert store.get("things", "n", "a") is entry
    with sqlite3.connect(tmp_path / "state.db") as other:
        assert other.execute("select name, revision from log").fetchall() == [("a", entry.revision)]
    other.close()


async def test_all_or_nothing(store: Store):
    await put(store, "a")
    with pytest.raises(Mismatch):
        store.submit(Op("things", ("n", "b"), thing("b"), None), Op("things", ("n", "a"), thing("a"), None))
    assert store.latest("things", "n", "b") is None


async def test_writes_build_on_accepted_state(store: Store):
    (first,), one = store.submit(Op("things", ("n", "a"), thing("a", v=1), None))
    (second,), two = store.submit(Op("things", ("n", "a"), thing("a", v=2), first))
    await asyncio.gather(one, two)
    assert store.get("things", "n", "a") is second


async def test_the_outcome_is_told_even_when_nobody_waits(store: Store):
    told: list[bool] = []
    _, durable = store.submit(Op("things", ("n", "a"), thing("a"), None), settled=told.append)
    durable.cancel()
    await put(store, "b")
    assert told == [True]
    assert store.get("things", "n", "a") is not None


async def test_restart_keeps_objects_revisions_and_history(tmp_path: Path):
    store = Store(tmp_path / "state.db")
    store.open()
    first = await put(store, "a", v=1)
    await put(store, "b", v=1)
    await put(store, "a", v=2)
    gone = await drop(store, "b")
    await store.close()
    again = Store(tmp_path / "state.db")
    again.open()
    assert again.revision == gone.revision
    assert [entry.key[1] for entry in again.entries("things")] == ["a"]
    assert again.get("things", "n", "a").obj["v"] == 2
    watcher = again.watch("things", Selection(), since=first.revision)
    assert [(type, change.entry.key[1]) for type, change in await watcher.wait(0)] == [
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]
    assert (await put(again, "c")).revision == gone.revision + 1
    await again.close()


async def test_history_is_bounded_and_its_loss_survives_restart(tmp_path: Path):
    store = Store(tmp_path / "state.db", history_changes=10)
    store.open()
    first = await put(store, "kept")
    for number in range(1200):
        await put(store, "busy", v=number)
    await drop(store, "busy")
    with pytest.raises(Compacted):
        store.watch("things", Selection(), since=first.revision)
    with pytest.raises(Compacted):
        store.entries_at("things", None, first.revision)
    await store.close()
    with sqlite3.connect(tmp_path / "state.db") as other:
        (rows,) = other.execute("select count(*) from log").fetchone()
    other.close()
    assert rows < 700, "superseded versions leave the file too"
    again = Store(tmp_path / "state.db", history_changes=10)
    again.open()
    assert [entry.key[1] for entry in again.entries("things")] == ["kept"]
    with pytest.raises(Compacted):
        again.watch("things", Selection(), since=first.revision)
    await again.close()


async def test_the_past_can_be_listed(store: Store):
    await put(store, "a", v=1)
    then = await put(store, "b", v=1)
    await put(store, "a", v=2)
    await put(store, "c", v=1)
    await drop(store, "b")
    assert [(entry.key[1], entry.obj["v"]) for entry in store.entries_at("things", "n", then.revision)] == [
        ("a", 1),
        ("b", 1),
    ]


async def test_deletion_carries_its_own_revision(store: Store):
    await put(store, "a")
    gone = await drop(store, "a")
    assert gone.obj["metadata"]["resourceVersion"] == str(gone.revision) == str(store.revision)


async def test_selection_tells_entering_and_leaving(store: Store):
    watcher = store.watch("things", Selection("n", selectors.parse("app=web")))
    await put(store, "a", labels={"app": "db"})
    await put(store, "a", labels={"app": "web"})
    await put(store, "a", labels={"app": "web", "x": "y"})
    left = await put(store, "a", labels={"app": "db"})
    await put(store, "a", "elsewhere", labels={"app": "web"})
    changes = await watcher.wait(0)
    assert [type for type, _ in changes] == ["ADDED", "MODIFIED", "DELETED"]
    line = changes[-1][1].line("DELETED", "plain", None).decode()
    assert '"x":"y"' in line, "the last state that the watcher knew"
    assert f'"resourceVersion":"{left.revision}"' in line


async def test_a_slow_watcher_is_cut_off(store: Store):
    cut: list[bool] = []
    watcher = store.watch("things", Selection(), limit=3)
    watcher.on_overflow = lambda: cut.append(True)
    for number in range(5):
        await put(store, f"a{number}")
    assert cut == [True]
    assert await watcher.wait(0) == []
    assert watcher.stopped


async def test_a_refused_write_is_not_accepted_state(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(store._log, "_write", refuse)
    with pytest.raises(Exception, match="disk is full"):
        await put(store, "a")
    assert store.latest("things", "n", "a") is None
    monkeypatch.undo()
    await put(store, "a")


@pytest.mark.parametrize(
    ("text", "table", "found"),
    [
        ("spec.nodeName=a", "pods", True),
        ("spec.nodeName!=a", "pods", False),
        ("spec.unschedulable=false", "nodes", True),
        ("spec.unschedulable=False", "nodes", True),
        ("status.phase==Running,metadata.name!=x", "pods", True),
        ("involvedObject.name=web\\,1", "events", True),
        ("status.successful=0", "batch/jobs", True),
    ],
)
def test_field_selectors(text: str, table: str, found: bool):
    obj = {
        "metadata": {"name": "n"},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running"},
        "involvedObject": {"name": "web,1"},
    }
    assert all(one.matches(obj) for one in parse_fields(text, table)) is found


def test_field_selector_errors_and_absent_values():
    with pytest.raises(FieldSelectorError, match=r"field label not supported: spec\.color"):
        parse_fields("spec.color=red", "pods")
    with pytest.raises(FieldSelectorError):
        parse_fields("nonsense", "pods")
    assert field_text({}, "spec.hostNetwork") == "false"
    assert field_text({}, "status.podIP") == ""
