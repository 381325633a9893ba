"""The kubelet of one lab node as a whole: wires informers, workers, probes, node status and the HTTP API, and runs until told to stop.

Stopping it, or killing it, never touches a pod: all that runs belongs to the runtime, and the next kubelet adopts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from fairlead.api.resources import PODS, SERVICES
from fairlead.lab.kubelet.acting import Actor, Outcome, Target
from fairlead.lab.kubelet.cni import Cni
from fairlead.lab.kubelet.commands import COMMAND_NOT_ON_HOST
from fairlead.lab.kubelet.containers import Containers
from fairlead.lab.kubelet.floor import Floor
from fairlead.lab.kubelet.node import NodeReporter, capacity
from fairlead.lab.kubelet.pod import Json
from fairlead.lab.kubelet.probes import Kind, Prober
from fairlead.lab.kubelet.references import References
from fairlead.lab.kubelet.reporter import Reporter
from fairlead.lab.kubelet.sandbox import Sandboxes
from fairlead.lab.kubelet.server import Server
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.sync import PodSync
from fairlead.lab.kubelet.tokens import Tokens
from fairlead.sources.client import Client
from fairlead.sources.informer import Informer

log = logging.getLogger(__name__)


class Kubelet:
    """One node's kubelet on the given client and runtime."""

    def __init__(self, settings: Settings, client: Client, floor: Floor) -> None:
        self._settings = settings
        self._client = client
        self._floor = floor

    async def run(self) -> None:
        """Run until cancelled; pods go on running afterwards."""
        await self._floor.start()
        try:
            async with asyncio.TaskGroup() as group:
                await self._run(group)
        finally:
            await self._floor.close()

    async def _run(self, group: asyncio.TaskGroup) -> None:
        settings, client, floor = self._settings, self._client, self._floor
        pods = Informer(client, PODS, field_selector=f"spec.nodeName={settings.node}")
        services = Informer(client, SERVICES)
        cni = Cni(conf_dir=settings.cni_conf_dir, bin_dirs=settings.cni_bin_dirs, cache_dir=settings.cni_cache)
        reporter = Reporter(client, settings.node)
        sandboxes = Sandboxes(settings, floor, cni)

        def services_of(namespace: str) -> list[Json]:
            return [
                service
                for key, service in services.store.items()
                if key[0] == namespace or key == ("default", "kubernetes")
            ]

        network = _Network(cni)
        node = NodeReporter(settings, client, check_network=network.check, network_changed=lambda: _wake_waiting(sync))
        references = References(client, group, lambda key: sync.referred(key))
        sync = PodSync(
            settings,
            client=client,
            floor=floor,
            sandboxes=sandboxes,
            reporter=reporter,
            lookup=references.objects,
            unused=references.release,
            tokens=Tokens(client),
            services=services_of,
            network_ready=lambda: node.not_ready,
            allocatable=capacity(settings),
        )
        actor = Actor(floor, strict=settings.strict_commands)

        def verdict(target: Target, attempt: int, kind: Kind, passed: bool, message: str) -> None:
            sync.verdict(target.pod.uid, target.container.name, attempt, kind, passed)

        prober = Prober(actor.probe, verdict=verdict, complaint=_complaints(reporter, sync))
        sync.containers = Containers(
            settings,
            floor,
            actor=actor,
            prober=prober,
            reporter=reporter,
            spawn=lambda work: group.create_task(_guarded(work)),
            wake=sync.wake,
        )
        floor.on_change(sync.runtime_changed)
        pods.on_change(sync.observe)
        server = Server(settings, floor, sync)
        async with server.listening():
            group.create_task(node.run())
            group.create_task(services.run())
            group.create_task(reporter.run())
            await services.wait_synced()
            group.create_task(pods.run())
            await pods.wait_synced()
            group.create_task(sync.run())
            group.create_task(sync.writer.run())
            await sync.purge_leftovers()
            log.info("kubelet runs", extra={"node": settings.node, "pods": len(sync.records)})
            await asyncio.Event().wait()


class _Network:
    """Whether the network can attach pods: asked of the plugins until they say yes, then again for each new configuration."""

    def __init__(self, cni: Cni) -> None:
        self._cni = cni
        self._ready: object = None

    async def check(self) -> str | None:
        """Return None when pods can be attached, else the wording of the node's condition."""
        network = self._cni.network()
        if network is not None and network is self._ready:
            return None
        why = await self._cni.not_ready()
        self._ready = network if why is None else None
        return why


def _wake_waiting(sync: PodSync) -> None:
    for uid, record in sync.records.items():
        if not record.sandboxed:
            sync.wake(uid)


def _complaints(reporter: Reporter, sync: PodSync) -> Any:
    def complain(target: Target, kind: Kind, outcome: Outcome) -> None:
        record = sync.records.get(target.pod.uid)
        if record is None or record.ending:
            # It is meant to fall silent.
            return
        name = target.container.name
        if outcome.absent is not None:
            message = (
                f'{kind} probe of container {name}: command "{outcome.absent}" is not on this host, taken as passed'
            )
            reporter.warning(target.pod, COMMAND_NOT_ON_HOST, message, target.container)
        else:
            message = f"{kind} probe failed: {outcome.answer.message}"
            reporter.warning(target.pod, "Unhealthy", message, target.container)

    return complain


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Run background work of one pod; its failure is logged and never ends the kubelet."""
    try:
        await work
    except Exception:
        log.warning("work beside a pod failed", exc_info=True)
