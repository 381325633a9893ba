"""The shell of Jobs."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import JOBS, PODS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.job import core, pods

Json = dict[str, Any]


class JobController(Controller):
    """Runs Jobs."""

    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = self.follow(JOBS, enqueue=self.enqueue)
        self.follow_owned(PODS, JOBS.kind, delay_s=0.02)
        self.follow(PODS, enqueue=self._orphan_changed)
        self._pods = context.informers.index(PODS, ownership.controller_index)
        self._orphans = context.informers.index(PODS, ownership.orphan_index)
        self._tracked = context.informers.index(PODS, _tracked_index)

    async def reconcile(self, key: Key) -> None:
        """Take the next steps of one Job; pods of one that is gone are let go."""
        job = self._jobs.store.get(key)
        uid = job["metadata"]["uid"] if job is not None else None
        strays = [pod for pod in self._tracked.get(key) if ownership.controller_uid(pod) != uid]
        await self.perform(key, [pods.let_go(pod) for pod in strays])
        if job is not None and not job["spec"].get("managedBy", "").replace("kubernetes.io/job-controller", ""):
            owned = list(self._pods.get(uid))
            orphans = [pod for pod in self._orphans.get(key[0]) if not pods.is_tracked(pod)]
            await self.perform(key, core.reconcile(job, owned, orphans, now=self.context.now()))

    def _orphan_changed(self, pod: Json) -> None:
        if ownership.controller_uid(pod) is not None:
            return
        metadata = pod["metadata"]
        for (namespace, _), job in self._jobs.store.items():
            if namespace == metadata["namespace"] and from_object(job["spec"]["selector"]).matches(
                metadata.get("labels")
            ):
                self.enqueue(job)


def _tracked_index(pod: Json) -> tuple[Key, ...]:
    """Index function: the Job (by name) of a pod that waits to be counted."""
    reference = ownership.controller_of(pod)
    if reference is None or reference["kind"] != JOBS.kind or not pods.is_tracked(pod):
        return ()
    return ((pod["metadata"]["namespace"], reference["name"]),)
