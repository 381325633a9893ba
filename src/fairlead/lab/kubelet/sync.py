"""One pod after the other: observe, decide, act, until there is nothing to do; the shell around `decide`.

Each pod is handled by one worker at a time, many pods in parallel. It must never block on a container: hooks, stops and probes run
beside it and wake it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import msgspec

from fairlead.aio.workqueue import WorkQueue
from fairlead.api.resources import PODS
from fairlead.lab.kubelet import volumes
from fairlead.lab.kubelet.cni import CniError
from fairlead.lab.kubelet.containers import Containers, vanish
from fairlead.lab.kubelet.content import references
from fairlead.lab.kubelet.decide import (
    Action,
    CreateSandbox,
    Doom,
    Ending,
    Farewell,
    Finish,
    RemoveSandbox,
    Start,
    Stop,
    decide,
)
from fairlead.lab.kubelet.env import Surroundings
from fairlead.lab.kubelet.floor import Floor
from fairlead.lab.kubelet.pod import Json, decode
from fairlead.lab.kubelet.record import PodRecord, adopt, seconds
from fairlead.lab.kubelet.reporter import Reporter
from fairlead.lab.kubelet.sandbox import Sandboxes
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.tokens import Tokens
from fairlead.lab.kubelet.writer import StatusWriter
from fairlead.lab.runtime.spec import RuntimeFault
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Conflict, NotFound, Unreachable

log = logging.getLogger(__name__)

_WORKERS = 8
_ROUNDS = 16
_FIRST_STATUS_S = 1.0
_CONFIG_RETRY_S = 10.0
_MOUNT_RETRY_S = 2.0
_MOST_RETRY_S = 10.0
_API_RETRY_S = 1.0

Lookup: TypeAlias = Callable[[str, Iterable[tuple[str, str]]], Awaitable[dict[str, dict[str, Json]]]]
"""(namespace, (kind, name)…) → kind → name → ConfigMap or Secret, `References.objects`."""


class PodSync:
    """All pods of one node.

    `network_ready` returns None when pods can be attached, else why not; `services` returns those of a namespace and default/kubernetes;
    `unused` is told which ConfigMap or Secret no pod reads any more.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client: Client,
        floor: Floor,
        sandboxes: Sandboxes,
        reporter: Reporter,
        lookup: Lookup,
        unused: Callable[[tuple[str, str, str]], None],
        tokens: Tokens,
        services: Callable[[str], list[Json]],
        network_ready: Callable[[], str | None],
        allocatable: dict[str, str],
    ) -> None:
        self.records: dict[str, PodRecord] = {}
        self.queue: WorkQueue[str] = WorkQueue()
        self.writer = StatusWriter(settings, client, self.records.get)
        self.containers: Containers
        """Set by whoever wires the parts, since containers wake their pod here."""
        self._settings = settings
        self._client = client
        self._floor = floor
        self._sandboxes = sandboxes
        self._reporter = reporter
        self._lookup = lookup
        self._unused = unused
        self._tokens = tokens
        self._services = services
        self._network_ready = network_ready
        self._allocatable = allocatable
        self._referring: dict[tuple[str, str, str], set[str]] = {}

    def observe(self, old: Json | None, new: Json | None) -> None:
        """Take over a change of a pod's object; the callback of the pods' informer."""
        if new is None:
            assert old is not None
            record = self.records.get(old["metadata"]["uid"])
            if record is not None:
                record.gone = True
                self.queue.add(record.pod.uid)
            return
        uid = new["metadata"]["uid"]
        try:
            pod = decode(new)
        except msgspec.ValidationError as error:
            log.warning("pod not understood", extra={"pod": new["metadata"]["name"], "error": str(error)})
            return
        record = self.records.get(uid)
        if record is None:
            record = adopt(pod, new, self._floor.containers(uid) if uid in self._floor.sandboxes() else {}, time.time())
            self.records[uid] = record
            ips = self._sandboxes.adopted(pod)
            if ips is not None:
                record.ips, record.attached, record.sandboxed = ips, True, True
                record.volumes_stale = True
            elif record.sent.get("podIPs"):
                record.ips = tuple(entry["ip"] for entry in record.sent["podIPs"])
            self.writer.touch(uid, _FIRST_STATUS_S)
            self._refer(record)
        else:
            if (pod.metadata.labels, pod.metadata.annotations) != (
                record.pod.metadata.labels,
                record.pod.metadata.annotations,
            ):
                record.volumes_stale = True
            record.pod, record.obj = pod, new
            self.writer.compare(record)
        self.queue.add(uid)

    def referred(self, key: tuple[str, str, str]) -> None:
        """Look again at the pods that read this ConfigMap or Secret."""
        for uid in self._referring.get(key, ()):
            self.records[uid].volumes_stale = True
            self.queue.add(uid)

    def wake(self, uid: str) -> None:
        """Look again at a pod."""
        self.queue.add(uid)

    def runtime_changed(self, uid: str) -> None:
        """Take over a change of a container's state; the runtime's callback."""
        if (record := self.records.get(uid)) is not None:
            record.beat()
            self.queue.add(uid)

    def verdict(self, uid: str, container: str, attempt: int, kind: str, passed: bool) -> None:
        """Take over what a probe found."""
        record = self.records.get(uid)
        own = record.containers.get(container) if record else None
        if record is None or own is None or own.frozen is None or own.frozen.attempt != attempt:
            return
        spec = record.pod.container(container)
        if kind == "Readiness":
            own.ready = passed
        elif passed:
            own.started = own.started or kind == "Startup"
        else:
            probe = spec and (spec.startup_probe if kind == "Startup" else spec.liveness_probe)
            grace_s = probe.termination_grace_period_seconds if probe else None
            message = f"Container {container} failed {kind.lower()} probe, will be restarted"
            own.doomed = Doom(message=message, grace_s=grace_s)
        self.queue.add(uid)

    async def run(self) -> None:
        """Handle pods forever."""
        await self.queue.run(self.sync, workers=_WORKERS)

    async def purge_leftovers(self) -> None:
        """Remove what is left of pods that do not exist any more; call it once all pods are known."""
        for uid in self._sandboxes.leftovers() - self.records.keys():
            log.info("removing what is left of a pod", extra={"uid": uid})
            try:
                await self._sandboxes.purge(uid)
            except (CniError, RuntimeFault, OSError) as error:
                log.warning("leftovers stay", extra={"uid": uid, "error": str(error)})

    async def sync(self, uid: str) -> None:
        """Bring one pod as far as it can come now."""
        record = self.records.get(uid)
        if record is None:
            return
        failed: set[Action] = set()
        for _ in range(_ROUNDS):
            self._observe_runtime(record)
            if self._settled(record):
                break
            now = time.time()
            decision = decide(
                record.pod,
                sandbox=record.sandboxed,
                seen=record.seen(),
                ending=self._ending(record, now),
                started_at=record.started_at,
                now=now,
            )
            actions = [action for action in decision.actions if action not in failed]
            if not actions:
                if decision.wake_at is not None:
                    self.queue.add_after(uid, decision.wake_at - now + 0.01)
                break
            for action in actions:
                if not await self._act(record, action):
                    failed.add(action)
                    break
            if uid not in self.records:
                return
            if all(isinstance(action, Stop) for action in actions):
                break
        self._watch_tokens(record)
        if record.volumes_stale and record.sandboxed and not record.ending:
            await self._refresh_volumes(record)
            self._watch_tokens(record)
        self._tell_back_off(record)
        self.writer.touch(uid)

    def _settled(self, record: PodRecord) -> bool:
        """Tell whether there is nothing to do until the object changes."""
        if record.gone or record.farewell is None:
            return False
        return record.farewell == "deleted" or record.pod.metadata.deletion_timestamp is None

    def _observe_runtime(self, record: PodRecord) -> None:
        uid = record.pod.uid
        alive = uid in self._floor.sandboxes()
        if record.sandboxed and not alive:
            # The pod's init was killed: everything in it died with it.
            record.sandboxed = record.attached = False
            vanish(record)
            if not record.ending:
                message = "Pod sandbox changed, it will be killed and re-created."
                self._reporter.normal(record.pod, "SandboxChanged", message)
        record.observe(self._floor.containers(uid) if alive else {})
        for container in record.pod.all_containers:
            self.containers.supervise(record, container)

    def _ending(self, record: PodRecord, now: float) -> Ending | None:
        if not record.ending:
            return None
        metadata = record.pod.metadata
        kill_at = now + record.pod.grace_s
        asked = seconds(metadata.deletion_timestamp)
        if record.kill_at is None:
            record.kill_at = kill_at
        elif asked is not None and asked < record.kill_at - 1:
            # Deleted once more, with a shorter grace period.
            record.kill_at = max(now + 1, asked)
            self._hasten(record)
        return Ending(kill_at=record.kill_at)

    def _hasten(self, record: PodRecord) -> None:
        for own in record.containers.values():
            if own.stop is not None and not own.stop.done():
                own.stop.cancel()
                own.stop = None

    async def _act(self, record: PodRecord, action: Action) -> bool:
        match action:
            case CreateSandbox():
                return await self._create_sandbox(record)
            case Start():
                return await self._start(record, action)
            case Stop():
                self.containers.stop(record, action)
                return True
            case Finish():
                record.finish = action
                if action.reason == "DeadlineExceeded":
                    self._reporter.normal(record.pod, "DeadlineExceeded", action.message or "")
                return True
            case RemoveSandbox():
                return await self._remove_sandbox(record)
            case Farewell():
                return await self._farewell(record)

    async def _create_sandbox(self, record: PodRecord) -> bool:
        pod, uid, now = record.pod, record.pod.uid, time.time()
        if record.retry_at > now:
            self.queue.add_after(uid, record.retry_at - now)
            return False
        if not pod.host_network and (why := self._network_ready()) is not None:
            # The node looks at all pods again when its network becomes ready.
            self._reporter.warning(pod, "NetworkNotReady", f"network is not ready: {why}")
            return False
        try:
            around = await self._around(record)
            record.volumes = volumes.set_up(pod, self._volumes(uid), self._settings.claims, around)
            record.volumes_stale = False
        except volumes.MountError as error:
            self._reporter.warning(pod, "FailedMount", str(error))
            self.queue.add_after(uid, _MOUNT_RETRY_S)
            return False
        except (ApiError, Unreachable) as error:
            self._wait_for_api(record, error)
            return False
        try:
            record.ips = await self._sandboxes.create(pod)
        except (CniError, RuntimeFault, OSError) as error:
            record.sandbox_failures += 1
            delay_s = min(0.25 * 2**record.sandbox_failures, _MOST_RETRY_S)
            record.retry_at = now + delay_s
            self.queue.add_after(uid, delay_s)
            log.warning("sandbox not created", extra={"pod": pod.ref, "error": str(error)})
            self._reporter.warning(
                pod,
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
                f'"{uid}": {error}',
            )
            return False
        record.attached = record.sandboxed = True
        record.sandbox_failures = 0
        log.info("pod attached", extra={"pod": pod.ref, "ips": ",".join(record.ips)})
        self.writer.touch(uid, _FIRST_STATUS_S)
        return True

    async def _start(self, record: PodRecord, action: Start) -> bool:
        container = record.pod.container(action.container)
        if container is None:
            return False
        try:
            around = await self._around(record)
            if not record.volumes and record.pod.spec.volumes:
                record.volumes = volumes.set_up(
                    record.pod, self._volumes(record.pod.uid), self._settings.claims, around
                )
        except volumes.MountError as error:
            self._reporter.warning(record.pod, "FailedMount", str(error))
            self.queue.add_after(record.pod.uid, _MOUNT_RETRY_S)
            return False
        except (ApiError, Unreachable) as error:
            self._wait_for_api(record, error)
            return False
        started = await self.containers.start(record, container, action.attempt, around)
        if not started:
            self.queue.add_after(record.pod.uid, _CONFIG_RETRY_S)
        return started

    async def _remove_sandbox(self, record: PodRecord) -> bool:
        # The runtime forgets how containers ended; the records keep it for the last status.
        record.observe(self._floor.containers(record.pod.uid))
        try:
            await self._sandboxes.remove(record.pod.uid)
        except (CniError, RuntimeFault, OSError) as error:
            log.warning("sandbox not removed", extra={"pod": record.pod.ref, "error": str(error)})
            self._reporter.warning(record.pod, "FailedKillPod", f"error killing pod: {error}")
            record.sandbox_failures += 1
            self.queue.add_after(record.pod.uid, min(0.25 * 2**record.sandbox_failures, _MOST_RETRY_S))
            return False
        record.attached = record.sandboxed = False
        volumes.remove(self._volumes(record.pod.uid))
        log.info("pod detached", extra={"pod": record.pod.ref})
        return True

    async def _farewell(self, record: PodRecord) -> bool:
        pod = record.pod
        if not record.gone and pod.metadata.deletion_timestamp is None:
            # It has run to its end; its logs stay until it is deleted.
            record.farewell = "finished"
            return True
        if not record.gone:
            try:
                await self.writer.flush(record)
                await self._client.delete(
                    PODS, pod.metadata.name, namespace=pod.metadata.namespace, grace_period_s=0, uid=pod.uid
                )
            except (NotFound, Conflict):
                record.gone = True
            except (ApiError, Unreachable) as error:
                self._wait_for_api(record, error)
                return False
            else:
                # Finalizers may hold the object back; the watch says when it is gone.
                record.farewell = "deleted"
                return False
        if self._sandboxes.remains(pod.uid):
            return await self._remove_sandbox(record)
        await self._sandboxes.purge(pod.uid)
        self.containers.forget(record)
        self._tokens.forget(pod.uid)
        self._unrefer(record)
        del self.records[pod.uid]
        return True

    async def _refresh_volumes(self, record: PodRecord) -> None:
        record.volumes_stale = False
        try:
            around = await self._around(record)
            record.volumes = volumes.set_up(record.pod, self._volumes(record.pod.uid), self._settings.claims, around)
        except volumes.MountError as error:
            self._reporter.warning(record.pod, "FailedMount", str(error))
        except (ApiError, Unreachable) as error:
            record.volumes_stale = True
            self._wait_for_api(record, error)

    async def _around(self, record: PodRecord) -> Surroundings:
        namespace = record.pod.metadata.namespace
        tokens = await self._tokens.of(record.pod)
        wanted = [(kind, name) for kind, name, _ in references(record.pod)]
        found = await self._lookup(namespace, wanted) if wanted else {}
        return Surroundings(
            node=self._settings.node,
            services=self._services(namespace),
            config_maps=found.get("configmap", {}),
            secrets=found.get("secret", {}),
            tokens=tokens,
            pod_ips=record.ips,
            host_ips=self._settings.node_ips,
            allocatable=self._allocatable,
        )

    def _watch_tokens(self, record: PodRecord) -> None:
        """Have the volumes looked at again when a token in them gets old."""
        due = self._tokens.renew_at(record.pod.uid)
        if due is None:
            return
        left_s = due - time.time()
        if left_s <= 0:
            record.volumes_stale = True
        else:
            self.queue.add_after(record.pod.uid, left_s)

    def _tell_back_off(self, record: PodRecord) -> None:
        now = time.time()
        for container in record.pod.all_containers:
            own = record.container(container.name)
            report = own.report(record.pod, container, now)
            if report.waiting and report.waiting[0] == "CrashLoopBackOff" and own.backoff_told != report.attempt:
                own.backoff_told = report.attempt
                message = f"Back-off restarting failed container {container.name} in pod {record.pod.full_name}"
                self._reporter.warning(record.pod, "BackOff", message, container)

    def _wait_for_api(self, record: PodRecord, error: Exception) -> None:
        log.info("waiting for the API server", extra={"pod": record.pod.ref, "error": str(error)})
        self.queue.add_after(record.pod.uid, _API_RETRY_S)

    def _volumes(self, uid: str) -> Path:
        return self._settings.pods / uid / "volumes"

    def _refer(self, record: PodRecord) -> None:
        for kind, name, _ in references(record.pod):
            self._referring.setdefault((kind, record.pod.metadata.namespace, name), set()).add(record.pod.uid)

    def _unrefer(self, record: PodRecord) -> None:
        for kind, name, _ in references(record.pod):
            key = (kind, record.pod.metadata.namespace, name)
            users = self._referring.get(key, set())
            users.discard(record.pod.uid)
            if not users and self._referring.pop(key, None) is not None:
                self._unused(key)
