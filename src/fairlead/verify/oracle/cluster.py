"""A cluster as the oracle reads it: wire objects, looked through from end to end for every question.

Slow on purpose: there is no index that could be wrong. It must import neither the model nor the typed API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.verify.oracle.labels import selects

Wire = Mapping[str, Any]
NAME_LABEL = "kubernetes.io/metadata.name"


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Objects in wire form. Objects that the API server would refuse are not to be given."""

    pods: Sequence[Wire] = ()
    namespaces: Sequence[Wire] = ()
    nodes: Sequence[Wire] = ()
    policies: Sequence[Wire] = ()
    """Of the kinds NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy."""
    resolved: Mapping[str, Sequence[str]] = {}
    """Domain name as a pod asked for it or was led to by an alias → addresses that the resolver answered with, not long ago."""
    ranges: Sequence[str] = ()
    """Prefixes of the cluster's pods and Services."""

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace with the one that the API server always sets; None when there is none."""
        for each in self.namespaces:
            if each["metadata"]["name"] == name:
                return {**(each["metadata"].get("labels") or {}), NAME_LABEL: name}
        return None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection: a pod, a node (which pods on the host network are) or an address outside."""

    addresses: tuple[str, ...]
    pod: Any = None
    node: Any = None
    """Of a place that is a node itself."""
    host: str = ""
    """The node that a pod is on, or the name of the node itself; empty outside."""

    def address(self, family: int) -> str | None:
        """Return the address of the family (4 or 6)."""
        return next((each for each in self.addresses if (":" in each) == (family == 6)), None)


def place(cluster: Cluster, name: str) -> Place | None:
    """Return the place `pod/NAMESPACE/NAME`, `node/NAME` or an address; None for what takes no part in traffic."""
    kind, _, rest = name.partition("/")
    if kind == "pod":
        namespace, _, pod_name = rest.partition("/")
        for each in cluster.pods:
            if each["metadata"]["namespace"] == namespace and each["metadata"]["name"] == pod_name:
                return _of_pod(cluster, each)
        return None
    if kind == "node":
        return next((_of_node(each) for each in cluster.nodes if each["metadata"]["name"] == rest), None)
    for pod in cluster.pods:
        found = _of_pod(cluster, pod)
        if found is not None and name in found.addresses:
            return found
    for node in cluster.nodes:
        found = _of_node(node)
        if name in found.addresses:
            return found
    return Place(addresses=(name,))


def in_pods(cluster: Cluster, pod: Wire, *, namespaces: Wire | None, own: str, pods: Wire | None) -> bool:
    """Tell whether `pod` is in namespaces selected by `namespaces` (None: in namespace `own`) and selected by `pods` (None: all)."""
    namespace = pod["metadata"]["namespace"]
    if namespaces is None:
        if namespace != own:
            return False
    else:
        labels = cluster.namespace_labels(namespace)
        if labels is None or not selects(namespaces, labels):
            return False
    return pods is None or selects(pods, pod["metadata"].get("labels") or {})


def port_of(pod: Wire, name: str, protocol: str | None) -> set[tuple[str, int]]:
    """Return (protocol, number) of the ports named so: for each protocol the first declared one, of `protocol` alone when given."""
    spec = pod["spec"]
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    found: dict[str, int] = {}
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == name:
                found.setdefault(port.get("protocol", "TCP"), port["containerPort"])
    return {(each, number) for each, number in found.items() if protocol in (None, each)}


def _of_pod(cluster: Cluster, pod: Wire) -> Place | None:
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return None
    host = pod["spec"].get("nodeName", "")
    if pod["spec"].get("hostNetwork"):
        return place(cluster, f"node/{host}")
    addresses = tuple(each["ip"] for each in pod.get("status", {}).get("podIPs") or ())
    return Place(addresses=addresses, pod=pod, host=host) if addresses else None


def _of_node(node: Wire) -> Place:
    addresses = node.get("status", {}).get("addresses") or ()
    found = tuple(each["address"] for each in addresses if each["type"] == "InternalIP")
    return Place(addresses=found, node=node, host=node["metadata"]["name"])
