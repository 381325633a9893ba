"""What a node and its network agent may write: what authorization cannot see, since it stands in the object.

Source: the NodeRestriction admission plugin (KEP-279, node isolation) and its words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api
from fairlead.apiserver.authz.node_graph import MIRROR, references
from fairlead.apiserver.errors import forbidden, not_found
from fairlead.apiserver.identity import NODES
from fairlead.model.gateway.doors import NODE_LABEL

Json = dict[str, Any]

_REPORTS = "fairlead.dev/nodepolicyreports"
_SLICES = "discovery.k8s.io/endpointslices"
_ISOLATED = "node-restriction.kubernetes.io"
_KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)


def restrict(api: Api) -> Plugin:
    """Return the admission function."""

    def check(attributes: Attributes) -> None:
        if (agent_of := attributes.identity.agent_of) is not None:
            if attributes.served.table == _REPORTS:
                _own_name(agent_of, attributes, "NodePolicyReport")
            elif attributes.served.table == _SLICES:
                _own_slices(agent_of, attributes)
            return
        node = attributes.identity.node
        if node is None:
            if NODES in attributes.identity.groups:
                raise _no(attributes, f'could not determine node from user "{attributes.identity.user}"')
            return
        judge = _JUDGES.get(attributes.served.table)
        if judge is not None:
            judge(api, node, attributes)

    return check


def _no(attributes: Attributes, why: str) -> Exception:
    return forbidden(attributes.served.resource, attributes.name, why)


def _own_slices(node: str, attributes: Attributes) -> None:
    """An agent says what its own node's gateway serves, and nothing about any other endpoint."""
    for obj in (attributes.old, attributes.obj):
        if obj and _labels(obj).get(NODE_LABEL) != node:
            why = f"can only write EndpointSlices whose label {NODE_LABEL} is the requesting node's name"
            raise _no(attributes, why)


