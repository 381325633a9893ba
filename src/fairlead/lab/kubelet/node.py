"""The Node object and its Lease: what this kubelet says of itself, and the heartbeat by which it is missed when it dies."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fairlead.api.resources import LEASES, NODES
from fairlead.lab.kubelet.pod import Json
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.status import timestamp
from fairlead.sources.client import Client
from fairlead.sources.errors import AlreadyExists, ApiError, NotFound, Unreachable

log = logging.getLogger(__name__)

KUBELET_VERSION = "v1.33.0"
_NAMESPACE = "kube-node-lease"
_FIRST_POLL_S = 0.1
_MOST_POLL_S = 1.0
_STEADY_POLL_S = 5.0
_STATUS_INTERVAL_S = 300.0
_LOOK_INTERVAL_S = 10.0
# Containers here are bare processes of one machine: requests written for a data center must not keep them from being scheduled.
_LEAST_CPUS = 16
_LEAST_MEMORY_KIB = 64 << 20
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def capacity(settings: Settings) -> dict[str, str]:
    """Return what the node offers, as quantities."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    disk = os.statvfs(settings.root if settings.root.exists() else "/")
    return {
        "cpu": str(max(_LEAST_CPUS, os.cpu_count() or 1)),
        "memory": f"{max(_LEAST_MEMORY_KIB, pages)}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "pods": str(settings.max_pods),
    }


def node_object(settings: Settings) -> Json:
    """Return the Node as this kubelet registers it, without status."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": settings.node,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": arch,
        "topology.kubernetes.io/zone": settings.zone,
        "topology.kubernetes.io/region": settings.region,
        **settings.labels,
    }
    spec: Json = {"providerID": f"fairlead:///{settings.zone}/{settings.node}"}
    if settings.pod_cidrs:
        spec |= {"podCIDR": settings.pod_cidrs[0], "podCIDRs": list(settings.pod_cidrs)}
    if settings.taints:
        spec["taints"] = [
            {"key": key, "effect": effect, **({"value": value} if value else {})}
            for key, value, effect in settings.taints
        ]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": settings.node, "labels": labels}, "spec": spec}


def node_status(settings: Settings, former: Json, *, not_ready: str | None, now: float) -> Json:
    """Return the Node's status; `former` keeps times of transition, `not_ready` is why pods cannot run, None when they can."""
    before = {condition["type"]: condition for condition in former.get("conditions") or ()}
    conditions = [_condition(kind, False, reason, message, before, now) for kind, reason, message in _PRESSURES]
    if not_ready is None:
        conditions.append(_condition("Ready", True, "KubeletReady", "kubelet is posting ready status", before, now))
    else:
        conditions.append(_condition("Ready", False, "KubeletNotReady", not_ready, before, now))
    addresses = [{"type": "InternalIP", "address": address} for address in settings.node_ips]
    addresses.append({"type": "Hostname", "address": settings.node})
    return {
        "capacity": capacity(settings),
        "allocatable": capacity(settings),
        "addresses": addresses,
        "conditions": conditions,
        "nodeInfo": _node_info(settings),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }


