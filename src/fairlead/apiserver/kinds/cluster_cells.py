"""The rows of nodes, events, configuration, storage, access and extension kinds.

Source: the printers of the kube-apiserver.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fairlead.apiserver.kinds.ages import UNKNOWN, age, human
from fairlead.apiserver.kinds.workload_cells import NONE

Object = dict[str, Any]

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _meta(obj: Object) -> Object:
    meta: Object = obj.get("metadata", {})
    return meta


def _age(obj: Object, now: datetime) -> str:
    return age(_meta(obj).get("creationTimestamp"), now)


def node_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Node."""
    meta, status = _meta(obj), obj.get("status", {})
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if obj.get("spec", {}).get("unschedulable"):
        text += ",SchedulingDisabled"
    labels = meta.get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)} - {""}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    info = status.get("nodeInfo") or {}
    return [
        meta.get("name", ""),
        text,
        ",".join(sorted(roles)) or NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(status: Object, kind: str) -> str:
    return next((item.get("address", "") for item in status.get("addresses") or () if item.get("type") == kind), NONE)


def namespace_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Namespace."""
    return [_meta(obj).get("name", ""), obj.get("status", {}).get("phase", ""), _age(obj, now)]


def event_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of an Event, of the core or the events group."""
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    moment, series = obj.get("eventTime"), obj.get("series")
    count = obj.get("count") or obj.get("deprecatedCount") or 0
    first_seen = age(first or moment, now)
    last_seen = age(last, now) if last else first_seen
    if series is not None:
        last_seen = age(series.get("lastObservedTime"), now)
        count = series.get("count", count)
    elif not count:
        count = 1
    target = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host", "")
    return [
        last_seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{target.get('kind', '').lower()}/{target.get('name', '')}"
        if target.get("name")
        else target.get("kind", "").lower(),
        target.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        first_seen,
        count,
        _meta(obj).get("name", ""),
    ]


def config_map_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ConfigMap."""
    return [_meta(obj).get("name", ""), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def secret_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Secret."""
    return [_meta(obj).get("name", ""), obj.get("type", ""), len(obj.get("data") or ()), _age(obj, now)]


def service_account_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ServiceAccount."""
    return [_meta(obj).get("name", ""), len(obj.get("secrets") or ()), _age(obj, now)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Any) -> str:
    return ",".join(short for name, short in _MODES.items() if name in (modes or ()))


def volume_claim_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a PersistentVolumeClaim."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    bound = bool(spec.get("volumeName"))
    phase = "Terminating" if _meta(obj).get("deletionTimestamp") else status.get("phase", "")
    return [
        _meta(obj).get("name", ""),
        phase,
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        _age(obj, now),
        spec.get("volumeMode", "<unset>"),
    ]


def volume_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a PersistentVolume."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    claim = spec.get("claimRef")
    phase = "Terminating" if _meta(obj).get("deletionTimestamp") else status.get("phase", "")
    return [
        _meta(obj).get("name", ""),
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        _age(obj, now),
        spec.get("volumeMode", "<unset>"),
    ]


def resource_quota_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ResourceQuota: used and hard of every resource, limits apart."""
    status = obj.get("status", {})
    requests: list[str] = []
    limits: list[str] = []
    for name, hard in sorted((status.get("hard") or {}).items()):
        text = f"{name}: {(status.get('used') or {}).get(name, '0')}/{hard}"
        (limits if name.startswith("limits") else requests).append(text)
    return [_meta(obj).get("name", ""), ", ".join(requests), ", ".join(limits), _age(obj, now)]


def name_and_age_cells(obj: Object, now: datetime) -> list[Any]:
    """Return name and age."""
    return [_meta(obj).get("name", ""), _age(obj, now)]


def name_and_creation_cells(obj: Object, now: datetime) -> list[Any]:
    """Return name and moment of creation."""
    return [_meta(obj).get("name", ""), _meta(obj).get("creationTimestamp", "")]


def lease_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Lease."""
    return [_meta(obj).get("name", ""), obj.get("spec", {}).get("holderIdentity", ""), _age(obj, now)]


def binding_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a RoleBinding or ClusterRoleBinding."""
    reference, subjects = obj.get("roleRef", {}), obj.get("subjects") or ()
    users = ", ".join(s.get("name", "") for s in subjects if s.get("kind") == "User")
    groups = ", ".join(s.get("name", "") for s in subjects if s.get("kind") == "Group")
    accounts = ", ".join(
        f"{s.get('namespace', '')}/{s.get('name', '')}" for s in subjects if s.get("kind") == "ServiceAccount"
    )
    role = f"{reference.get('kind', '')}/{reference.get('name', '')}"
    return [_meta(obj).get("name", ""), role, _age(obj, now), users, groups, accounts]


_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def storage_class_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a StorageClass."""
    name = _meta(obj).get("name", "")
    if (_meta(obj).get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
        name += " (default)"
    policy, mode = obj.get("reclaimPolicy", "Delete"), obj.get("volumeBindingMode", "Immediate")
    return [name, obj.get("provisioner", ""), policy, mode, bool(obj.get("allowVolumeExpansion")), _age(obj, now)]


def priority_class_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a PriorityClass."""
    return [
        _meta(obj).get("name", ""),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        _age(obj, now),
        obj.get("preemptionPolicy", "PreemptLowerPriority"),
    ]


def runtime_class_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a RuntimeClass."""
    return [_meta(obj).get("name", ""), obj.get("handler", ""), _age(obj, now)]


def webhook_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a webhook configuration."""
    return [_meta(obj).get("name", ""), len(obj.get("webhooks") or ()), _age(obj, now)]


def admission_policy_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ValidatingAdmissionPolicy."""
    spec = obj.get("spec", {})
    kind = spec.get("paramKind")
    parameter = "<unset>" if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"
    return [_meta(obj).get("name", ""), len(spec.get("validations") or ()), parameter, _age(obj, now)]


def admission_policy_binding_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ValidatingAdmissionPolicyBinding."""
    spec = obj.get("spec", {})
    reference = spec.get("paramRef")
    parameter = "<unset>"
    if reference is not None:
        name = reference.get("name", "")
        parameter = f"{reference['namespace']}/{name}" if reference.get("namespace") else name or "*"
    return [_meta(obj).get("name", ""), spec.get("policyName", ""), parameter, _age(obj, now)]


def signing_request_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a CertificateSigningRequest."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    states = [c.get("type", "") for c in status.get("conditions") or ()]
    condition = ",".join(states) or "Pending"
    if status.get("certificate"):
        condition += ",Issued"
    seconds = spec.get("expirationSeconds")
    return [
        _meta(obj).get("name", ""),
        _age(obj, now),
        spec.get("signerName", NONE),
        spec.get("username", ""),
        NONE if seconds is None else human(seconds),
        condition,
    ]


def csi_node_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a CSINode."""
    return [_meta(obj).get("name", ""), len(obj.get("spec", {}).get("drivers") or ()), _age(obj, now)]


def csi_driver_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a CSIDriver."""
    spec = obj.get("spec", {})
    tokens = ",".join(item.get("audience", "") for item in spec.get("tokenRequests") or ()) or "<unset>"
    return [
        _meta(obj).get("name", ""),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        tokens,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()),
        _age(obj, now),
    ]


def volume_attachment_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a VolumeAttachment."""
    spec = obj.get("spec", {})
    return [
        _meta(obj).get("name", ""),
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool(obj.get("status", {}).get("attached")),
        _age(obj, now),
    ]
