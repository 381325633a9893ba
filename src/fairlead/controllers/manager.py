"""All controllers of one process: which there are, which are wanted, and how they run together.

Modules are imported only for controllers that run. A controller that dies of a defect takes the process with it, for its supervisor to start
anew: every controller continues from what the API server holds.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from fairlead.base.errors import UserError
from fairlead.controllers.context import Context, Settings
from fairlead.sources.client import Client

log = logging.getLogger(__name__)


class Runnable(Protocol):
    """What the manager knows of a controller."""

    async def run(self) -> None:
        """Work forever; starts with waiting for the informers."""


_HERE = "fairlead.controllers"
CONTROLLERS: Mapping[str, str] = {
    "certificatesigningrequest-signing": f"{_HERE}.certificates.controller:SigningController",
    "scheduler": f"{_HERE}.scheduler.controller:Scheduler",
    "deployment": f"{_HERE}.deployment.controller:DeploymentController",
    "replicaset": f"{_HERE}.replicaset.controller:ReplicaSetController",
    "replicationcontroller": f"{_HERE}.replicaset.controller:ReplicationControllerController",
    "statefulset": f"{_HERE}.statefulset.controller:StatefulSetController",
    "daemonset": f"{_HERE}.daemonset.controller:DaemonSetController",
    "job": f"{_HERE}.job.controller:JobController",
    "cronjob": f"{_HERE}.cronjob.controller:CronJobController",
    "disruption": f"{_HERE}.disruption.controller:DisruptionController",
    "endpointslice": f"{_HERE}.endpoints.controller:EndpointSliceController",
    "endpoints": f"{_HERE}.endpoints.controller:EndpointsController",
    "endpointslicemirroring": f"{_HERE}.endpoints.mirroring:EndpointSliceMirroringController",
    "resourcequota": f"{_HERE}.quota.controller:QuotaController",
    "namespace": f"{_HERE}.namespaces.controller:NamespaceController",
    "garbage-collector": f"{_HERE}.collector.controller:GarbageCollector",
    "node-lifecycle": f"{_HERE}.nodes.lifecycle:NodeLifecycleController",
    "pod-garbage-collector": f"{_HERE}.nodes.podgc:PodCollector",
    "service-lb": f"{_HERE}.loadbalancers.controller:LoadBalancerController",
    "egress-gateway": f"{_HERE}.egress.controller:EgressGatewayController",
    "policy-status": f"{_HERE}.policystatus.controller:PolicyStatusController",
    "gateway": f"{_HERE}.gateway.controller:GatewayController",
    "gateway-door": f"{_HERE}.gateway.doors:DoorController",
    "gateway-certificate": f"{_HERE}.gateway.issuer:CertificateIssuer",
    "persistentvolume-binder": f"{_HERE}.volumes.controller:VolumeBinder",
}
"""Name → `module:class`. Names are those of kube-controller-manager without `-controller`."""


def select(wanted: Iterable[str]) -> list[str]:
    """Return the controllers that a list means: `*` all, `NAME` that one, `-NAME` not that one; raises UserError for an unknown name."""
    given = [entry.strip() for entry in wanted if entry.strip()]
    chosen: set[str] = set()
    refused: set[str] = set()
    for entry in given:
        if entry == "*":
            chosen |= CONTROLLERS.keys()
            continue
        name = entry.removeprefix("-").removesuffix("-controller")
        if name not in CONTROLLERS:
            raise UserError(f"--controllers: unknown controller {entry!r}", fix=f"choose from {', '.join(CONTROLLERS)}")
        (refused if entry.startswith("-") else chosen).add(name)
    if refused and not chosen:
        chosen = set(CONTROLLERS)
    return [name for name in CONTROLLERS if name in chosen - refused]


def build(context: Context, names: Iterable[str]) -> list[Runnable]:
    """Return the controllers with these names, ready to run."""
    built: list[Runnable] = []
    for name in names:
        module, _, attribute = CONTROLLERS[name].partition(":")
        built.append(getattr(importlib.import_module(module), attribute)(context))
    return built


async def run(client: Client, names: Iterable[str], settings: Settings) -> None:
    """Run the controllers with these names until cancelled."""
    context = Context(client, settings=settings)
    controllers = build(context, names)
    async with asyncio.TaskGroup() as group:
        group.create_task(context.informers.run(), name="informers")
        group.create_task(context.events.run(), name="events")
        for controller in controllers:
            group.create_task(controller.run(), name=repr(controller))
        log.info("controllers started", extra={"controllers": len(controllers)})