class NodeReporter:
    """Registers the node and keeps its status and lease alive.

    `check_network` returns None when pods can be attached; `network_changed` is called whenever its answer changes.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        *,
        check_network: Callable[[], Awaitable[str | None]],
        network_changed: Callable[[], None],
    ) -> None:
        self.not_ready: str | None = "container runtime is down"
        """Why pods cannot be attached; None when they can."""
        self._settings = settings
        self._client = client
        self._check_network = check_network
        self._network_changed = network_changed
        self._status: Json = {}
        self._uid = ""
        self._dirty = asyncio.Event()
        self._checked = asyncio.Event()

    async def run(self) -> None:
        """Register, then report forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_network())
            await self._register()
            group.create_task(self._report())
            group.create_task(self._renew())

    async def _register(self) -> None:
        while True:
            try:
                await self._register_once()
                return
            except (ApiError, Unreachable) as error:
                log.info("node not registered yet", extra={"error": str(error)})
                await asyncio.sleep(0.2)

    async def _register_once(self) -> None:
        wanted = node_object(self._settings)
        # Before the first look at the network the node is certainly not ready.
        wanted["status"] = node_status(self._settings, {}, not_ready=self.not_ready, now=_now())
        try:
            node = await self._client.create(NODES, wanted)
        except AlreadyExists:
            patch = {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": wanted["spec"]}
            if not self._settings.taints:
                patch["spec"].pop("taints", None)
            node = await self._client.patch(NODES, self._settings.node, patch)
        self._uid = node["metadata"]["uid"]
        self._status = node.get("status") or {}
        log.info("node registered", extra={"node": self._settings.node})

    async def _watch_network(self) -> None:
        pause_s = _FIRST_POLL_S
        while True:
            why = await self._check_network()
            self._checked.set()
            if why != self.not_ready:
                log.info("network", extra={"ready": why is None, "why": why or ""})
                self.not_ready = why
                self._dirty.set()
                self._network_changed()
            pause_s = _STEADY_POLL_S if why is None else min(max(pause_s, _FIRST_POLL_S) * 1.5, _MOST_POLL_S)
            await asyncio.sleep(pause_s)

    async def _report(self) -> None:
        # A restarted kubelet must not say NotReady only because it has not looked yet.
        await self._checked.wait()
        while True:
            self._dirty.clear()
            try:
                await self._write_status()
            except NotFound:
                await self._register()
                self._dirty.set()
            except (ApiError, Unreachable) as error:
                log.info("node status not written", extra={"error": str(error)})
                await asyncio.sleep(1)
                self._dirty.set()
            try:
                async with asyncio.timeout(_STATUS_INTERVAL_S):
                    await self._dirty.wait()
            except TimeoutError:
                pass

    async def _write_status(self) -> None:
        now = _now()
        status = node_status(self._settings, self._status, not_ready=self.not_ready, now=now)
        for condition in status["conditions"]:
            condition["lastHeartbeatTime"] = timestamp(now)
        # Addresses merge by type, and two are InternalIP: without the directive one would swallow the other.
        status["addresses"].insert(0, {"$patch": "replace"})
        node = await self._client.patch(
            NODES, self._settings.node, {"status": status}, kind="strategic", subresource="status"
        )
        self._status = node.get("status") or status

    async def _renew(self) -> None:
        renewed = looked = time.monotonic()
        while True:
            try:
                await self._renew_once()
                now = time.monotonic()
                if now - renewed > 2 * self._settings.lease_interval_s or now - looked > _LOOK_INTERVAL_S:
                    looked = now
                    await self._look()
                renewed = now
            except (ApiError, Unreachable) as error:
                log.info("lease not renewed", extra={"error": str(error)})
            await asyncio.sleep(self._settings.lease_interval_s)

    async def _look(self) -> None:
        """A node that was silent is declared lost by the control plane: only a new status takes that back."""
        node = await self._client.get(NODES, self._settings.node)
        seen = {each["type"]: each["status"] for each in (node.get("status") or {}).get("conditions") or ()}
        if seen != {each["type"]: each["status"] for each in self._status.get("conditions") or ()}:
            self._status = node.get("status") or {}
            self._dirty.set()

    async def _renew_once(self) -> None:
        renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._settings.node,
            "leaseDurationSeconds": max(1, round(self._settings.lease_interval_s * 4)),
            "renewTime": renewed,
        }
        try:
            await self._client.patch(LEASES, self._settings.node, {"spec": spec}, namespace=_NAMESPACE)
        except NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._settings.node, "uid": self._uid}
            lease = {
                "apiVersion": LEASES.api_version,
                "kind": "Lease",
                "metadata": {"name": self._settings.node, "namespace": _NAMESPACE, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._client.create(LEASES, lease)


def _condition(kind: str, holds: bool, reason: str, message: str, before: dict[str, Json], now: float) -> Json:
    status = "True" if holds else "False"
    old = before.get(kind)
    same = old is not None and old.get("status") == status and old.get("lastTransitionTime")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": timestamp(now),
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else timestamp(now),
    }


def _node_info(settings: Settings) -> Json:
    try:
        release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        release = "Linux"
    return {
        "machineID": settings.node,
        "systemUUID": settings.node,
        "bootID": _text("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": release,
        "containerRuntimeVersion": "fairlead://0.1.0",
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": KUBELET_VERSION,
        "operatingSystem": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()
