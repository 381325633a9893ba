"""A node's report: what it says, how much of it, what of it is sent, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.controllers.world import merge

from fairlead.agent import policy_report
from fairlead.agent.policy_report import PolicyReporter, changes, entries_of
from fairlead.api.resources import NODES, Resource
from fairlead.engine.worker import DriverHealth
from fairlead.model.policy.facts import PolicyFact
from fairlead.plan.plan import Plan
from fairlead.sources.errors import NotFound
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Json = dict[str, Any]


def test_entries_say_what_differs_from_the_ordinary_and_are_bounded() -> None:
    facts = {
        "NetworkPolicy/n/a": PolicyFact(generation=3, selects=True),
        "NetworkPolicy/n/b": PolicyFact(generation=1, problems=("x" * 2000,) * 40, unresolved=("port web",)),
    }
    entries = entries_of(facts)
    assert entries["NetworkPolicy/n/a"] == {"generation": 3, "selects": True}
    assert [len(each) for each in entries["NetworkPolicy/n/b"]["problems"]] == [512] * 16
    assert entries["NetworkPolicy/n/b"]["unresolved"] == ["port web"]


def test_names_that_do_not_exist_are_said_where_a_rule_has_them() -> None:
    facts = {
        "ClusterNetworkPolicy//c": PolicyFact(names=(("spec.egress[0]", "a.example"), ("spec.egress[1]", "b.example")))
    }
    entries = entries_of(facts, frozenset({"b.example", "c.example"}))
    assert entries["ClusterNetworkPolicy//c"]["absent"] == ["spec.egress[1]: there is no name b.example"]
    assert "absent" not in entries_of(facts)["ClusterNetworkPolicy//c"]


def test_only_differences_are_sent() -> None:
    old = {"a": {"generation": 1, "selects": True}, "b": {"generation": 1}, "c": {"generation": 1}}
    new = {"a": {"generation": 2}, "b": {"generation": 1}, "d": {"generation": 1}}
    assert changes(old, new) == {"a": {"generation": 2, "selects": None}, "c": None, "d": {"generation": 1}}
    assert changes(new, new) == {}


def test_a_report_of_a_thousand_policies_is_small() -> None:
    facts = {f"NetworkPolicy/namespace-{n}/policy-{n}": PolicyFact(generation=1, selects=True) for n in range(1000)}
    assert len(str(entries_of(facts))) < 100_000


class Server:
    """Holds one report, as the API server would."""

    def __init__(self, report: Json | None = None) -> None:
        self.report = report
        self.writes: list[str] = []

    async def get(self, resource: Resource, name: str) -> Json:
        if resource == NODES:
            return {"metadata": {"name": name, "uid": "u1"}}
        if self.report is None:
            raise NotFound({"code": 404})
        return self.report

    async def create(self, resource: Resource, obj: Json) -> Json:
        self.writes.append("create")
        self.report = obj
        return obj

    async def patch(self, resource: Resource, name: str, patch: Json) -> Json:
        self.writes.append("patch")
        if self.report is None:
            raise NotFound({"code": 404})
        self.report = merge(self.report, patch)
        return self.report


class Engine:
    """An engine whose plan and driver are where a test puts them."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.serial = 0
        self.facts: dict[str, PolicyFact] = {}
        self.snapshot = Snapshot(settings=Settings(node="a"), revision="7")

    def decide(self, serial: int, **facts: PolicyFact) -> None:
        self.plan, self.facts = Plan(node="a", revision="7", tables={}, serial=serial), facts

    def policy_facts(self) -> dict[str, PolicyFact]:
        return self.facts

    def driver_health(self) -> tuple[DriverHealth, ...]:
        return (DriverHealth(driver="policy", healthy=True, serial=self.serial),)


@contextlib.asynccontextmanager
async def reporting(server: Server, engine: Engine) -> AsyncIterator[None]:
    task = asyncio.create_task(PolicyReporter(server, engine, "a").run())  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_report, "_PERIOD_S", 0.01)
    monkeypatch.setattr(policy_report, "_RETRY_S", 0.01)


async def test_only_what_the_kernel_enforces_is_reported() -> None:
    server, engine = Server(), Engine()
    engine.decide(5, p=PolicyFact(generation=1))
    async with reporting(server, engine):
        await asyncio.sleep(0.05)
        assert server.report is None
        engine.serial = 5
        await until(lambda: server.report is not None)
        assert server.report is not None
        assert server.report["policies"] == {"p": {"generation": 1}}
        assert server.report["metadata"]["ownerReferences"][0]["uid"] == "u1"
        engine.decide(6, p=PolicyFact(generation=2))
        await asyncio.sleep(0.05)
        assert server.report["policies"] == {"p": {"generation": 1}}
        engine.serial = 7
        await until(lambda: server.report is not None and server.report["policies"] == {"p": {"generation": 2}})
        engine.decide(8, p=PolicyFact(generation=2))
        engine.serial = 8
        await asyncio.sleep(0.05)
    assert server.writes == ["create", "patch"]


async def test_another_run_goes_on_with_what_is_there() -> None:
    server, engine = Server({"policies": {"p": {"generation": 1}, "gone": {"generation": 4}}}), Engine()
    engine.decide(1, p=PolicyFact(generation=1))
    engine.serial = 1
    async with reporting(server, engine):
        await until(lambda: server.report is not None and server.report["policies"] == {"p": {"generation": 1}})
    assert server.writes == ["patch"]


async def test_a_report_that_somebody_deleted_is_made_again() -> None:
    server, engine = Server(), Engine()
    engine.decide(1, p=PolicyFact(generation=1))
    engine.serial = 1
    async with reporting(server, engine):
        await until(lambda: server.report is not None)
        server.report = None
        engine.decide(2, p=PolicyFact(generation=2))
        engine.serial = 2
        await until(lambda: server.report is not None)
        assert server.report is not None and server.report["policies"] == {"p": {"generation": 2}}
