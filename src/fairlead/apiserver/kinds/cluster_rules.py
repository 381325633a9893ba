"""The rules of configuration, storage, access and extension kinds.

Source: kube-apiserver core, rbac, storage, coordination, scheduling and apiextensions validation.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import check_label_selector, immutable
from fairlead.apiserver.kinds.field_error import (
    FieldError,
    GoLiteral,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
)
from fairlead.base import quantity

Object = dict[str, Any]

DATA_LIMIT_BYTES = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


def _keys(data: Object, field: str) -> list[FieldError]:
    return [invalid(f"{field}[{key}]", key, text) for key in sorted(data) for text in formats.config_key(key)]


def check_config_map(obj: Object) -> list[FieldError]:
    """Check a ConfigMap."""
    data, binary = obj.get("data", {}), obj.get("binaryData", {})
    errors = _keys(data, "data")
    errors += [
        invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in sorted(data) if key in binary
    ]
    errors += _keys(binary, "binaryData")
    size = sum(len(value.encode()) for value in data.values()) + sum(len(value) * 3 // 4 for value in binary.values())
    if size > DATA_LIMIT_BYTES:
        errors.append(too_long("", DATA_LIMIT_BYTES))
    return errors


def check_config_map_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed ConfigMap; an immutable one stays."""
    errors: list[FieldError] = []
    if old.get("immutable"):
        if not new.get("immutable"):
            errors.append(forbidden("immutable", _FROZEN))
        errors += [forbidden(name, _FROZEN) for name in ("data", "binaryData") if new.get(name) != old.get(name)]
    return errors + check_config_map(new)


_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT = "kubernetes.io/service-account.name"


def check_secret(obj: Object) -> list[FieldError]:
    """Check a Secret and the keys that its type demands."""
    data, kind = obj.get("data", {}), obj.get("type", "")
    errors = _keys(data, "data")
    if sum(len(value) * 3 // 4 for value in data.values()) > DATA_LIMIT_BYTES:
        errors.append(too_long("data", DATA_LIMIT_BYTES))
    if kind == "kubernetes.io/service-account-token":
        if not obj.get("metadata", {}).get("annotations", {}).get(_ACCOUNT):
            errors.append(required(f"metadata.annotations[{_ACCOUNT}]"))
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errors += [required("data[username]"), required("data[password]")]
    else:
        errors += [required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    return errors


def check_secret_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed Secret; its type stays, and an immutable one altogether."""
    errors = immutable(new.get("type"), old.get("type"), "type")
    if old.get("immutable"):
        if not new.get("immutable"):
            errors.append(forbidden("immutable", _FROZEN))
        if new.get("data") != old.get("data"):
            errors.append(forbidden("data", _FROZEN))
    return errors + check_secret(new)


def check_node(obj: Object) -> list[FieldError]:
    """Check a Node: taints and pod networks."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints", ())):
        where = f"spec.taints[{index}]"
        key, effect = taint.get("key", ""), taint.get("effect", "")
        errors += [invalid(f"{where}.key", key, text) for text in formats.qualified_name(key)]
        errors += [
            invalid(f"{where}.value", taint.get("value", ""), t) for t in formats.label_value(taint.get("value", ""))
        ]
        if not effect:
            errors.append(required(f"{where}.effect"))
        elif effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            errors.append(not_supported(f"{where}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute")))
        if (key, effect) in seen:
            errors.append(duplicate(where, taint))
        seen.add((key, effect))
    networks = spec.get("podCIDRs", [])
    for index, text in enumerate(networks):
        if formats.parse_cidr(text) is None:
            errors.append(
                invalid(
                    f"spec.podCIDRs[{index}]", text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                )
            )
    families = [network.version for text in networks if (network := formats.parse_cidr(text)) is not None]
    if len(families) != len(set(families)):
        text = "must specify no more than one CIDR for each IP family"
        errors.append(invalid("spec.podCIDRs", networks, text))
    return errors


def check_node_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed Node; pod networks and provider stay once set."""
    errors: list[FieldError] = []
    spec, before = new.get("spec", {}), old.get("spec", {})
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        errors.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        errors.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    return errors + check_node(new)


def check_lease(obj: Object) -> list[FieldError]:
    """Check a Lease."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        errors.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    if spec.get("holderIdentity") == "":
        errors.append(invalid("spec.holderIdentity", "", "must not be empty"))
    return errors


def check_volume_claim(obj: Object) -> list[FieldError]:
    """Check a PersistentVolumeClaim."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    modes = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
    if not spec.get("accessModes"):
        errors.append(required("spec.accessModes", "at least 1 access mode is required"))
    errors += [
        not_supported("spec.accessModes", mode, modes) for mode in spec.get("accessModes", ()) if mode not in modes
    ]
    errors += check_label_selector(spec.get("selector"), "spec.selector")
    storage = spec.get("resources", {}).get("requests", {}).get("storage")
    if storage is None:
        errors.append(required("spec.resources[storage]"))
    elif quantity.parse(storage) <= 0:
        errors.append(invalid("spec.resources[storage]", storage, "must be greater than zero"))
    return errors


def check_volume_claim_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed claim; a bound one may only grow."""
    mutable = ("resources", "volumeAttributesClassName", "volumeName")
    kept, before = ({k: v for k, v in obj.get("spec", {}).items() if k not in mutable} for obj in (new, old))
    errors = check_volume_claim(new)
    if kept != before or old.get("spec", {}).get("volumeName") not in (None, "", new.get("spec", {}).get("volumeName")):
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        errors.append(forbidden("spec", text))
    return errors


