"""The endpoints that a Service should have, by address family and resolved ports. Pure.

Source: discovery.k8s.io/v1 EndpointSlice; KEP-1672 (terminating endpoints), KEP-4444 (traffic distribution).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from fairlead.base.selectors import LabelSelector, from_labels
from fairlead.controllers import podstate

Json = dict[str, Any]
Family = Literal["IPv4", "IPv6"]
PortKey = tuple[tuple[str, str, int | None, str], ...]
"""(name, protocol, port, appProtocol) of each port, sorted; what slices are grouped by."""
Identity = tuple[str, str]
"""(uid of the pod, address)."""

ZONE = "topology.kubernetes.io/zone"


def selector_of(service: Json) -> LabelSelector | None:
    """Return the selector of a Service whose endpoints are ours to make; None for ExternalName and for those without one."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or not spec.get("selector"):
        return None
    return from_labels(spec["selector"])


def families(service: Json) -> tuple[Family, ...]:
    """Return the address families of a Service, the primary one first."""
    given = tuple(service["spec"].get("ipFamilies") or ())
    if given:
        return given
    address = service["spec"].get("clusterIP") or ""
    return ("IPv6",) if ":" in address else ("IPv4",)


def is_headless(service: Json) -> bool:
    """Tell whether clients are given the addresses of the pods."""
    return bool(service["spec"].get("clusterIP") == "None")


def address_of(pod: Json, family: Family) -> str | None:
    """Return the pod's first address of `family`."""
    status = pod.get("status", {})
    for entry in status.get("podIPs") or [{"ip": status.get("podIP", "")}]:
        address: str = entry.get("ip") or ""
        if address and (":" in address) == (family == "IPv6"):
            return address
    return None


def ports_of(service: Json, pod: Json) -> PortKey:
    """Return the ports of the Service as numbers of this pod; a named port that the pod lacks is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _number(port.get("targetPort") or port["port"], protocol, pod)
        if number is not None:
            found.append((port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(sorted(found))


def _number(target: int | str, protocol: str, pod: Json) -> int | None:
    if isinstance(target, int):
        return target
    spec = pod["spec"]
    sidecars = (found for found in spec.get("initContainers") or () if found.get("restartPolicy") == "Always")
    for container in (*spec["containers"], *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return int(target) if target.isdecimal() else None


def endpoint(service: Json, pod: Json, address: str, zones: Mapping[str, str]) -> Json:
    """Return the endpoint of a pod; `zones` maps node names to their zones."""
    metadata, spec = pod["metadata"], pod["spec"]
    serving, terminating = podstate.is_ready(pod), podstate.is_terminating(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    found: Json = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
    node = spec.get("nodeName")
    if node:
        found["nodeName"] = node
        if zones.get(node):
            found["zone"] = zones[node]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        found["hostname"] = spec["hostname"]
    hints = _hints(service, found) if ready else None
    if hints:
        found["hints"] = hints
    return found


def _hints(service: Json, found: Json) -> Json | None:
    wish = service["spec"].get("trafficDistribution")
    if wish in ("PreferClose", "PreferSameZone"):
        return {"forZones": [{"name": found["zone"]}]} if "zone" in found else None
    if wish == "PreferSameNode" and "nodeName" in found:
        zones = {"forZones": [{"name": found["zone"]}]} if "zone" in found else {}
        return {"forNodes": [{"name": found["nodeName"]}], **zones}
    return None


def identity_of(found: Json) -> Identity:
    """Return what makes two versions of an endpoint the same endpoint."""
    return (found.get("targetRef") or {}).get("uid", ""), found["addresses"][0]


def endpoints(
    service: Json, pods: Iterable[Json], zones: Mapping[str, str]
) -> dict[tuple[Family, PortKey], dict[Identity, Json]]:
    """Return the endpoints of a Service among the `pods` of its namespace that its selector matches.

    A pod whose node has been deleted is nobody's endpoint, but where the Service publishes whatever there is: nothing leads there any more.
    `zones` maps the nodes that there are to their zones, "" where they have none.
    """
    result: dict[tuple[Family, PortKey], dict[Identity, Json]] = {}
    wanted = families(service)
    publishes_all = bool(service["spec"].get("publishNotReadyAddresses"))
    for pod in pods:
        if podstate.is_finished(pod) or not (publishes_all or pod["spec"].get("nodeName", "") in zones):
            continue
        ports = ports_of(service, pod)
        for family in wanted:
            address = address_of(pod, family)
            if address is not None:
                found = endpoint(service, pod, address, zones)
                result.setdefault((family, ports), {})[identity_of(found)] = found
    return result
