"""The Endpoints object of a Service, for clients that do not read EndpointSlices. Pure. Source: core/v1 Endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairlead.api.resources import ENDPOINTS
from fairlead.controllers import podstate
from fairlead.controllers.actions import Action, Create, Replace
from fairlead.controllers.endpoints import desired
from fairlead.controllers.endpoints.desired import PortKey

Json = dict[str, Any]

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
_HEADLESS = "service.kubernetes.io/headless"
_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MOST = 1000


def reconcile(service: Json, pods: Iterable[Json], existing: Json | None, *, trigger_time: str | None) -> list[Action]:
    """Return the write that makes the Endpoints object of `service` true, if one is due."""
    subsets, truncated = _subsets(service, pods)
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), MANAGED_BY: MANAGER}
    if desired.is_headless(service):
        labels[_HEADLESS] = ""
    else:
        labels.pop(_HEADLESS, None)
    if existing is not None:
        former = existing["metadata"]
        if (existing.get("subsets") or []) == subsets and (former.get("labels") or {}) == labels:
            return []
        annotations = dict(former.get("annotations") or {})
    else:
        annotations = {}
    if trigger_time:
        annotations[_TRIGGER_TIME] = trigger_time
    if truncated:
        annotations[_OVER_CAPACITY] = "truncated"
    else:
        annotations.pop(_OVER_CAPACITY, None)
    obj: Json = {
        **(existing or {"apiVersion": "v1", "kind": "Endpoints"}),
        "metadata": {
            **(existing["metadata"] if existing is not None else {}),
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
        },
        "subsets": subsets,
    }
    return [Replace(ENDPOINTS, obj) if existing is not None else Create(ENDPOINTS, obj)]


def _subsets(service: Json, pods: Iterable[Json]) -> tuple[list[Json], bool]:
    family = desired.families(service)[0]
    anyway = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[PortKey, dict[bool, list[Json]]] = {}
    count = 0
    for pod in sorted(pods, key=lambda pod: pod["metadata"]["name"]):
        address = desired.address_of(pod, family)
        if address is None or podstate.is_finished(pod) or (podstate.is_terminating(pod) and not anyway):
            continue
        ports = desired.ports_of(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        count += 1
        if count > _MOST:
            continue
        ready = anyway or podstate.is_ready(pod)
        groups.setdefault(ports, {True: [], False: []})[ready].append(_address(service, pod, address))
    subsets = []
    for ports, by_readiness in sorted(groups.items()):
        subset: Json = {}
        for ready, field in ((True, "addresses"), (False, "notReadyAddresses")):
            if by_readiness[ready]:
                subset[field] = sorted(by_readiness[ready], key=lambda found: found["ip"])
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
        subsets.append(subset)
    return subsets, count > _MOST


def _address(service: Json, pod: Json, address: str) -> Json:
    metadata, spec = pod["metadata"], pod["spec"]
    found: Json = {"ip": address}
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        found["hostname"] = spec["hostname"]
    if spec.get("nodeName"):
        found["nodeName"] = spec["nodeName"]
    found["targetRef"] = {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return found


def _port(name: str, protocol: str, number: int | None, app_protocol: str) -> Json:
    port: Json = {"name": name} if name else {}
    port |= {"port": number, "protocol": protocol}
    if app_protocol:
        port["appProtocol"] = app_protocol
    return port