def check_volume(obj: Object) -> list[FieldError]:
    """Check a PersistentVolume."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    if not spec.get("accessModes"):
        errors.append(required("spec.accessModes"))
    if not spec.get("capacity"):
        errors.append(required("spec.capacity"))
    return errors


def check_storage_class(obj: Object) -> list[FieldError]:
    """Check a StorageClass."""
    errors: list[FieldError] = [] if obj.get("provisioner") else [required("provisioner")]
    policy, mode = obj.get("reclaimPolicy"), obj.get("volumeBindingMode")
    if policy not in ("Delete", "Retain"):
        errors.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    if mode not in ("Immediate", "WaitForFirstConsumer"):
        errors.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return errors


def check_storage_class_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed StorageClass; what provisions stays."""
    errors = [
        forbidden(name, f"updates to {name} are forbidden.")
        for name in ("parameters", "provisioner", "reclaimPolicy")
        if new.get(name) != old.get(name)
    ]
    return errors + immutable(new.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode")


def check_priority_class(obj: Object) -> list[FieldError]:
    """Check a PriorityClass."""
    name, value = obj.get("metadata", {}).get("name", ""), obj.get("value", 0)
    errors: list[FieldError] = []
    builtin = ("system-cluster-critical", "system-node-critical")
    if name.startswith("system-") and name not in builtin:
        text = "priority class names with 'system-' prefix are reserved for system use only"
        errors.append(forbidden("metadata.name", f"{text}. error: {name} is not a known system priority class"))
    elif value > 1_000_000_000 and name not in builtin:
        text = "maximum allowed value of a user defined priority is 1000000000"
        errors.append(forbidden("value", text))
    if obj.get("preemptionPolicy") not in ("PreemptLowerPriority", "Never"):
        supported = ("PreemptLowerPriority", "Never")
        errors.append(not_supported("preemptionPolicy", obj.get("preemptionPolicy"), supported))
    return errors


def check_priority_class_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed PriorityClass; its value stays."""
    errors: list[FieldError] = []
    if new.get("value") != old.get("value"):
        errors.append(forbidden("value", "may not be changed in an update."))
    return errors + immutable(new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")


def check_role(obj: Object) -> list[FieldError]:
    """Check a Role."""
    return _policy_rules(obj.get("rules") or [], namespaced=True)


def check_cluster_role(obj: Object) -> list[FieldError]:
    """Check a ClusterRole."""
    errors = _policy_rules(obj.get("rules") or [], namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        selectors = aggregation.get("clusterRoleSelectors") or []
        if not selectors:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required("aggregationRule.clusterRoleSelectors", text))
        for index, selector in enumerate(selectors):
            errors += check_label_selector(selector, f"aggregationRule.clusterRoleSelectors[{index}]")
    return errors


def _policy_rules(rules: list[Object], *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        where = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(required(f"{where}.verbs", "verbs must contain at least one value"))
        urls = rule.get("nonResourceURLs", [])
        if urls:
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                errors.append(invalid(f"{where}.nonResourceURLs", _go_list(urls), text))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid(f"{where}.nonResourceURLs", _go_list(urls), text))
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{where}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{where}.resources", "resource rules must supply at least one resource"))
    return errors


def _go_list(items: list[str]) -> GoLiteral:
    return GoLiteral("[]string{" + ", ".join(map(quote, items)) + "}")


_RBAC = "rbac.authorization.k8s.io"


def check_role_binding(obj: Object) -> list[FieldError]:
    """Check a RoleBinding."""
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def check_cluster_role_binding(obj: Object) -> list[FieldError]:
    """Check a ClusterRoleBinding."""
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> list[FieldError]:
    reference = obj.get("roleRef", {})
    errors: list[FieldError] = []
    if reference.get("apiGroup") != _RBAC:
        errors.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), (_RBAC,)))
    if reference.get("kind") not in kinds:
        errors.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
    name = reference.get("name", "")
    if not name:
        errors.append(required("roleRef.name"))
    else:
        errors += [invalid("roleRef.name", name, text) for text in formats.path_segment(name)]
    for index, subject in enumerate(obj.get("subjects", ())):
        errors += _subject(subject, f"subjects[{index}]", namespaced=namespaced)
    return errors


def _subject(subject: Object, field: str, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    errors: list[FieldError] = [] if name else [required(f"{field}.name")]
    match kind:
        case "ServiceAccount":
            if name:
                errors += [invalid(f"{field}.name", name, text) for text in formats.dns_subdomain(name)]
            if group:
                errors.append(not_supported(f"{field}.apiGroup", group, ("",)))
            if not namespaced and not subject.get("namespace"):
                errors.append(required(f"{field}.namespace"))
        case "User" | "Group":
            if group != _RBAC:
                errors.append(not_supported(f"{field}.apiGroup", group, (_RBAC,)))
        case _:
            errors.append(not_supported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group")))
    return errors


def check_role_binding_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed RoleBinding; the role stays."""
    return check_role_binding(new) + _role_kept(new, old)


def check_cluster_role_binding_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed ClusterRoleBinding; the role stays."""
    return check_cluster_role_binding(new) + _role_kept(new, old)


def _role_kept(new: Object, old: Object) -> list[FieldError]:
    reference = new.get("roleRef", {})
    if reference == old.get("roleRef"):
        return []
    shown = ", ".join(
        f"{go}:{quote(reference.get(name, ''))}"
        for go, name in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
    )
    return [invalid("roleRef", GoLiteral(f"rbac.RoleRef{{{shown}}}"), "cannot change roleRef")]
