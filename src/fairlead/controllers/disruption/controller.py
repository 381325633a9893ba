"""The shell of PodDisruptionBudgets."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import (
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership
from fairlead.controllers.actions import Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.disruption import core
from fairlead.controllers.expectations import Key

Json = dict[str, Any]

_GATHER_S = 0.05
_SCALED = {resource.kind: resource for resource in (REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS)}


class DisruptionController(Controller):
    """Keeps the status of PodDisruptionBudgets."""

    name = "disruption-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = self.follow(PODDISRUPTIONBUDGETS, enqueue=self.enqueue)
        self.follow(PODS, enqueue=self._pod_changed)
        for resource in _SCALED.values():
            self.follow(resource)
        self._pods = context.informers.index(PODS, _namespace)

    async def reconcile(self, key: Key) -> None:
        """Bring the status of one budget up to date."""
        budget = self._budgets.store.get(key)
        if budget is None:
            return
        selector = budget["spec"].get("selector")
        chosen = from_object(selector) if selector is not None else None
        pods = [
            pod
            for pod in self._pods.get(key[0])
            if chosen is not None and chosen.matches(pod["metadata"].get("labels"))
        ]
        status = core.status(budget, pods, self._scale_of, self.context.now())
        if status != budget.get("status"):
            await self.perform(key, [Status(PODDISRUPTIONBUDGETS, {**budget, "status": status})])
        if status.get("disruptedPods"):
            self.queue.add_after(key, 10.0)

    def _scale_of(self, pod: Json) -> int | None:
        reference = ownership.controller_of(pod)
        resource = _SCALED.get(reference["kind"]) if reference is not None else None
        if reference is None or resource is None:
            return None
        owner = self.context.informers.of(resource).store.get((pod["metadata"]["namespace"], reference["name"]))
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            return None
        replicas = owner["spec"].get("replicas")
        return 1 if replicas is None else int(replicas)

    def _pod_changed(self, pod: Json) -> None:
        namespace = pod["metadata"]["namespace"]
        for key, budget in self._budgets.store.items():
            if key[0] == namespace and from_object(budget["spec"].get("selector") or {}).matches(
                pod["metadata"].get("labels")
            ):
                self.queue.add_after(key, _GATHER_S)


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)
