"""A control plane in this process: the real API server, the controllers under test, and a kubelet that only pretends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fairlead.api.resources import NODES, PODS, Resource
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.server import Server
from fairlead.apiserver.server import Settings as ServerSettings
from fairlead.controllers import manager
from fairlead.controllers.context import Context, Settings
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, NotFound
from fairlead.sources.informer import Informer
from fairlead.sources.kubeconfig import Connection

Json = dict[str, Any]
WAIT_S = 15.0


class Kubelet:
    """Runs nothing: bound pods become what `outcome` says (ready, unready, pending, succeeded, failed), deleted ones go."""

    def __init__(self, client: Client, pods: Informer) -> None:
        self.outcome: Callable[[Json], str] = lambda pod: "ready"
        self.lets_go: Callable[[Json], bool] = lambda pod: True
        self._client = client
        self._pods = pods
        self._waiting: asyncio.Queue[Json] = asyncio.Queue()
        self._address = itertools.count(1)
        pods.on_change(lambda old, new: self._waiting.put_nowait(new) if new is not None else None)

    def look_again(self) -> None:
        """Apply a changed `outcome` to all pods."""
        for pod in self._pods.store.values():
            self._waiting.put_nowait(pod)

    async def run(self) -> None:
        while True:
            pod = await self._waiting.get()
            try:
                await self._handle(pod)
            except ApiError:
                continue

    async def _handle(self, pod: Json) -> None:
        metadata, status = pod["metadata"], pod.get("status", {})
        if not pod["spec"].get("nodeName"):
            return
        if "deletionTimestamp" in metadata:
            if self.lets_go(pod):
                await self._client.delete(PODS, metadata["name"], namespace=metadata["namespace"], grace_period_s=0)
            return
        if status.get("phase") in ("Succeeded", "Failed"):
            return
        outcome = self.outcome(pod)
        phase = {"pending": "Pending", "succeeded": "Succeeded", "failed": "Failed"}.get(outcome, "Running")
        ready = "True" if outcome == "ready" else "False"
        known = {each["type"]: each["status"] for each in status.get("conditions", ())}
        if status.get("phase") == phase and known.get("Ready") == ready:
            return
        number = status.get("podIP", "").rpartition(".")[2] or str(next(self._address))
        now = "2026-01-01T00:00:00Z"
        change: Json = {
            "phase": phase,
            "podIP": f"10.244.1.{number}",
            "podIPs": [{"ip": f"10.244.1.{number}"}, {"ip": f"fd10:244:0:1::{number}"}],
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
        }
        await self._client.patch(
            PODS,
            metadata["name"],
            {"status": change},
            namespace=metadata["namespace"],
            kind="strategic",
            subresource="status",
        )


class Lab:
    """What a test drives: `client` to write, `store` to read, `until` to wait."""

    def __init__(self, client: Client, context: Context) -> None:
        self.client = client
        self.context = context
        self._changed = asyncio.Condition()
        self._dirty = asyncio.Event()
        self._followed: set[Resource] = set()
        self.kubelet = Kubelet(client, self.follow(PODS))

    def follow(self, resource: Resource) -> Informer:
        informer = self.context.informers.of(resource)
        if resource not in self._followed:
            self._followed.add(resource)
            informer.on_change(lambda old, new: self._dirty.set())
        return informer

    def all(self, resource: Resource, namespace: str | None = "default", **labels: str) -> list[Json]:
        return [
            obj
            for (ns, _), obj in sorted(self.follow(resource).store.items())
            if (namespace is None or ns in (namespace, ""))
            and labels.items() <= (obj["metadata"].get("labels") or {}).items()
        ]

    def get(self, resource: Resource, name: str, namespace: str = "default") -> Json | None:
        return self.follow(resource).store.get((namespace if resource.namespaced else "", name))

    async def until(self, condition: Callable[[], Any], what: str = "", *, timeout_s: float = WAIT_S) -> Any:
        """Wait until `condition` gives something true as the informers see it, and return that."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._dirty.clear()
                    if found := condition():
                        return found
                    # The time limit is for conditions that read a clock.
                    try:
                        async with asyncio.timeout(0.2):
                            await self._dirty.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            pods = "\n".join(
                f"  {pod['metadata']['name']} {pod['spec'].get('nodeName')} {pod.get('status')}"
                for pod in self.all(PODS, None)
            )
            raise AssertionError(f"never: {what or condition}\npods:\n{pods}") from None

    async def node(self, name: str, zone: str = "zone-a", **more: Any) -> Json:
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, **more.get("labels", {})}
        amounts = {"cpu": "16", "memory": "64Gi", "pods": "110", **more.get("allocatable", {})}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": more.get("spec", {}),
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
            },
        }
        made = await self.client.create(NODES, node)
        if "status" not in made or "allocatable" not in made["status"]:
            made = await self.client.replace(NODES, {**made, "status": node["status"]}, subresource="status")
        return made

    async def gone(self, resource: Resource, name: str, namespace: str = "default") -> bool:
        try:
            await self.client.get(resource, name, namespace=namespace)
        except NotFound:
            return True
        return False


def connect(certificates: Path, port: int, user: str) -> Connection:
    """Return the way of `user` to the server on `port`; controllers have their own rights and no others."""
    return Connection(
        server=f"https://127.0.0.1:{port}",
        ca=(certificates / "ca.crt").read_text(),
        certificate=(certificates / f"{user}.crt").read_text(),
        key=(certificates / f"{user}.key").read_text(),
    )


@asynccontextmanager
async def lab(
    folder: Path,
    certificates: Path,
    controllers: Sequence[str],
    *,
    nodes: int = 0,
    settings: Settings | None = None,
    now: Callable[[], float] | None = None,
    definitions: Path | None = None,
) -> AsyncIterator[Lab]:
    """Run the named controllers against a real API server until the block ends."""
    server_settings = ServerSettings(
        state=folder / "state", pki=certificates, listen=[Address("127.0.0.1", 0)], definitions=definitions
    )
    async with Server(server_settings) as server:
        port = server.ports[0]
        async with (
            Client(connect(certificates, port, "admin"), user_agent="controllers-test") as client,
            Client(connect(certificates, port, "controller"), user_agent="controllers") as own,
        ):
            context = Context(own, settings=settings, **({"now": now} if now else {}))
            running = manager.build(context, controllers)
            made = Lab(client, context)
            for index in range(nodes):
                await made.node(f"node-{index + 1}", f"zone-{'abc'[index % 3]}")
            group = asyncio.gather(
                context.informers.run(), context.events.run(), made.kubelet.run(), *(each.run() for each in running)
            )
            try:
                yield made
            finally:
                group.cancel()
                try:
                    await group
                except asyncio.CancelledError:
                    pass
