"""Which objects the pods of each node refer to: what a node's kubelet must be able to read, and nothing else.

Source: the node authorizer's graph. The references of a pod's specification never change, so a pod is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Change, Key

Json = dict[str, Any]

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of pods that a kubelet runs on its own account: they refer to nothing of the cluster's."""


class _Placed(NamedTuple):
    uid: str
    node: str
    references: frozenset[tuple[str, str]]


class NodeGraph:
    """Node → what its pods refer to, kept current by the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[Key, _Placed] = {}
        self._referred: Counter[tuple[str, str, str, str]] = Counter()
        store.follow("pods", self._pod_changed)
        for entry in store.entries("pods"):
            self._place(entry.key, entry.copy())

    def runs(self, node: str, namespace: str, pod: str) -> bool:
        """Tell whether this pod is bound to the node."""
        placed = self._pods.get((namespace, pod))
        return placed is not None and placed.node == node

    def refers(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Tell whether a pod of the node refers to this secret, configmap, serviceaccount or claim, or to a claim's volume."""
        if resource == "persistentvolumes":
            entry = self._store.get("persistentvolumes", "", name)
            claim = ((entry.obj.get("spec") or {}).get("claimRef") or {}) if entry else {}
            claimed = self._store.get("persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", ""))
            if claimed is None or (claimed.obj.get("spec") or {}).get("volumeName") != name:
                return False
            resource, namespace, name = "persistentvolumeclaims", *claimed.key
        return (node, resource, namespace, name) in self._referred

    def _pod_changed(self, change: Change) -> None:
        key = change.entry.key
        placed = self._pods.get(key)
        if change.type == "DELETED":
            self._remove(key)
            return
        # Read once: decoded pods that nobody else asks for should not stay in memory.
        pod = change.entry.copy()
        if placed is not None and placed.uid == pod["metadata"]["uid"]:
            return
        self._remove(key)
        self._place(key, pod)

    def _place(self, key: Key, pod: Json) -> None:
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            return
        placed = self._pods[key] = _Placed(pod["metadata"]["uid"], node, frozenset(references(pod)))
        self._referred.update((node, kind, key[0], name) for kind, name in placed.references)

    def _remove(self, key: Key) -> None:
        placed = self._pods.pop(key, None)
        if placed is None:
            return
        for kind, name in placed.references:
            reference = (placed.node, kind, key[0], name)
            self._referred[reference] -= 1
            if not self._referred[reference]:
                del self._referred[reference]


def references(pod: Json) -> Iterator[tuple[str, str]]:
    """Yield the resource and name of each object of its namespace that a pod refers to."""
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        return
    spec = pod.get("spec") or {}
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from _of_container(container)
    for volume in spec.get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            yield "persistentvolumeclaims", claim.get("claimName", "")
        if "ephemeral" in volume:
            yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume.get('name', '')}"
        sources: Iterable[Json] = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            if found := source.get("configMap"):
                yield "configmaps", found.get("name", "")
            if found := source.get("secret"):
                yield "secrets", found.get("secretName") or found.get("name", "")


def _of_container(container: Json) -> Iterator[tuple[str, str]]:
    for source in (
        *(container.get("envFrom") or ()),
        *(one.get("valueFrom") or {} for one in container.get("env") or ()),
    ):
        for field, resource in (
            ("configMapRef", "configmaps"),
            ("configMapKeyRef", "configmaps"),
            ("secretRef", "secrets"),
            ("secretKeyRef", "secrets"),
        ):
            if found := source.get(field):
                yield resource, found.get("name", "")
