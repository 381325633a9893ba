"""What objects take from a ResourceQuota. Pure: the API server asks before it stores an object, a controller sums up what is there.

Source: core/v1 ResourceQuota; kubernetes.io, "Resource Quotas"; the evaluators in k8s.io/kubernetes/pkg/quota/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from fairlead.base import pod_resources, quantity

Json = dict[str, Any]
Amounts = dict[str, str]
"""Resource → amount as the API writes it."""

COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
    }
)
_NODE_PORTS = ("NodePort", "LoadBalancer")


def collection_of(resource: str) -> str:
    """Return the collection (`pods`, `deployments.apps`) whose objects are charged for a resource of a quota."""
    if resource.startswith("count/"):
        return resource.removeprefix("count/")
    if resource in _COUNTED:
        return resource
    if resource.startswith("services."):
        return "services"
    if resource == "requests.storage" or ".storageclass.storage.k8s.io/" in resource:
        return "persistentvolumeclaims"
    return "pods"


def charges(collection: str, obj: Json) -> Amounts:
    """Return what an object of `collection` takes, by the names that quotas use."""
    found: Amounts = {f"count/{collection}": "1"}
    if collection == "pods":
        if (obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            found |= _pod(obj["spec"])
        return found
    if collection in _COUNTED:
        found[collection] = "1"
    if collection == "services":
        found |= _service(obj["spec"])
    elif collection == "persistentvolumeclaims":
        found |= _claim(obj)
    return found


def _pod(spec: Json) -> Amounts:
    found: Amounts = {"pods": "1"}
    for name, amount in needs(spec, "requests").items():
        found[f"requests.{name}"] = amount
        if name in COMPUTE:
            found[name] = amount
    for name, amount in needs(spec, "limits").items():
        found[f"limits.{name}"] = amount
    return found


def needs(spec: Json, kind: str) -> Amounts:
    """Return the requests or limits (`kind`) of a pod at its greatest, with its overhead."""
    texts: dict[str, list[str]] = {}

    def of_container(container: Json) -> Mapping[str, Fraction]:
        stated = (container.get("resources") or {}).get(kind) or {}
        for name, text in stated.items():
            texts.setdefault(name, []).append(str(text))
        return {name: quantity.parse(text) for name, text in stated.items()}

    total = pod_resources.peak(spec, of_container)
    for name, text in (spec.get("overhead") or {}).items():
        if kind == "requests" or name in total:
            total[name] = total.get(name, Fraction(0)) + quantity.parse(text)
            texts.setdefault(name, []).append(str(text))
    return {name: quantity.written_as(number, texts[name]) for name, number in total.items()}


def _service(spec: Json) -> Amounts:
    found: Amounts = {}
    kind = spec.get("type")
    if kind == "LoadBalancer":
        found["services.loadbalancers"] = "1"
    allocates = kind == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
    ports = spec.get("ports") or ()
    if kind in _NODE_PORTS:
        # A balancer without node ports of its own may still name some.
        found["services.nodeports"] = str(sum(1 for port in ports if allocates or port.get("nodePort")))
    return found


def _claim(claim: Json) -> Amounts:
    spec = claim["spec"]
    requests = (spec.get("resources") or {}).get("requests") or {}
    found: Amounts = {}
    if "storage" in requests:
        found["requests.storage"] = str(requests["storage"])
    if name := spec.get("storageClassName"):
        prefix = f"{name}.storageclass.storage.k8s.io/"
        found |= {prefix + key: amount for key, amount in found.items()}
        found[f"{prefix}persistentvolumeclaims"] = "1"
    return found


def covers(quota: Json, collection: str, obj: Json) -> bool:
    """Tell whether the scopes of a quota include an object; only pods have scopes."""
    spec = quota.get("spec") or {}
    wanted = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not wanted:
        return True
    return collection == "pods" and all(_in_scope(one, obj["spec"]) for one in wanted)


def _in_scope(requirement: Json, spec: Json) -> bool:
    match requirement.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return pod_resources.qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return pod_resources.qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _selects(requirement, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return any(
                term.get("namespaces") or term.get("namespaceSelector") is not None for term in _affinity_terms(spec)
            )
        case _:
            return False


def _selects(requirement: Json, value: str) -> bool:
    values = requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "DoesNotExist":
            return not value
        case _:
            return bool(value)


def _affinity_terms(spec: Json) -> Iterable[Json]:
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        yield from affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def total(found: Iterable[Amounts], names: Iterable[str]) -> Amounts:
    """Return the sum for each of `names`, zero where nothing is taken."""
    texts: dict[str, list[str]] = {name: [] for name in names}
    for amounts in found:
        for name, amount in amounts.items():
            if name in texts:
                texts[name].append(amount)
    return {
        name: quantity.written_as(sum(map(quantity.parse, given), Fraction(0)), given) for name, given in texts.items()
    }
