"""The shell of ReplicaSets and ReplicationControllers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fairlead.api.resources import PODS
from fairlead.controllers import ownership, podstate
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.replicaset import core
from fairlead.sources.errors import ApiError, Conflict, NotFound

Json = dict[str, Any]

# A pod's way to Ready makes several changes; their owner's status follows them together.
_GATHER_S = 0.02


class _Replicas(Controller):
    """Keeps the number of pods of each object of one flavor."""

    flavor: core.Flavor

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        resource = self.flavor.resource
        self._sets = self.follow(resource, enqueue=self.enqueue)
        self.follow_owned(PODS, resource.kind, delay_s=_GATHER_S)
        self.follow(PODS, enqueue=self._orphan_changed)
        self._pods = context.informers.index(PODS, ownership.controller_index)
        self._orphans = context.informers.index(PODS, ownership.orphan_index)
        self._siblings = context.informers.index(resource, ownership.controller_index)
        self._by_namespace = context.informers.index(resource, _namespace)
        self._failures: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> None:
        """Bring the pods of one object to the number wanted."""
        owner = self._sets.store.get(key)
        if owner is None:
            self._failures.pop(key, None)
            return
        actions = core.reconcile(
            self.flavor,
            owner,
            list(self._pods.get(owner["metadata"]["uid"])),
            list(self._orphans.get(key[0])),
            related_per_node=self._per_node(owner),
            failure=self._failures.get(key),
            now=self.context.now(),
        )
        try:
            await self.perform(key, actions)
        except (Conflict, NotFound):
            raise
        except ApiError as error:
            self._failures[key] = str(error)
            raise
        self._failures.pop(key, None)

    def _per_node(self, owner: Json) -> Counter[str]:
        """Count the active pods per node of this object and of those with the same owner."""
        uid = ownership.controller_uid(owner)
        family = self._siblings.get(uid) if uid else [owner]
        return Counter(
            pod["spec"].get("nodeName", "")
            for member in family
            for pod in self._pods.get(member["metadata"]["uid"])
            if podstate.is_active(pod)
        )

    def _orphan_changed(self, pod: Json) -> None:
        if ownership.controller_uid(pod) is not None:
            return
        labels = pod["metadata"].get("labels")
        for owner in self._by_namespace.get(pod["metadata"].get("namespace", "")):
            if self.flavor.selector(owner).matches(labels):
                self.enqueue(owner)


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"].get("namespace", ""),)


class ReplicaSetController(_Replicas):
    """Keeps the pods of ReplicaSets."""

    name = "replicaset-controller"
    flavor = core.REPLICA_SET


class ReplicationControllerController(_Replicas):
    """Keeps the pods of ReplicationControllers."""

    name = "replication-controller"
    flavor = core.REPLICATION_CONTROLLER
