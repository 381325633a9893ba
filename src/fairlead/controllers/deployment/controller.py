"""The shell of Deployments."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership, podstate, templates
from fairlead.controllers.actions import Action, Create, Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.deployment import core, names, replicasets
from fairlead.controllers.expectations import Key
from fairlead.sources.errors import AlreadyExists

Json = dict[str, Any]

_GATHER_S = 0.02


class DeploymentController(Controller):
    """Rolls Deployments out."""

    name = "deployment-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = self.follow(DEPLOYMENTS, enqueue=self.enqueue)
        self.follow_owned(REPLICASETS, DEPLOYMENTS.kind, delay_s=_GATHER_S)
        self.follow(REPLICASETS, enqueue=self._orphan_changed)
        self.follow(PODS).on_change(self._pod_changed)
        self._sets = context.informers.index(REPLICASETS, ownership.controller_index)
        self._orphans = context.informers.index(REPLICASETS, ownership.orphan_index)
        self._pods = context.informers.index(PODS, ownership.controller_index)

    async def reconcile(self, key: Key) -> None:
        """Take the next step of one Deployment."""
        deployment = self._deployments.store.get(key)
        if deployment is None:
            return
        owned = list(self._sets.get(deployment["metadata"]["uid"]))
        actions = core.reconcile(
            deployment,
            owned,
            list(self._orphans.get(key[0])),
            old_pods_exist=names.is_recreate(deployment) and self._old_pods_exist(deployment, owned),
            now=self.context.now(),
        )
        try:
            await self.perform(key, actions)
        except AlreadyExists:
            await self._settle_collision(key, deployment, actions)
            raise

    def _old_pods_exist(self, deployment: Json, owned: list[Json]) -> bool:
        new = replicasets.find_new(deployment, owned)
        return any(
            not podstate.is_finished(pod)
            for found in owned
            if new is None or found["metadata"]["uid"] != new["metadata"]["uid"]
            for pod in self._pods.get(found["metadata"]["uid"])
        )

    async def _settle_collision(self, key: Key, deployment: Json, actions: list[Action]) -> None:
        """Count a collision if the ReplicaSet in our way is not the one that we meant to create."""
        wanted = next(action.obj for action in actions if isinstance(action, Create))
        there = await self.client.get(REPLICASETS, wanted["metadata"]["name"], namespace=key[0])
        ours = ownership.controller_uid(there) == deployment["metadata"]["uid"]
        if ours and templates.equal(
            there["spec"]["template"], deployment["spec"]["template"], ignore_label=names.HASH_LABEL
        ):
            return
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.perform(key, [Status(DEPLOYMENTS, {**deployment, "status": status})])

    def _orphan_changed(self, replica_set: Json) -> None:
        if ownership.controller_uid(replica_set) is not None:
            return
        metadata = replica_set["metadata"]
        for (namespace, _), deployment in self._deployments.store.items():
            if namespace == metadata["namespace"] and from_object(deployment["spec"]["selector"]).matches(
                metadata.get("labels")
            ):
                self.enqueue(deployment)

    def _pod_changed(self, old: Json | None, new: Json | None) -> None:
        """A Recreate waits for the end of the last old pod, which no ReplicaSet reports."""
        if old is None or (new is not None and not podstate.is_finished(new)):
            return
        reference = ownership.controller_of(old)
        if reference is None or reference["kind"] != REPLICASETS.kind:
            return
        replica_set = self.context.informers.of(REPLICASETS).store.get(
            (old["metadata"]["namespace"], reference["name"])
        )
        if replica_set is None:
            return
        owner = ownership.controller_of(replica_set)
        if owner is not None and owner["kind"] == DEPLOYMENTS.kind:
            self.queue.add((old["metadata"]["namespace"], owner["name"]))
