"""The trivial binder: every claim is bound at once, to a volume of its own that exists in name only, so that pods may run.

The lab's kubelet makes the storage (a folder) when a pod mounts it. A claim that names another storage class than ours is bound all the same:
manifests of a cloud should come up unchanged.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from fairlead.controllers.actions import Action, Create, Delete, Patch, Replace, Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key

Json = dict[str, Any]

PROVISIONER = "fairlead.dev/local"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_BIND_COMPLETED = "pv.kubernetes.io/bind-completed"


def volume_for(claim: Json) -> Json:
    """Return the volume that is made for `claim`."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            **({"storageClassName": spec["storageClassName"]} if spec.get("storageClassName") else {}),
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": f"/var/lib/fairlead/volumes/{metadata['uid']}", "type": "DirectoryOrCreate"},
        },
    }


def bind(claim: Json, volume: Json | None) -> list[Action]:
    """Return the next steps towards `claim` being bound; `volume` is the one that it names, or that is named for it."""
    if "deletionTimestamp" in claim["metadata"]:
        return []
    name = claim["spec"].get("volumeName") or f"pvc-{claim['metadata']['uid']}"
    actions: list[Action] = []
    if volume is None:
        if claim["spec"].get("volumeName"):
            # A volume of the user's that is yet to come.
            return []
        volume = volume_for(claim)
        actions.append(Create(PERSISTENTVOLUMES, volume, tolerant=True))
    elif (volume.get("status") or {}).get("phase") != "Bound":
        actions.append(Patch(PERSISTENTVOLUMES, volume, {"status": {"phase": "Bound"}}, subresource="status"))
    if not claim["spec"].get("volumeName"):
        annotations = {**(claim["metadata"].get("annotations") or {}), _BIND_COMPLETED: "yes"}
        metadata = {**claim["metadata"], "annotations": annotations}
        return [
            *actions,
            Replace(
                PERSISTENTVOLUMECLAIMS, {**claim, "metadata": metadata, "spec": {**claim["spec"], "volumeName": name}}
            ),
        ]
    if (claim.get("status") or {}).get("phase") != "Bound":
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": volume["spec"]["capacity"],
        }
        actions.append(Status(PERSISTENTVOLUMECLAIMS, {**claim, "status": status}))
    return actions


class VolumeBinder(Controller):
    """Binds claims, and removes the volumes that it made when their claims are gone."""

    name = "persistentvolume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.follow(PERSISTENTVOLUMECLAIMS, enqueue=self.enqueue)
        self._volumes = self.follow(PERSISTENTVOLUMES, enqueue=self._volume_changed)
        self._by_claim = context.informers.index(PERSISTENTVOLUMES, _claim_index)

    async def reconcile(self, key: Key) -> None:
        """Bind one claim, or clean up after it."""
        claim = self._claims.store.get(key)
        uid = claim["metadata"]["uid"] if claim is not None else None
        abandoned = [
            volume
            for volume in self._by_claim.get(key)
            if volume["spec"]["claimRef"].get("uid") != uid
            and (volume["metadata"].get("annotations") or {}).get(_PROVISIONED_BY) == PROVISIONER
        ]
        await self.perform(key, [Delete(PERSISTENTVOLUMES, volume) for volume in abandoned])
        if claim is not None:
            name = claim["spec"].get("volumeName") or f"pvc-{uid}"
            await self.perform(key, bind(claim, self._volumes.store.get(("", name))))

    def _volume_changed(self, volume: Json) -> None:
        for key in _claim_index(volume):
            self.queue.add(key)


def _claim_index(volume: Json) -> tuple[Key, ...]:
    """Index function: the claim of a volume."""
    reference = volume["spec"].get("claimRef")
    return ((reference.get("namespace", ""), reference["name"]),) if reference else ()
