"""What the scheduler reads of a pod and of a node, parsed once. Pure values.

Source: core/v1 PodSpec (affinity, tolerations, topologySpreadConstraints, resources) and Node; KEP-895, KEP-3243, KEP-753.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.base import quantity
from fairlead.base.pod_resources import peak
from fairlead.base.selectors import EVERYTHING, LabelSelector, Requirement, from_object, requirement
from fairlead.controllers import ownership, podstate

Json = dict[str, Any]
HostPort = tuple[str, str, int]
"""(address, protocol, port)"""

# What a container without a request is taken to need when nodes are compared (never when they are filtered).
_ASSUMED = {"cpu": 100, "memory": 200 * 2**20}


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """Requirements on a node's labels and fields, joined by AND; without any it matches no node."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, node: Node) -> bool:
        """Tell whether `node` satisfies all requirements."""
        if not self.labels and not self.fields:
            return False
        names = {"metadata.name": node.name}
        return all(each.matches(node.labels) for each in self.labels) and all(
            each.matches(names) for each in self.fields
        )


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Pods to be near to or far from: labels, namespaces (by name or by selector; None: none by selector), and the meaning of near."""

    selector: LabelSelector | None
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str


@dataclass(frozen=True, slots=True)
class Spread:
    """One topology spread constraint; `hard`: DoNotSchedule."""

    topology_key: str
    max_skew: int
    hard: bool
    selector: LabelSelector | None
    min_domains: int
    honors_affinity: bool
    honors_taints: bool


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the scheduler sees it. Requests: milli-CPU, bytes, or units by resource name."""

    key: tuple[str, str]
    uid: str
    labels: Mapping[str, str]
    node: str
    priority: int
    created: float
    scheduler: str
    gated: bool
    terminating: bool
    owner: str
    """The uid of its controller, or nothing."""
    requests: Mapping[str, int]
    assumed: Mapping[str, int]
    """CPU and memory with something assumed for containers that ask for nothing."""
    host_ports: frozenset[HostPort]
    node_selector: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    """Required node affinity: one must match; None where nothing is required."""
    node_preferences: tuple[tuple[int, NodeTerm], ...]
    tolerations: tuple[Json, ...]
    near: tuple[PodTerm, ...]
    far: tuple[PodTerm, ...]
    near_preferences: tuple[tuple[int, PodTerm], ...]
    far_preferences: tuple[tuple[int, PodTerm], ...]
    spreads: tuple[Spread, ...]
    claims: tuple[str, ...]
    """The PersistentVolumeClaims that it needs."""

    @property
    def namespace(self) -> str:
        """Return the namespace."""
        return self.key[0]


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler sees it; `taints` are (key, value, effect)."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    unschedulable: bool
    allocatable: Mapping[str, int]


