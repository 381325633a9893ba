"""A restarted agent believes the API server first, and its own record only where the server is silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.model.worlds import NODES, service

from fairlead.agent import facts
from fairlead.agent.keepers import remember
from fairlead.engine.gate import KINDS
from fairlead.engine.reconcile import Engine
from fairlead.world.events import KindReplaced
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

STALE = {("default", "old"): service("old", "10.96.0.5", "fd10:96::5")}
FRESH = {("default", "new"): service("new", "10.96.0.6", "fd10:96::6")}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.json"
    facts.save(path, facts.facts_of(Snapshot(settings=Settings(node="n1"), nodes=dict(NODES), services=STALE)))
    assert {event.kind for event in facts.load(path)} == KINDS
    return path


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (frozenset(), "old"),
        (frozenset({"Node"}), "old"),
        (frozenset({"Service"}), "new"),
        (KINDS, "new"),
    ],
    ids=["a silent server", "a server that fell silent", "a server that told of Services", "a server that told all"],
)
async def test_the_record_fills_what_the_server_has_not_said(
    record: Path, listed: frozenset[str], expected: str
) -> None:
    engine = Engine(Settings(node="n1"), [])
    compiled = asyncio.Event()
    engine.on_snapshot(lambda _: compiled.set() if engine.plan else None)
    task = asyncio.create_task(engine.run())
    try:
        for kind in sorted(listed):
            engine.push(KindReplaced(kind, FRESH if kind == "Service" else {}, "9"))
        await remember(record, engine, patience_s=0)
        assert engine.unlisted == frozenset()
        async with asyncio.timeout(5):
            await compiled.wait()
        assert [name for _, name in engine.snapshot.services] == [expected]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_a_record_it_goes_on_waiting(tmp_path: Path) -> None:
    engine = Engine(Settings(node="n1"), [])
    await remember(tmp_path / "absent.json", engine, patience_s=0)
    assert engine.unlisted == KINDS
