"""The shell of StatefulSets."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from fairlead.controllers import ownership
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.statefulset import core
from fairlead.controllers.statefulset.pods import parent_of

Json = dict[str, Any]


class StatefulSetController(Controller):
    """Keeps the pods of StatefulSets."""

    name = "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.follow(STATEFULSETS, enqueue=self.enqueue)
        self.follow_owned(PODS, STATEFULSETS.kind)
        self.follow(PODS, enqueue=self._orphan_changed)
        self.follow_owned(CONTROLLERREVISIONS, STATEFULSETS.kind)
        self.follow(PERSISTENTVOLUMECLAIMS)
        self._pods = context.informers.index(PODS, ownership.controller_index)
        self._orphans = context.informers.index(PODS, ownership.orphan_index)
        self._revisions = context.informers.index(CONTROLLERREVISIONS, ownership.controller_index)
        self._claims = context.informers.index(PERSISTENTVOLUMECLAIMS, _namespace)

    async def reconcile(self, key: Key) -> None:
        """Take the next steps of one StatefulSet."""
        owner = self._sets.store.get(key)
        if owner is None:
            return
        uid = owner["metadata"]["uid"]
        actions = core.reconcile(
            owner,
            list(self._pods.get(uid)),
            list(self._orphans.get(key[0])),
            list(self._revisions.get(uid)),
            {claim["metadata"]["name"]: claim for claim in self._claims.get(key[0])},
            now=self.context.now(),
        )
        await self.perform(key, actions)

    def _orphan_changed(self, pod: Json) -> None:
        if ownership.controller_uid(pod) is None:
            parent = parent_of(pod["metadata"]["name"])
            key = pod["metadata"]["namespace"], parent or ""
            if key in self._sets.store:
                self.queue.add(key)


def _namespace(obj: Json) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)
