"""The shell of the scheduler: keeps the picture of the cluster, takes pods in turn, binds them in parallel.

A decided pod counts on its node at once ("assumed"), long before the API server and the informer have confirmed it. Whatever goes wrong on the
way, what the informer says wins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Literal

from fairlead.api.resources import NAMESPACES, NODES, PERSISTENTVOLUMECLAIMS, PODS
from fairlead.controllers import conditions, moments, podstate
from fairlead.controllers.context import Context
from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.cluster import Cluster
from fairlead.controllers.scheduler.decide import Placed, Rejected, decide
from fairlead.controllers.scheduler.facts import Pod
from fairlead.controllers.scheduler.queue import SchedulingQueue
from fairlead.sources.errors import ApiError, NotFound, Unreachable
from fairlead.sources.informer import key_of

Json = dict[str, Any]

log = logging.getLogger(__name__)

COMPONENT = "default-scheduler"
_BINDINGS = 32


class Scheduler:
    """Gives every pod of the default scheduler a node."""

    name = "scheduler"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._cluster = Cluster()
        self._queue = SchedulingQueue()
        self._assumed: dict[str, str] = {}
        """uid → node of pods whose binding the informer has not shown."""
        self._unreadable: set[str] = set()
        self._wakeup = asyncio.Event()
        self._slots = asyncio.Semaphore(_BINDINGS)
        informers = context.informers
        self._pods, self._nodes = informers.of(PODS), informers.of(NODES)
        self._claims, self._namespaces = informers.of(PERSISTENTVOLUMECLAIMS), informers.of(NAMESPACES)
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._node_changed)
        self._claims.on_change(self._claim_changed)
        self._namespaces.on_change(self._namespace_changed)

    def __repr__(self) -> str:
        return f"<Scheduler waiting={len(self._queue)} assumed={len(self._assumed)} {self._cluster!r}>"

    async def run(self) -> None:
        """Schedule forever."""
        for informer in (self._nodes, self._namespaces, self._claims, self._pods):
            await informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                pod = await self._next()
                group.create_task(self._schedule(pod))
                # Bindings and informers must go on while many pods wait.
                await asyncio.sleep(0)

    async def _next(self) -> Pod:
        while True:
            pod = self._queue.take(time.monotonic())
            if pod is not None:
                return pod
            self._wakeup.clear()
            due = self._queue.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(due - time.monotonic(), 0.0) + 0.001):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    async def _schedule(self, pod: Pod) -> None:
        try:
            missing = self._missing_claim(pod)
            outcome = missing if missing is not None else decide(pod, self._cluster)
            if isinstance(outcome, Placed):
                await self._bind(pod, outcome.node)
            else:
                self._queue.park(pod.uid, outcome.causes, time.monotonic())
                await self._report(pod, outcome.message, "Unschedulable")
        except (ApiError, Unreachable) as error:
            log.info("scheduling is tried again", extra={"pod": "/".join(pod.key), "error": str(error)})
            self._queue.retry(pod.uid, time.monotonic())
        except Exception:
            log.exception("scheduling failed", extra={"pod": "/".join(pod.key)})
            self._queue.retry(pod.uid, time.monotonic())
        finally:
            self._slots.release()
            self._wakeup.set()

    def _missing_claim(self, pod: Pod) -> Rejected | None:
        nodes = len(self._cluster.nodes())
        for claim in pod.claims:
            if (pod.namespace, claim) not in self._claims.store:
                reason = f'persistentvolumeclaim "{claim}" not found'
                message = (
                    f"0/{nodes} nodes are available: {reason}. preemption: 0/{nodes} nodes are available: "
                    f"{nodes} Preemption is not helpful for scheduling."
                )
                return Rejected(message, frozenset({"node"}))
        return None

    async def _bind(self, pod: Pod, node: str) -> None:
        self._assumed[pod.uid] = node
        self._cluster.place(pod, node)
        namespace, name = pod.key
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, binding, namespace=namespace, name=name, subresource="binding")
        except BaseException as error:
            self._forget(pod)
            if isinstance(error, NotFound):
                return
            raise
        self._queue.remove(pod.uid)
        obj = self._pods.store.get(pod.key)
        if obj is None or obj["metadata"]["uid"] != pod.uid:
            # Gone between decision and binding; its deletion was seen before we counted it.
            self._forget(pod)
            return
        message = f"Successfully assigned {namespace}/{name} to {node}"
        self._context.events.put(COMPONENT, obj, "Normal", "Scheduled", message)

    def _forget(self, pod: Pod) -> None:
        if self._assumed.pop(pod.uid, None) is not None:
            self._cluster.remove(pod.uid)

    async def _report(self, pod: Pod, message: str, reason: Literal["Unschedulable", "SchedulingGated"]) -> None:
        obj = self._pods.store.get(pod.key)
        if obj is None or obj["metadata"]["uid"] != pod.uid:
            return
        former = conditions.condition(obj, "PodScheduled")
        if former and (former["status"], former.get("reason"), former.get("message")) == ("False", reason, message):
            return
        since = former["lastTransitionTime"] if former and former["status"] == "False" else None
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": since or moments.text(self._context.now()),
            "reason": reason,
            "message": message,
        }
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [entry]}}
        namespace, name = pod.key
        if reason == "Unschedulable":
            self._context.events.put(COMPONENT, obj, "Warning", "FailedScheduling", message)
        try:
            await self._client.patch(PODS, name, patch, namespace=namespace, kind="strategic", subresource="status")
        except NotFound:
            return

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        now = time.monotonic()
        if new is None:
            assert old is not None
            uid = old["metadata"]["uid"]
            self._unreadable.discard(uid)
            self._queue.remove(uid)
            self._assumed.pop(uid, None)
            if self._cluster.remove(uid):
                self._wake("pod-gone")
            return
        uid = new["metadata"]["uid"]
        if podstate.is_finished(new):
            self._queue.remove(uid)
            self._assumed.pop(uid, None)
            if self._cluster.remove(uid):
                self._wake("pod-gone")
            return
        if old is not None and _unchanged(old, new):
            return
        try:
            pod = facts.pod_of(new)
        except (ValueError, KeyError) as error:
            if uid not in self._unreadable:
                self._unreadable.add(uid)
                log.warning("pod cannot be scheduled", extra={"pod": "/".join(key_of(new)), "error": str(error)})
            return
        if pod.node:
            self._queue.remove(uid)
            self._assumed.pop(uid, None)
            fresh = self._cluster.node_of(uid) is None
            self._cluster.place(pod, pod.node)
            if fresh or (old is not None and old["metadata"].get("labels") != new["metadata"].get("labels")):
                self._wake("pod-there")
        elif pod.scheduler != COMPONENT or pod.terminating or pod.gated:
            self._queue.remove(uid)
        elif uid not in self._assumed:
            self._queue.add(pod, now)
            self._wakeup.set()

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        current = new or old
        assert current is not None
        before = facts.node_of(old) if old is not None else None
        after = facts.node_of(new) if new is not None else None
        if before == after:
            # Heartbeats change nothing for us.
            return
        self._cluster.set_node(current["metadata"]["name"], after)
        if after is not None:
            self._wake("node")

    def _namespace_changed(self, old: Json | None, new: Json | None) -> None:
        if new is None:
            assert old is not None
            self._cluster.set_namespace(old["metadata"]["name"], None)
        else:
            self._cluster.set_namespace(new["metadata"]["name"], new["metadata"].get("labels") or {})

    def _claim_changed(self, old: Json | None, new: Json | None) -> None:
        if old is None:
            self._wake("node")

    def _wake(self, cause: Literal["node", "pod-gone", "pod-there"]) -> None:
        self._queue.wake((cause,), time.monotonic())
        self._wakeup.set()


def _unchanged(old: Json, new: Json) -> bool:
    """Tell whether nothing changed that placement depends on; most changes of a pod are of its status."""
    before, after = old["metadata"], new["metadata"]
    return (
        old["spec"] == new["spec"]
        and before.get("labels") == after.get("labels")
        and before.get("ownerReferences") == after.get("ownerReferences")
        and ("deletionTimestamp" in before) == ("deletionTimestamp" in after)
        and podstate.phase(old) == podstate.phase(new)
    )
