"""The EndpointSlices of a Service: from what should be and what is there to the fewest writes.

Pure. An endpoint stays in the slice that it is in, so that a changed pod touches one slice. Source: discovery.k8s.io/v1, KEP-752.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.api.resources import ENDPOINTSLICES, SERVICES
from fairlead.controllers import ownership
from fairlead.controllers.actions import Action, Create, Delete, Replace
from fairlead.controllers.endpoints import desired
from fairlead.controllers.endpoints.desired import Family, Identity, PortKey

Json = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"

MOST = 100
"""Endpoints per slice."""

_RESERVED = frozenset({SERVICE_NAME, MANAGED_BY, HEADLESS})


def is_ours(endpoint_slice: Json) -> bool:
    """Tell whether the slice is kept by this controller."""
    labels = endpoint_slice["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == MANAGER and "deletionTimestamp" not in endpoint_slice["metadata"]


def reconcile(
    service: Json,
    pods: Iterable[Json],
    existing: Sequence[Json],
    zones: Mapping[str, str],
    *,
    trigger_time: str | None,
) -> list[Action]:
    """Return the writes that make the slices of `service` true.

    `pods` are those that its selector matches, `existing` its slices of ours, `zones` maps nodes to zones, `trigger_time` is when the change
    happened that led here.
    """
    wanted = desired.endpoints(service, pods, zones)
    for family in desired.families(service):
        if not any(group[0] == family for group in wanted):
            # An empty slice says that we looked and found nothing.
            wanted[family, ()] = {}
    present: dict[tuple[Family, PortKey], list[Json]] = {}
    for endpoint_slice in existing:
        present.setdefault((endpoint_slice["addressType"], ports_of(endpoint_slice)), []).append(endpoint_slice)
    actions: list[Action] = []
    for group, members in wanted.items():
        actions += _group(service, group, members, present.get(group, []), trigger_time)
    superfluous = [found for group, members in present.items() if group not in wanted for found in members]
    return _reuse(actions, superfluous)


def _reuse(actions: Sequence[Action], superfluous: Sequence[Json]) -> list[Action]:
    """Return the actions with slices of groups that are gone rewritten instead of deleted beside a creation: one watch event, not two."""
    left = list(superfluous)
    result: list[Action] = []
    for action in actions:
        if isinstance(action, Create):
            made = action.obj
            found = next((old for old in left if old["addressType"] == made["addressType"]), None)
            if found is not None:
                left.remove(found)
                annotations = {
                    **(found["metadata"].get("annotations") or {}),
                    **made["metadata"].get("annotations", {}),
                }
                metadata = {**found["metadata"], **made["metadata"], "annotations": annotations}
                metadata["name"] = found["metadata"]["name"]
                result.append(Replace(ENDPOINTSLICES, {**found, **made, "metadata": metadata}))
                continue
        result.append(action)
    # Creations first: whoever reads between two writes finds an endpoint twice rather than not at all.
    return result + [Delete(ENDPOINTSLICES, found) for found in left]


def ports_of(endpoint_slice: Json) -> PortKey:
    """Return the ports of a slice as a key."""
    return tuple(
        sorted(
            (port.get("name") or "", port.get("protocol") or "TCP", port.get("port"), port.get("appProtocol") or "")
            for port in endpoint_slice.get("ports") or ()
        )
    )


def _group(
    service: Json,
    group: tuple[Family, PortKey],
    members: Mapping[Identity, Json],
    existing: Sequence[Json],
    trigger_time: str | None,
) -> list[Action]:
    left = dict(members)
    kept: list[tuple[Json, list[Json]]] = []
    for endpoint_slice in existing:
        endpoints = []
        for found in endpoint_slice.get("endpoints") or ():
            # An endpoint that occurs twice is left to the first slice.
            current = left.pop(desired.identity_of(found), None)
            if current is not None:
                endpoints.append(current)
        kept.append((endpoint_slice, endpoints))
    _fill(kept, list(left.values()), left)
    metadata = _metadata(service, group)
    actions: list[Action] = []
    remaining = list(left.values())
    actions += [
        _create(service, group, metadata, remaining[start : start + MOST], trigger_time)
        for start in range(0, len(remaining), MOST)
    ]
    occupied = [pair for pair in kept if pair[1]]
    if not members and not occupied and kept:
        # The last one stays as the empty slice.
        occupied = kept[:1]
    if not members and not kept:
        actions.append(_create(service, group, metadata, [], trigger_time))
    for endpoint_slice, endpoints in occupied:
        actions += _replace(endpoint_slice, endpoints, metadata, trigger_time)
    stay = {id(pair[0]) for pair in occupied}
    actions += [Delete(ENDPOINTSLICES, found) for found, _ in kept if id(found) not in stay]
    return actions


def _fill(kept: Sequence[tuple[Json, list[Json]]], new: Sequence[Json], left: dict[Identity, Json]) -> None:
    """Put new endpoints into slices: first those that are written anyway, then the fullest one that takes all the rest."""
    waiting = list(new)
    changed = [pair for pair in kept if pair[1] != (pair[0].get("endpoints") or [])]
    changed_ids = {id(pair[0]) for pair in changed}
    for _, endpoints in sorted(changed, key=lambda pair: -len(pair[1])):
        taken, waiting = waiting[: MOST - len(endpoints)], waiting[max(MOST - len(endpoints), 0) :]
        endpoints += taken
    if waiting:
        roomy = [pair for pair in kept if id(pair[0]) not in changed_ids and len(pair[1]) + len(waiting) <= MOST]
        if roomy:
            max(roomy, key=lambda pair: len(pair[1]))[1].extend(waiting)
            waiting = []
    stay = {desired.identity_of(found) for found in waiting}
    for identity in [identity for identity in left if identity not in stay]:
        del left[identity]


def _metadata(service: Json, group: tuple[Family, PortKey]) -> Json:
    labels = {key: value for key, value in (service["metadata"].get("labels") or {}).items() if key not in _RESERVED}
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if desired.is_headless(service):
        labels[HEADLESS] = ""
    return {"labels": labels, "ownerReferences": [ownership.reference_to(service, SERVICES)]}


def _create(
    service: Json, group: tuple[Family, PortKey], metadata: Json, endpoints: list[Json], trigger_time: str | None
) -> Create:
    family, ports = group
    annotations = {"annotations": {TRIGGER_TIME: trigger_time}} if trigger_time else {}
    return Create(
        ENDPOINTSLICES,
        {
            "apiVersion": ENDPOINTSLICES.api_version,
            "kind": ENDPOINTSLICES.kind,
            "metadata": {
                "generateName": service["metadata"]["name"] + "-",
                "namespace": service["metadata"]["namespace"],
                **metadata,
                **annotations,
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": [_port(port) for port in ports],
        },
    )


def _port(key: tuple[str, str, int | None, str]) -> Json:
    name, protocol, number, app_protocol = key
    port: Json = {"name": name, "protocol": protocol, "port": number}
    if app_protocol:
        port["appProtocol"] = app_protocol
    return port


def _replace(endpoint_slice: Json, endpoints: list[Json], metadata: Json, trigger_time: str | None) -> list[Action]:
    former = endpoint_slice["metadata"]
    changed = endpoints != (endpoint_slice.get("endpoints") or [])
    if not changed and (former.get("labels") or {}) == metadata["labels"]:
        return []
    annotations = dict(former.get("annotations") or {})
    if changed and trigger_time:
        annotations[TRIGGER_TIME] = trigger_time
    updated = {**former, **metadata} | ({"annotations": annotations} if annotations else {})
    return [Replace(ENDPOINTSLICES, {**endpoint_slice, "metadata": updated, "endpoints": endpoints})]
