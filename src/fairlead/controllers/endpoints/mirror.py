"""EndpointSlices of Endpoints objects that somebody wrote for a Service without a selector. Pure.

Source: KEP-0752, kube-controller-manager's endpointslicemirroring: who reads slices alone finds such endpoints, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from fairlead.api.resources import ENDPOINTS, ENDPOINTSLICES
from fairlead.controllers import ownership
from fairlead.controllers.actions import Action, Create, Delete, Replace
from fairlead.controllers.endpoints import desired
from fairlead.controllers.endpoints.slices import MANAGED_BY, MOST, SERVICE_NAME

Json = dict[str, Any]

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MOST_PER_SUBSET = 1000


def is_mirror(endpoint_slice: Json) -> bool:
    """Tell whether a slice is kept by this."""
    labels = endpoint_slice["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == MANAGER and "deletionTimestamp" not in endpoint_slice["metadata"]


def reconcile(service: Json | None, endpoints: Json | None, existing: Sequence[Json]) -> list[Action]:
    """Return the writes that make the mirrors of `endpoints` true; `existing` are the mirrors that there are."""
    wanted: list[Json] = []
    if service is not None and endpoints is not None and _is_mirrored(service, endpoints):
        wanted = _slices(endpoints)
    left = list(existing)
    actions: list[Action] = []
    for made in wanted:
        found = next((one for one in left if _same_group(one, made)), None)
        if found is None:
            actions.append(Create(ENDPOINTSLICES, made))
            continue
        left.remove(found)
        stated = {key: value for key, value in made["metadata"].items() if key != "generateName"}
        former = {key: value for key, value in found["metadata"].items() if key != "annotations"}
        metadata = {**former, **stated}
        updated = {**found, **made, "metadata": metadata}
        if updated != found:
            actions.append(Replace(ENDPOINTSLICES, updated))
    return actions + [Delete(ENDPOINTSLICES, one) for one in left]


def _is_mirrored(service: Json, endpoints: Json) -> bool:
    metadata = endpoints["metadata"]
    return (
        desired.selector_of(service) is None
        and service["spec"].get("type") != "ExternalName"
        and "deletionTimestamp" not in metadata
        and (metadata.get("labels") or {}).get(SKIP) != "true"
        and _LEADER not in (metadata.get("annotations") or {})
    )


def _same_group(one: Json, other: Json) -> bool:
    return bool(one["addressType"] == other["addressType"] and (one.get("ports") or []) == (other.get("ports") or []))


def _slices(endpoints: Json) -> list[Json]:
    found = []
    for subset in endpoints.get("subsets") or ():
        ports = [_port(port) for port in subset.get("ports") or ()]
        by_family: dict[str, list[Json]] = {"IPv4": [], "IPv6": []}
        addresses = [(True, each) for each in subset.get("addresses") or ()]
        addresses += [(False, each) for each in subset.get("notReadyAddresses") or ()]
        for ready, address in addresses[:_MOST_PER_SUBSET]:
            family = f"IPv{ipaddress.ip_address(address['ip']).version}"
            by_family[family].append(_endpoint(address, ready=ready))
        for family, members in by_family.items():
            found += [
                _slice(endpoints, family, members[start : start + MOST], ports)
                for start in range(0, len(members), MOST)
            ]
    return found


def _slice(endpoints: Json, family: str, members: list[Json], ports: list[Json]) -> Json:
    metadata = endpoints["metadata"]
    name = metadata["name"]
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _LAST_APPLIED}
    made: Json = {
        "generateName": f"{name}-",
        "namespace": metadata["namespace"],
        "labels": {**(metadata.get("labels") or {}), SERVICE_NAME: name, MANAGED_BY: MANAGER},
        "ownerReferences": [ownership.reference_to(endpoints, ENDPOINTS)],
    }
    if kept:
        made["annotations"] = kept
    return {
        "apiVersion": ENDPOINTSLICES.api_version,
        "kind": ENDPOINTSLICES.kind,
        "metadata": made,
        "addressType": family,
        "endpoints": members,
        "ports": ports,
    }


def _endpoint(address: Json, *, ready: bool) -> Json:
    found: Json = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for key in ("hostname", "nodeName", "targetRef"):
        if address.get(key):
            found[key] = address[key]
    return found


def _port(port: Json) -> Json:
    found: Json = {"name": port.get("name") or "", "protocol": port.get("protocol") or "TCP", "port": port["port"]}
    if port.get("appProtocol"):
        found["appProtocol"] = port["appProtocol"]
    return found
