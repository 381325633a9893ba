"""Defaults of configuration, storage, access and extension kinds.

Source: kube-apiserver core/v1, storage.k8s.io/v1, rbac, admissionregistration.k8s.io/v1, apiextensions.k8s.io/v1 defaults.
"""

from __future__ import annotations

import base64
from typing import Any

Object = dict[str, Any]

NAME_LABEL = "kubernetes.io/metadata.name"
_RBAC = "rbac.authorization.k8s.io"


def default_namespace(obj: Object) -> None:
    """Give a Namespace the label with its own name."""
    if name := obj["metadata"].get("name"):
        obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name


def default_secret(obj: Object) -> None:
    """Fill in a Secret; stringData joins data and vanishes."""
    obj.setdefault("type", "Opaque")
    text = obj.pop("stringData", None)
    if text:
        data = obj.setdefault("data", {})
        for key, value in text.items():
            data[key] = base64.b64encode(value.encode()).decode()


def default_volume(obj: Object) -> None:
    """Fill in a PersistentVolume."""
    spec = obj["spec"]
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if (path := spec.get("hostPath")) is not None:
        path.setdefault("type", "")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def default_storage_class(obj: Object) -> None:
    """Fill in a StorageClass."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def default_csi_driver(obj: Object) -> None:
    """Fill in a CSIDriver."""
    spec = obj["spec"]
    spec.setdefault("attachRequired", True)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        spec.setdefault(name, False)
    spec.setdefault("volumeLifecycleModes", ["Persistent"])


def default_priority_class(obj: Object) -> None:
    """Fill in a PriorityClass."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_binding(obj: Object) -> None:
    """Fill in a RoleBinding or ClusterRoleBinding."""
    reference = obj.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = _RBAC
    for subject in obj.get("subjects", ()):
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def default_limit_range(obj: Object) -> None:
    """Fill in a LimitRange: a container's default is its maximum, its default request that or the minimum."""
    for item in obj["spec"].get("limits") or ():
        if item.get("type") != "Container":
            continue
        limits = dict(item.get("max", {})) | item.get("default", {})
        requests = dict(item.get("min", {})) | limits | item.get("defaultRequest", {})
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def default_node(obj: Object) -> None:
    """Fill in a Node: what is allocatable is the capacity unless said."""
    status = obj.get("status", {})
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def default_webhooks(obj: Object) -> None:
    """Fill in a webhook configuration of either sort."""
    for webhook in obj.get("webhooks", ()):
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("timeoutSeconds", 10)
        _match_defaults(webhook)
        if obj.get("kind") == "MutatingWebhookConfiguration":
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in webhook.get("rules", ()):
            rule.setdefault("scope", "*")
        service = webhook.get("clientConfig", {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def _match_defaults(target: Object) -> None:
    target.setdefault("matchPolicy", "Equivalent")
    target.setdefault("namespaceSelector", {})
    target.setdefault("objectSelector", {})


def default_admission_policy(obj: Object) -> None:
    """Fill in a ValidatingAdmissionPolicy."""
    spec = obj["spec"]
    spec.setdefault("failurePolicy", "Fail")
    constraints = spec.get("matchConstraints")
    if constraints is not None:
        _match_defaults(constraints)
        for rule in (*constraints.get("resourceRules", ()), *constraints.get("excludeResourceRules", ())):
            rule.setdefault("scope", "*")


def default_admission_policy_binding(obj: Object) -> None:
    """Fill in a ValidatingAdmissionPolicyBinding."""
    resources = obj["spec"].get("matchResources")
    if resources is not None:
        _match_defaults(resources)
        for rule in (*resources.get("resourceRules", ()), *resources.get("excludeResourceRules", ())):
            rule.setdefault("scope", "*")
    parameters = obj["spec"].get("paramRef")
    if parameters is not None:
        parameters.setdefault("parameterNotFoundAction", "Deny")


def default_crd(obj: Object) -> None:
    """Fill in a CustomResourceDefinition."""
    spec = obj["spec"]
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if kind:
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind"):
            names["listKind"] = f"{kind}List"
    conversion = spec.setdefault("conversion", {})
    conversion.setdefault("strategy", "None")
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
