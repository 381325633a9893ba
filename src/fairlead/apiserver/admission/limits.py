"""LimitRanges: what containers get that say nothing of their resources, and what no pod, container or claim may go beyond.

Source: the LimitRanger admission plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api
from fairlead.apiserver.errors import forbidden
from fairlead.base import quantity, quotas

Json = dict[str, Any]
Amounts = Mapping[str, Any]

TABLE = "limitranges"
_ANNOTATION = "kubernetes.io/limit-ranger"
_LIMITED = ("pods", "persistentvolumeclaims")


def set_default_limits(api: Api) -> Plugin:
    """Return the admission function that fills in requests and limits."""

    def admit(attributes: Attributes) -> None:
        if attributes.served.table != "pods" or not _is_new(attributes):
            return
        set_parts: list[str] = []
        for limits in _of_namespace(api, attributes.namespace):
            for item in limits:
                if item.get("type") == "Container":
                    set_parts += _fill(attributes.obj["spec"], item)
        if set_parts:
            annotations = attributes.obj["metadata"].setdefault("annotations", {})
            annotations[_ANNOTATION] = "LimitRanger plugin set: " + "; ".join(set_parts)

    return admit


def check_limits(api: Api) -> Plugin:
    """Return the admission function that refuses what is outside of the limits."""

    def admit(attributes: Attributes) -> None:
        if attributes.served.table not in _LIMITED or not _is_new(attributes):
            return
        for limits in _of_namespace(api, attributes.namespace):
            problems = [problem for item in limits for problem in _problems(attributes, item)]
            if problems:
                why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                raise forbidden(attributes.served.resource, attributes.name, why)

    return admit


def _is_new(attributes: Attributes) -> bool:
    return attributes.operation == "CREATE" and not attributes.subresource


def _of_namespace(api: Api, namespace: str) -> Iterator[list[Json]]:
    for entry in sorted(api.store.latest_entries(TABLE, namespace), key=lambda entry: entry.key):
        yield entry.obj["spec"].get("limits") or []


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for title, field in (("container", "containers"), ("init container", "initContainers")):
        for container in spec.get(field) or ():
            yield title, container


def _fill(spec: Json, item: Json) -> Iterator[str]:
    """Set what containers lack and yield what was set, as the annotation says it."""
    for title, container in _containers(spec):
        resources = container.setdefault("resources", {})
        for kind, source in (("requests", "defaultRequest"), ("limits", "default")):
            stated = resources.get(kind) or {}
            missing = {name: amount for name, amount in sorted((item.get(source) or {}).items()) if name not in stated}
            if missing:
                resources[kind] = {**stated, **missing}
                yield f"{', '.join(missing)} {kind[:-1]} for {title} {container['name']}"


def _problems(attributes: Attributes, item: Json) -> Iterator[str]:
    match (attributes.served.table, item.get("type")):
        case ("pods", "Container"):
            for _, container in _containers(attributes.obj["spec"]):
                resources = container.get("resources") or {}
                yield from _outside(item, "Container", resources.get("requests") or {}, resources.get("limits") or {})
        case ("pods", "Pod"):
            spec = attributes.obj["spec"]
            yield from _outside(item, "Pod", quotas.needs(spec, "requests"), quotas.needs(spec, "limits"))
        case ("persistentvolumeclaims", "PersistentVolumeClaim"):
            requests = (attributes.obj["spec"].get("resources") or {}).get("requests") or {}
            # A claim has no limits: what it requests is what it gets.
            yield from _outside(item, "PersistentVolumeClaim", requests, requests)


def _outside(item: Json, title: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in sorted((item.get("min") or {}).items()):
        yield from _below(
            f"minimum {name} usage per {title} is {quantity.canonical(bound)}", name, bound, requests, limits
        )
    for name, bound in sorted((item.get("max") or {}).items()):
        yield from _above(
            f"maximum {name} usage per {title} is {quantity.canonical(bound)}", name, bound, requests, limits
        )
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        rule = f"{name} max limit to request ratio per {title} is {quantity.canonical(bound)}"
        yield from _stretched(rule, name, bound, requests, limits)


def _below(rule: str, name: str, bound: Any, requests: Amounts, limits: Amounts) -> Iterator[str]:
    if name not in requests:
        yield f"{rule}.  No request is specified"
    elif _is_less(requests[name], bound):
        yield f"{rule}, but request is {quantity.canonical(requests[name])}"
    elif name in limits and _is_less(limits[name], bound):
        yield f"{rule}, but limit is {quantity.canonical(limits[name])}"


def _above(rule: str, name: str, bound: Any, requests: Amounts, limits: Amounts) -> Iterator[str]:
    if name not in limits:
        yield f"{rule}.  No limit is specified"
    elif _is_less(bound, limits[name]):
        yield f"{rule}, but limit is {quantity.canonical(limits[name])}"
    elif name in requests and _is_less(bound, requests[name]):
        yield f"{rule}, but request is {quantity.canonical(requests[name])}"


def _stretched(rule: str, name: str, bound: Any, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = (quantity.parse(amounts.get(name, "0")) for amounts in (requests, limits))
    if not request:
        yield f"{rule}, but no request is specified or request is 0"
    elif not limit:
        yield f"{rule}, but no limit is specified or limit is 0"
    elif limit / request > quantity.parse(bound):
        yield f"{rule}, but provided ratio is {float(limit / request):f}"


def _is_less(one: Any, other: Any) -> bool:
    return quantity.parse(one) < quantity.parse(other)
