"""On which nodes a DaemonSet's pods run, and what such a pod looks like. Pure. Source: apps/v1 DaemonSet."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import DAEMONSETS
from fairlead.controllers import ownership, revisions, templates
from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.facts import Node

Json = dict[str, Any]

GENERATION_LABEL = "pod-template-generation"
_GENERATION = "deprecated.daemonset.template.generation"

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def pod_for(owner: Json, revision: Json, node: str) -> Json:
    """Return the pod of `owner` for one node: bound to it by affinity, so that the scheduler still counts what it uses."""
    metadata = owner["metadata"]
    labels = {revisions.HASH_LABEL: revisions.hash_of(revision, revisions.HASH_LABEL)}
    generation = (metadata.get("annotations") or {}).get(_GENERATION)
    if generation:
        labels[GENERATION_LABEL] = generation
    pod = templates.pod_from(
        owner["spec"]["template"],
        namespace=metadata["namespace"],
        owner=ownership.reference_to(owner, DAEMONSETS),
        prefix=metadata["name"] + "-",
        labels=labels,
    )
    spec = pod["spec"]
    affinity = spec.get("affinity") or {}
    only = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
    node_affinity = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": only,
    }
    return {
        **pod,
        "spec": {
            **spec,
            "affinity": {**affinity, "nodeAffinity": node_affinity},
            "tolerations": _tolerations(spec),
        },
    }


def node_of(pod: Json) -> str:
    """Return the node that a pod runs on or was made for; empty when that cannot be told."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


class Placement:
    """Whether the pods of one DaemonSet belong on a node."""

    def __init__(self, owner: Json) -> None:
        template = owner["spec"]["template"]
        spec = {**template["spec"], "tolerations": _tolerations(template["spec"])}
        # The scheduling name of a pod that may run anywhere its template says.
        metadata = {**(template.get("metadata") or {}), "name": "", "namespace": "", "uid": ""}
        self._pod = facts.pod_of({"metadata": metadata, "spec": spec})

    def belongs(self, node: Node) -> bool:
        """Tell whether a pod should be started on `node`."""
        return self._allowed(node) and facts.repelling_taint(self._pod, node) is None

    def may_stay(self, node: Node) -> bool:
        """Tell whether a pod that is on `node` may go on."""
        return self._allowed(node) and not any(
            taint[2] == "NoExecute" and not facts.tolerates(self._pod.tolerations, taint) for taint in node.taints
        )

    def _allowed(self, node: Node) -> bool:
        return (not self._pod.node or self._pod.node == node.name) and facts.fits_node(self._pod, node)


def _tolerations(spec: Json) -> list[Json]:
    present: list[Json] = list(spec.get("tolerations") or ())
    for key, effect in (*_TOLERATED, *((_NETWORK,) if spec.get("hostNetwork") else ())):
        entry = {"key": key, "operator": "Exists", "effect": effect}
        if entry not in present:
            present.append(entry)
    return present