def node_of(obj: Json) -> Node:
    """Return the facts of a Node object."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    amounts = status.get("allocatable") or status.get("capacity") or {}
    return Node(
        name=obj["metadata"]["name"],
        labels=obj["metadata"].get("labels") or {},
        taints=tuple((each["key"], each.get("value") or "", each["effect"]) for each in spec.get("taints") or ()),
        unschedulable=bool(spec.get("unschedulable")),
        allocatable=_amounts(amounts),
    )


def _amounts(texts: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for name, text in texts.items():
        # What a node says that nobody understands is as good as nothing.
        with contextlib.suppress(ValueError):
            found[name] = quantity.amount(name, text)
    return found


def pod_of(obj: Json) -> Pod:
    """Return the facts of a Pod object; raises ValueError (SelectorError included) for one that cannot be understood."""
    metadata, spec = obj["metadata"], obj["spec"]
    labels = metadata.get("labels") or {}
    namespace = metadata["namespace"]
    affinity = spec.get("affinity") or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    near, near_preferences = _pod_terms(affinity.get("podAffinity") or {}, namespace, labels)
    far, far_preferences = _pod_terms(affinity.get("podAntiAffinity") or {}, namespace, labels)
    return Pod(
        key=(namespace, metadata["name"]),
        uid=metadata["uid"],
        labels=labels,
        node=spec.get("nodeName") or "",
        priority=spec.get("priority") or 0,
        created=podstate.created_at(obj),
        scheduler=spec.get("schedulerName") or "default-scheduler",
        gated=bool(spec.get("schedulingGates")),
        terminating=podstate.is_terminating(obj),
        owner=ownership.controller_uid(obj) or "",
        requests=_requests(spec, {}),
        assumed=_requests(spec, _ASSUMED),
        host_ports=frozenset(_host_ports(spec)),
        node_selector=spec.get("nodeSelector") or {},
        node_terms=None if required is None else tuple(map(_node_term, required.get("nodeSelectorTerms") or ())),
        node_preferences=tuple(
            (each["weight"], _node_term(each["preference"]))
            for each in node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ),
        tolerations=tuple(spec.get("tolerations") or ()),
        near=near,
        far=far,
        near_preferences=near_preferences,
        far_preferences=far_preferences,
        spreads=tuple(_spread(each, labels) for each in spec.get("topologySpreadConstraints") or ()),
        claims=tuple(_claims(metadata["name"], spec)),
    )


def tolerates(tolerations: Sequence[Json], taint: tuple[str, str, str]) -> bool:
    """Tell whether one of the tolerations covers the taint (key, value, effect)."""
    key, value, effect = taint
    for each in tolerations:
        if each.get("effect") and each["effect"] != effect:
            continue
        if each.get("key") and each["key"] != key:
            continue
        if (each.get("operator") or "Equal") == "Exists" or (each.get("key") and (each.get("value") or "") == value):
            return True
    return False


def fits_node(pod: Pod, node: Node) -> bool:
    """Tell whether the node selector and the required node affinity allow the node."""
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.node_terms is None or any(term.matches(node) for term in pod.node_terms)


def repelling_taint(pod: Pod, node: Node) -> tuple[str, str, str] | None:
    """Return the first taint that keeps the pod off the node."""
    for taint in node.taints:
        if taint[2] in ("NoSchedule", "NoExecute") and not tolerates(pod.tolerations, taint):
            return taint
    return None


def _node_term(term: Json) -> NodeTerm:
    def requirements(entries: Iterable[Json] | None) -> tuple[Requirement, ...]:
        return tuple(requirement(each["key"], each["operator"], each.get("values") or ()) for each in entries or ())

    return NodeTerm(requirements(term.get("matchExpressions")), requirements(term.get("matchFields")))


def _pod_terms(
    affinity: Json, namespace: str, labels: Mapping[str, str]
) -> tuple[tuple[PodTerm, ...], tuple[tuple[int, PodTerm], ...]]:
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return (
        tuple(_pod_term(each, namespace, labels) for each in required),
        tuple((each["weight"], _pod_term(each["podAffinityTerm"], namespace, labels)) for each in preferred),
    )


def _pod_term(term: Json, namespace: str, labels: Mapping[str, str]) -> PodTerm:
    selected, names = term.get("namespaceSelector"), term.get("namespaces")
    namespaces = frozenset(names or (() if selected is not None else (namespace,)))
    selector = None
    if term.get("labelSelector") is not None:
        selector = _with_keys(from_object(term["labelSelector"]), term.get("matchLabelKeys"), labels, "In")
        selector = _with_keys(selector, term.get("mismatchLabelKeys"), labels, "NotIn")
    return PodTerm(
        selector=selector,
        namespaces=namespaces,
        namespace_selector=from_object(selected) if selected is not None else None,
        topology_key=term["topologyKey"],
    )


def _spread(entry: Json, labels: Mapping[str, str]) -> Spread:
    selector = None
    if entry.get("labelSelector") is not None:
        selector = _with_keys(from_object(entry["labelSelector"]), entry.get("matchLabelKeys"), labels, "In")
    return Spread(
        topology_key=entry["topologyKey"],
        max_skew=entry["maxSkew"],
        hard=entry.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=selector,
        min_domains=entry.get("minDomains") or 1,
        honors_affinity=(entry.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honors_taints=entry.get("nodeTaintsPolicy") == "Honor",
    )


def _with_keys(
    selector: LabelSelector, keys: Sequence[str] | None, labels: Mapping[str, str], operator: str
) -> LabelSelector:
    """Return the selector narrowed by the pod's own values of `keys`; keys that it lacks or that are there already do nothing."""
    extra = {requirement(key, operator, [labels[key]]) for key in keys or () if key in labels}
    if not extra:
        return selector
    return LabelSelector(tuple(sorted({*selector.requirements, *extra})))


def everything_if_none(selector: LabelSelector | None) -> LabelSelector:
    """Return a selector of everything in place of none."""
    return EVERYTHING if selector is None else selector


def _requests(spec: Json, assumed: Mapping[str, int]) -> dict[str, int]:
    """Return what the pod needs at its greatest, its overhead included; `assumed` is for containers that state nothing."""

    def of_container(container: Json) -> Mapping[str, int]:
        requests = (container.get("resources") or {}).get("requests") or {}
        return {**assumed, **{name: quantity.amount(name, text) for name, text in requests.items()}}

    total = peak(spec, of_container)
    for name, text in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[name] = quantity.amount(name, text)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + quantity.amount(name, text)
    return total


def _host_ports(spec: Json) -> Iterable[HostPort]:
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port["containerPort"] if spec.get("hostNetwork") else 0)
            if number:
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", number


def _claims(name: str, spec: Json) -> Iterable[str]:
    for volume in spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral"):
            yield f"{name}-{volume['name']}"
