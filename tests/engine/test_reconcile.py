"""The engine against drivers in memory: order of things, failures, retries; no kernel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.model.worlds import ETH0, NODES, attachment, service

from fairlead.api.decode import decode
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.engine.api import AttachError
from fairlead.engine.gate import KINDS
from fairlead.engine.reconcile import Engine
from fairlead.model.policy.lower import CLOSED
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyPod
from fairlead.world.events import InterfacesObserved, KindReplaced, ObjectChanged
from fairlead.world.settings import Settings


class MemoryDriver:
    """Holds the tables that it was given; can be told to fail, to raise, or to wait."""

    tables = frozenset(("pod_links", "routes", "service_ports", "policy_pods"))

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.held: Plan | None = None
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def apply(self, plan: Plan) -> Outcome:
        return await self._work("apply", plan)

    async def resync(self, plan: Plan) -> Outcome:
        return await self._work("resync", plan)

    async def _work(self, call: str, plan: Plan) -> Outcome:
        self.calls.append(call)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        changed = self.held is None or self.held.tables != plan.tables
        self.held = plan
        failed = [Failure("pod_links", key, "no room") for key in plan.table("pod_links") if key[0] in self.failing]
        return Outcome(int(changed), tuple(failed))


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until they have brought about what is awaited."""
    while True:
        if condition():
            return
        await asyncio.sleep(0)


def listed() -> list[KindReplaced]:
    nodes = {("", name): node for name, node in NODES.items()}
    empty = [KindReplaced(kind, {}, "7") for kind in sorted(KINDS - {"Node"})]
    return [KindReplaced("Node", nodes, "7"), *empty]


@contextlib.asynccontextmanager
async def running(*drivers: MemoryDriver, resync_s: float = 60) -> AsyncIterator[Engine]:
    engine = Engine(Settings(node="n1"), drivers, resync_s=resync_s)
    engine.push(InterfacesObserved((ETH0,)))
    task = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(5):
            yield engine
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_nothing_is_applied_before_every_kind_was_listed() -> None:
    driver = MemoryDriver()
    async with running(driver) as engine:
        for event in (each for each in listed() if each.kind != "EndpointSlice"):
            engine.push(event)
        await until(lambda: "n1" in engine.snapshot.nodes)
        assert engine.ready() == "waiting for the API server: EndpointSlice not listed yet"
        with pytest.raises(AttachError, match="EndpointSlice not listed yet"):
            await engine.attach(attachment(5))
        assert driver.calls == []
        engine.push(*(each for each in listed() if each.kind == "EndpointSlice"))
        await engine.wait_ready()
        assert driver.held is not None and driver.held.revision == "7"


async def test_attach_returns_when_every_driver_has_the_pod() -> None:
    fast, slow = MemoryDriver("fast"), MemoryDriver("slow")
    async with running(fast, slow) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        slow.gate.clear()
        attaching = asyncio.create_task(engine.attach(attachment(5)))
        await until(lambda: not (fast.held is None or not fast.held.table("pod_links")))
        assert not attaching.done()
        slow.gate.set()
        await attaching
        assert slow.held is not None and set(slow.held.table("pod_links")) == {("fl000000000005",)}
        await engine.detach("c5", "eth0")
        assert not slow.held.table("pod_links")


async def test_a_failed_attachment_is_taken_back_and_harms_no_other() -> None:
    driver = MemoryDriver()
    driver.failing = {"fl000000000005"}
    async with running(driver) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        results = await asyncio.gather(
            engine.attach(attachment(5)), engine.attach(attachment(6)), return_exceptions=True
        )
        assert isinstance(results[0], AttachError) and str(results[0]) == "no room"
        assert results[1] is None
        assert driver.held is not None and set(driver.held.table("pod_links")) == {("fl000000000006",)}