def _pods(api: Api, node: str, attributes: Attributes) -> None:
    match attributes.subresource, attributes.operation:
        case "", "CREATE":
            _mirror_pod(api, node, attributes)
        case "", "DELETE":
            if _node_of(attributes.old) != node:
                raise _no(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        case "", operation:
            why = f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods'
            raise _no(attributes, why)
        case "status", _:
            old = attributes.old or {}
            if _node_of(old) != node:
                raise _no(
                    attributes, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
                )
            if _labels(attributes.obj) != _labels(old):
                raise _no(attributes, f'node "{node}" cannot update labels through pod status')
        case "eviction", _:
            pod = api.store.latest("pods", attributes.namespace, attributes.name)
            if pod is None:
                raise not_found(attributes.served.resource, attributes.name)
            if _node_of(pod.obj) != node:
                raise _no(attributes, f"node {node} can only evict pods with spec.nodeName set to itself")
        case subresource, _:
            why = f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed"
            raise _no(attributes, why)


def _mirror_pod(api: Api, node: str, attributes: Attributes) -> None:
    pod = attributes.obj
    metadata = pod["metadata"]
    if MIRROR not in (metadata.get("annotations") or {}):
        why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        raise _no(attributes, why)
    if _node_of(pod) != node:
        raise _no(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    owners = metadata.get("ownerReferences") or []
    if len(owners) > 1:
        raise _no(attributes, f'node "{node}" can only create pods with a single owner reference set to itself')
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise _no(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
    if not owner.get("controller"):
        raise _no(attributes, f'node "{node}" can only create pods with a controller owner reference set to itself')
    if owner.get("blockOwnerDeletion"):
        raise _no(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    own = api.store.latest("nodes", "", node)
    uid = own.obj["metadata"]["uid"] if own else ""
    if owner.get("uid") != uid:
        raise _no(attributes, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")
    # The annotation makes the graph blind for these references: they must not exist.
    plain = pod | {"metadata": metadata | {"annotations": {}}}
    for resource, _ in references(plain):
        noun = "a service account" if resource == "serviceaccounts" else resource
        raise _no(attributes, f'node "{node}" can not create pods that reference {noun}')


def _nodes(_: Api, node: str, attributes: Attributes) -> None:
    name = attributes.name or attributes.obj.get("metadata", {}).get("name", "")
    if name != node:
        raise _no(attributes, f'node "{node}" is not allowed to modify node "{name}"')
    if attributes.operation == "CREATE":
        if refused := _refused_labels(_labels(attributes.obj), {}):
            raise _no(attributes, f'node "{node}" is not allowed to set the following labels: {", ".join(refused)}')
    elif attributes.operation == "UPDATE":
        old = attributes.old or {}
        if (attributes.obj.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
            raise _no(attributes, f'node "{node}" is not allowed to modify taints')
        if refused := _refused_labels(_labels(attributes.obj), _labels(old)):
            raise _no(attributes, f"is not allowed to modify labels: {', '.join(refused)}")


def _claims(_: Api, node: str, attributes: Attributes) -> None:
    if attributes.subresource != "status" or attributes.operation != "UPDATE":
        raise _no(attributes, "may only update PVC status")
    if _without_progress(attributes.obj) != _without_progress(attributes.old or {}):
        why = f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'
        raise _no(attributes, why)


def _accounts(api: Api, node: str, attributes: Attributes) -> None:
    if attributes.subresource != "token":
        return
    ref = (attributes.obj.get("spec") or {}).get("boundObjectRef") or {}
    if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
        raise _no(attributes, "node requested token not bound to a pod")
    if not ref.get("uid"):
        raise _no(attributes, "node requested token with a pod binding without a uid")
    pod = api.store.latest("pods", attributes.namespace, ref["name"])
    if pod is None:
        from fairlead.api.resources import PODS

        raise not_found(PODS, ref["name"])
    if pod.obj["metadata"]["uid"] != ref["uid"]:
        why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
        raise _no(attributes, why + "The object might have been deleted and then recreated")
    if _node_of(pod.obj) != node:
        raise _no(attributes, "node requested token bound to a pod scheduled on a different node")
    # Tokens for other receivers than the API server are those that the pod's own volumes ask for.
    for audience in (attributes.obj.get("spec") or {}).get("audiences") or ():
        if audience not in _audiences(pod.obj):
            why = (
                f'audience "{audience}" not found in pod spec volume, {attributes.identity.user} is not authorized to '
            )
            raise _no(attributes, why + "request tokens for this audience")


def _leases(_: Api, node: str, attributes: Attributes) -> None:
    if attributes.namespace != "kube-node-lease":
        raise _no(attributes, 'can only access leases in the "kube-node-lease" system namespace')
    _own_name(node, attributes, "node lease")


def _csi_nodes(_: Api, node: str, attributes: Attributes) -> None:
    _own_name(node, attributes, "CSINode")


def _own_name(node: str, attributes: Attributes, noun: str) -> None:
    if (attributes.name or attributes.obj.get("metadata", {}).get("name")) != node:
        raise _no(attributes, f"can only access {noun} with the same name as the requesting node")


_JUDGES: Mapping[str, Callable[[Api, str, Attributes], None]] = {
    "pods": _pods,
    "nodes": _nodes,
    "persistentvolumeclaims": _claims,
    "serviceaccounts": _accounts,
    "coordination.k8s.io/leases": _leases,
    "storage.k8s.io/csinodes": _csi_nodes,
}


def _node_of(pod: Json | None) -> str:
    return ((pod or {}).get("spec") or {}).get("nodeName") or ""


def _labels(obj: Json) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def _refused_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Return the changed labels that are not a kubelet's to set."""
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
    return sorted(key for key in changed if not _allowed(key))


def _allowed(label: str) -> bool:
    namespace = label.partition("/")[0] if "/" in label else ""
    if _within(namespace, (_ISOLATED,)):
        return False
    reserved = _within(namespace, ("kubernetes.io", "k8s.io"))
    return not reserved or label in _KUBELET_LABELS or _within(namespace, _KUBELET_NAMESPACES)


def _within(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)


def _without_progress(claim: Json) -> Json:
    hidden = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    metadata = {
        key: value
        for key, value in (claim.get("metadata") or {}).items()
        if key not in ("resourceVersion", "managedFields")
    }
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in hidden}
    return claim | {"metadata": metadata, "status": status}


def _audiences(pod: Json) -> set[str]:
    return {
        (source.get("serviceAccountToken") or {}).get("audience") or ""
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
    }
