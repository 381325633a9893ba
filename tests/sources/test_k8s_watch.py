from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from fairlead.api.decode import decode
from fairlead.base.diagnostics import Diagnostic
from fairlead.sources import k8s_watch
from fairlead.sources.errors import NotFound
from fairlead.world.events import Event, KindReplaced, ObjectChanged


class ScriptedClient:
    """Lists what it was given, and watches what is put into its queue."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items
        self.queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def list(self, resource: object, **_: object) -> tuple[list[dict[str, Any]], str]:
        return self.items, "10"

    async def watch(self, resource: object, **_: object) -> Any:
        while True:
            yield await self.queue.get()


def node(name: str, version: str, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": version}, "spec": spec}


async def test_first_everything_then_each_change() -> None:
    client = ScriptedClient([node("n1", "3"), node("n2", "4", podCIDR=7)])
    events: asyncio.Queue[Event] = asyncio.Queue()
    follow = k8s_watch._follow(client, k8s_watch.WATCHED["Node"], "Node", events.put_nowait)  # type: ignore[arg-type]
    task = asyncio.create_task(follow)
    try:
        async with asyncio.timeout(5):
            first = await events.get()
            assert isinstance(first, KindReplaced) and first.revision == "10"
            assert list(first.objects) == [("", "n1"), ("", "n2")]
            assert isinstance(first.objects["", "n2"], Diagnostic)
            client.queue.put_nowait(("MODIFIED", node("n2", "11", podCIDR="10.0.0.0/24")))
            client.queue.put_nowait(("DELETED", node("n1", "12")))
            changed, gone = await events.get(), await events.get()
            assert isinstance(changed, ObjectChanged) and changed.revision == "11"
            assert not isinstance(changed.new, Diagnostic)
            assert isinstance(gone, ObjectChanged) and (gone.key, gone.new) == (("", "n1"), None)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Uninstalled(ScriptedClient):
    """Does not know the kind until it is told to."""

    installed = False

    async def list(self, resource: object, **_: object) -> tuple[list[dict[str, Any]], str]:
        if not self.installed:
            raise NotFound({"code": 404, "reason": "NotFound", "message": "no such resource"})
        return self.items, "10"


async def test_a_kind_that_is_not_installed_has_no_objects_until_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_watch, "_DEFINITION_PERIOD_S", 0.001)
    policy = {
        "metadata": {"name": "p", "uid": "p", "resourceVersion": "3"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
    }
    client = Uninstalled([policy])
    events: asyncio.Queue[Event] = asyncio.Queue()
    kind = "ClusterNetworkPolicy"
    follow = k8s_watch.follow_when_installed(client, k8s_watch.OPTIONAL[kind], kind, events.put_nowait)  # type: ignore[arg-type]
    task = asyncio.create_task(follow)
    try:
        async with asyncio.timeout(5):
            assert await events.get() == KindReplaced(kind, {})
            client.installed = True
            found = await events.get()
            assert isinstance(found, KindReplaced) and list(found.objects) == [("", "p")]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_of_an_object_only_the_network_is_kept() -> None:
    pod = {
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "3",
            "labels": {"a": "b"},
            "annotations": {"other": "x", k8s_watch.TRIGGER_TIME: "2026-01-01T00:00:00Z"},
            "managedFields": [1],
        },
        "spec": {"nodeName": "n1", "volumes": [{}]},
    }
    assert k8s_watch._understood("Pod")(pod) == {
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "3",
            k8s_watch.TRIGGER_TIME: "2026-01-01T00:00:00Z",
        },
        "decoded": decode("Pod", pod),
    }


async def test_a_change_of_a_pod_that_the_network_does_not_read_is_no_event() -> None:
    def pod(version: str, phase: str = "Running", **status: object) -> dict[str, object]:
        metadata = {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": version, "labels": {"a": "b"}}
        return {"metadata": metadata, "spec": {}, "status": {"phase": phase, **status}}

    client = ScriptedClient([pod("1")])
    events: asyncio.Queue[Event] = asyncio.Queue()
    follow = k8s_watch._follow(client, k8s_watch.WATCHED["Pod"], "Pod", events.put_nowait)  # type: ignore[arg-type]
    task = asyncio.create_task(follow)
    try:
        async with asyncio.timeout(5):
            await events.get()
            for changed in (
                pod("2", conditions=[{"type": "Ready"}]),
                pod("3", podIP="10.244.1.2"),
                pod("4", podIP="10.244.1.2", conditions=[]),
                pod("5", "Succeeded"),
            ):
                client.queue.put_nowait(("MODIFIED", changed))
            found = [await events.get() for _ in range(2)]
            assert [each.revision for each in found if isinstance(each, ObjectChanged)] == ["3", "5"]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
