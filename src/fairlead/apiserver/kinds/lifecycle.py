"""What the server itself sets when an object is created or updated, whatever the client sent.

Source: the registry strategies of the kube-apiserver (PrepareForCreate, PrepareForUpdate).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.apiserver.kinds import wire
from fairlead.apiserver.kinds.cluster_defaults import NAME_LABEL
from fairlead.apiserver.kinds.registry import Kind
from fairlead.base.pod_resources import qos_class

Object = dict[str, Any]

_COUNTS_GENERATIONS = frozenset(
    {
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "ReplicationController",
        "Job",
        "CronJob",
        "Ingress",
        "IngressClass",
        "NetworkPolicy",
        "EndpointSlice",
        "PodDisruptionBudget",
        "CustomResourceDefinition",
        "PriorityClass",
        "PodTemplate",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)
_STATUS_KEPT_ON_CREATE = frozenset({"Node"})
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")


def prepare_for_create(kind: Kind, obj: Object) -> None:
    """Set first status and generation; jobs get their selector from metadata.uid, pods their quality-of-service class."""
    meta = obj.setdefault("metadata", {})
    for name in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        meta.pop(name, None)
    if kind.resource.kind in _COUNTS_GENERATIONS:
        meta["generation"] = 1
    if kind.has_status and kind.resource.kind not in _STATUS_KEPT_ON_CREATE:
        obj["status"] = {}
        wire.normalize(kind, obj)
    action = _ON_CREATE.get(kind.resource.kind)
    if action is not None:
        action(obj)


def _create_pod(obj: Object) -> None:
    obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}


def _create_namespace(obj: Object) -> None:
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    obj["status"] = {"phase": "Active"}


def _create_volume(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}


def _create_job(obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for key, value in (
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ):
        labels.setdefault(key, value)
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault("batch.kubernetes.io/controller-uid", uid)


def _create_service(obj: Object) -> None:
    spec = obj["spec"]
    families = [family for family in spec.get("ipFamilies", ()) if family in ("IPv4", "IPv6")]
    if families:
        spec["ipFamilies"] = families
    else:
        spec.pop("ipFamilies", None)
    if spec.get("clusterIP") and not spec.get("clusterIPs") and spec.get("type") != "ExternalName":
        spec["clusterIPs"] = [spec["clusterIP"]]


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _create_daemon_set(obj: Object) -> None:
    obj["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = "1"


_ON_CREATE: dict[str, Callable[[Object], None]] = {
    "DaemonSet": _create_daemon_set,
    "Service": _create_service,
    "Pod": _create_pod,
    "Namespace": _create_namespace,
    "PersistentVolumeClaim": _create_volume,
    "PersistentVolume": _create_volume,
    "Job": _create_job,
}


def prepare_for_update(kind: Kind, new: Object, old: Object) -> None:
    """Keep status and system metadata of `old`, carry allocated values over, and count a new generation if the rest changed."""
    _keep_system_metadata(new, old)
    if kind.has_status:
        _keep(new, old, "status")
    action = _ON_UPDATE.get(kind.resource.kind)
    if action is not None:
        action(new, old)
    if kind.resource.kind in _COUNTS_GENERATIONS and _desired(new) != _desired(old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _keep_system_metadata(new: Object, old: Object) -> None:
    meta, before = new.setdefault("metadata", {}), old.get("metadata", {})
    for name in _SYSTEM:
        given = meta.get(name)
        if name in before and (given is None or name not in ("uid", "creationTimestamp")):
            meta[name] = before[name]
        elif name not in before:
            meta.pop(name, None)


def _keep(new: Object, old: Object, part: str) -> None:
    if part in old:
        new[part] = old[part]
    else:
        new.pop(part, None)


def _desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def _update_namespace(new: Object, old: Object) -> None:
    if "finalizers" in old.get("spec", {}):
        new.setdefault("spec", {})["finalizers"] = old["spec"]["finalizers"]
    new["metadata"].setdefault("labels", {})[NAME_LABEL] = new["metadata"].get("name", "")


def _update_service(new: Object, old: Object) -> None:
    spec, before = new["spec"], old["spec"]
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            for name in ("clusterIP", "clusterIPs"):
                if name in before:
                    spec[name] = before[name]
        elif spec.get("clusterIP") and not spec.get("clusterIPs") and spec["clusterIP"] == before.get("clusterIP"):
            spec["clusterIPs"] = before.get("clusterIPs", [spec["clusterIP"]])
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if name in before:
                spec.setdefault(name, before[name])
    if _has_node_ports(spec) and _has_node_ports(before):
        known = {
            (port.get("name", ""), port.get("protocol"), port.get("port")): port["nodePort"]
            for port in before.get("ports", ())
            if port.get("nodePort")
        }
        taken = {port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")}
        for port in spec.get("ports", ()):
            number = known.get((port.get("name", ""), port.get("protocol"), port.get("port")))
            if number and not port.get("nodePort") and number not in taken:
                port["nodePort"] = number
    if (
        spec.get("type") == "LoadBalancer"
        and spec.get("externalTrafficPolicy") == "Local"
        and "healthCheckNodePort" in before
    ):
        spec.setdefault("healthCheckNodePort", before["healthCheckNodePort"])


def _has_node_ports(spec: Object) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def _update_secret(new: Object, old: Object) -> None:
    if not new.get("type"):
        new["type"] = old.get("type", "Opaque")


def _update_daemon_set(new: Object, old: Object) -> None:
    count = old["metadata"].get("annotations", {}).get(_TEMPLATE_GENERATION, "1")
    if new["spec"].get("template") != old["spec"].get("template") and count.isdecimal():
        count = str(int(count) + 1)
    new["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = count


_ON_UPDATE: dict[str, Callable[[Object, Object], None]] = {
    "DaemonSet": _update_daemon_set,
    "Namespace": _update_namespace,
    "Service": _update_service,
    "Secret": _update_secret,
}

_ALL_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
_METADATA_KEPT = {
    "Pod": ("ownerReferences",),
    "CustomResourceDefinition": _ALL_METADATA,
    "ValidatingAdmissionPolicy": _ALL_METADATA,
    "ServiceCIDR": _ALL_METADATA,
    **dict.fromkeys(("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "Ingress"), ("labels",)),
}
"""What of the metadata a status update leaves alone; upstream lets the rest through."""


def prepare_for_status_update(kind: Kind, new: Object, old: Object) -> None:
    """Keep everything of `old` but status and what of the metadata the kind lets through."""
    _keep_system_metadata(new, old)
    for part in list(new):
        if part not in ("metadata", "status", "apiVersion", "kind"):
            _keep(new, old, part)
    for part, value in old.items():
        if part != "status":
            new.setdefault(part, value)
    for name in _METADATA_KEPT.get(kind.resource.kind, ()):
        _keep(new["metadata"], old["metadata"], name)