async def test_a_driver_that_raises_is_named_and_tried_again_with_a_look_at_the_kernel() -> None:
    driver = MemoryDriver()
    async with running(driver) as engine:
        driver.error = OSError(1, "Operation not permitted")
        engine.push(*listed())
        await until(lambda: bool(driver.calls))
        await until(lambda: bool(engine.receipt().drivers[0].error))
        assert "memory: PermissionError: [Errno 1] Operation not permitted" in engine.receipt().summary
        driver.error = None
        await engine.wait_ready()
        assert driver.calls[0] == "apply" and driver.calls[-1] == "resync"
        assert engine.receipt().healthy


async def test_plans_that_were_overtaken_are_skipped() -> None:
    driver = MemoryDriver()
    async with running(driver) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        before = len(driver.calls)
        driver.gate.clear()
        for number in range(50):
            engine.push(
                ObjectChanged("Service", ("default", f"s{number}"), service(f"s{number}", f"10.96.0.{number}"), "8")
            )
            await asyncio.sleep(0.001)
        driver.gate.set()
        await until(lambda: not (driver.held is None or len(driver.held.table("service_ports")) < 50))
        assert len(driver.calls) - before <= 4


async def test_a_plan_that_says_nothing_new_to_a_driver_is_in_force_without_a_call() -> None:
    concerned, other = MemoryDriver("concerned"), MemoryDriver("other")
    other.tables = frozenset(("routes",))
    async with running(concerned, other) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        before = len(other.calls)
        engine.push(ObjectChanged("Service", ("default", "s"), service("s", "10.96.0.9"), "8"))
        await until(lambda: concerned.held is not None and len(concerned.held.table("service_ports")) == 1)
        serials = {each.driver: each.serial for each in engine.driver_health()}
        assert engine.plan is not None and set(serials.values()) == {engine.plan.serial}
        assert len(other.calls) == before
        await engine.attach(attachment(5))
        assert len(other.calls) == before + 1


async def test_a_resync_that_is_asked_for_before_the_first_plan_waits_for_it() -> None:
    driver = MemoryDriver()
    async with running(driver) as engine:
        engine.request_resync("memory")
        await until(lambda: bool(engine.snapshot.interfaces))
        engine.push(*listed())
        await engine.wait_ready()
        assert driver.calls == ["resync"]


async def test_it_looks_at_the_kernel_now_and_then_and_when_told() -> None:
    driver = MemoryDriver()
    async with running(driver, resync_s=0.02) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        await until(lambda: not (driver.calls.count("resync") < 2))
    driver = MemoryDriver()
    async with running(driver) as engine:
        engine.push(*listed())
        await engine.wait_ready()
        engine.request_resync("memory")
        await until(lambda: not ("resync" not in driver.calls))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([KindReplaced("Node", {}, "1")], "Node n1 is not registered"),
        ([KindReplaced("Node", {("", "n1"): NODES["n2"]}, "1")], None),
    ],
)
async def test_why_pods_cannot_be_attached(events: list[KindReplaced], expected: str | None) -> None:
    async with running(MemoryDriver()) as engine:
        engine.push(*listed(), *events)
        await until(lambda: engine.plan is not None)
        await until(lambda: engine.ready() == expected)


async def test_attach_waits_for_a_pod_that_policies_may_govern() -> None:
    driver = MemoryDriver()
    policy: Any = decode("NetworkPolicy", {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"podSelector": {}}})
    pod = decode("Pod", {"metadata": {"name": "web", "namespace": "ns"}, "spec": {"nodeName": "n1"}})
    wanted = msgspec.structs.replace(attachment(5), pod_namespace="ns", pod_name="web", pod_uid="")
    async with running(driver) as engine:
        engine.push(*listed(), ObjectChanged("NetworkPolicy", ("ns", "p"), policy))
        await engine.wait_ready()
        attaching = asyncio.create_task(engine.attach(wanted))
        await until(lambda: wanted.key in engine.snapshot.attachments)
        assert not attaching.done()
        engine.push(ObjectChanged("Pod", ("ns", "web"), pod))
        await attaching
        assert driver.held is not None
        row = driver.held.table("policy_pods")[(wanted.host_ifname,)]
        assert isinstance(row, PolicyPod) and row.ingress and row.ingress not in CLOSED
