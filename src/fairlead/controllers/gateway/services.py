"""The Service of a Gateway: which ports it has, and on which ports of the nodes the proxies listen for them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fairlead.controllers.loadbalancers.core import ADDRESSES
from fairlead.model.gateway.doors import port_name
from fairlead.model.gateway.listeners import BoundGateway
from fairlead.model.gateway.names import FIRST_PORT, GATEWAY_LABEL, LAST_PORT, service_name

Json = dict[str, Any]
_LONGEST_LABEL = 63


def is_of_gateway(service: Mapping[str, Any]) -> bool:
    """Tell whether a Service is the door of some Gateway of ours; other implementations use the label too (GEP-1762)."""
    metadata = service["metadata"]
    gateway = (metadata.get("labels") or {}).get(GATEWAY_LABEL)
    return gateway is not None and metadata["name"] == service_name(gateway)


def node_ports(services: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return the ports of nodes that are taken by the doors among some Services."""
    return {
        each["targetPort"]
        for service in services
        if is_of_gateway(service)
        for each in service["spec"].get("ports") or ()
        if isinstance(each.get("targetPort"), int)
    }


def desired(
    gateway: BoundGateway,
    present: Mapping[str, Any] | None,
    taken: Collection[int],
    owner: Json,
    external: str = "Local",
    http3: Collection[int] = (),
    *,
    foreign: Collection[tuple[str, int]] = (),
) -> Json:
    """Return the Service that a Gateway should have: a port keeps what `present` gave it, a new one gets what is free.

    `http3` are the ports of listeners that serve HTTP/3 as well: UDP beside TCP. `foreign` are the ports of nodes, (transport, number),
    that other Gateways have whatever `present` says. Raises ValueError when every port of the nodes is taken, and for a name that is longer
    than a label's value may be.
    """
    if len(gateway.key[1]) > _LONGEST_LABEL:
        raise ValueError(
            f"metadata.name has {len(gateway.key[1])} characters; {_LONGEST_LABEL} are the most for a Gateway, as its name is a label"
        )
    spec = gateway.api.spec
    known = {
        (each["port"], each.get("protocol", "TCP")): each.get("targetPort")
        for each in (present or {}).get("spec", {}).get("ports") or ()
    }
    used = set(taken)
    ports = []
    wanted = {(each.api.port, each.transport) for each in gateway.listeners if each.usable}
    for number, protocol in sorted(wanted | {(each, "UDP") for each in http3}):
        target = known.get((number, protocol))
        fits = isinstance(target, int) and FIRST_PORT <= target <= LAST_PORT
        if not fits or (protocol, target) in foreign:
            target = next((each for each in range(FIRST_PORT, LAST_PORT + 1) if each not in used), None)
            if target is None:
                raise ValueError(f"all ports of nodes from {FIRST_PORT} to {LAST_PORT} are taken by other Gateways")
            used.add(target)
        name = port_name(number, protocol)
        ports.append({"name": name, "port": number, "targetPort": target, "protocol": protocol})
    infrastructure = spec.infrastructure
    labels = dict(infrastructure.labels or {}) if infrastructure else {}
    annotations: Json = dict(infrastructure.annotations or {}) if infrastructure else {}
    wishes = spec.static_addresses
    before = present or {"metadata": {}, "spec": {}}
    if wishes:
        annotations[ADDRESSES] = ",".join(wishes)
    elif ADDRESSES in (before["metadata"].get("annotations") or {}):
        annotations[ADDRESSES] = None
    if wishes or before["spec"].get("loadBalancerIP"):
        # For load balancers of others, which know one wish alone.
        addresses: Json = {"loadBalancerIP": wishes[0] if wishes else None}
    else:
        addresses = {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(gateway.key[1]),
            "namespace": gateway.key[0],
            "labels": {**labels, GATEWAY_LABEL: gateway.key[1]},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "PreferDualStack",
            # Local, if nobody says otherwise: the client's address is worth keeping.
            "externalTrafficPolicy": external,
            "ports": ports,
            **addresses,
        },
    }


def differs(present: Mapping[str, Any], wanted: Json) -> bool:
    """Tell whether a Service lacks something of what is wanted, whatever the API server filled in beside that."""
    metadata, spec = present["metadata"], present["spec"]
    ports = [
        {name: each.get(name) for name in ("name", "port", "targetPort", "protocol")}
        for each in spec.get("ports") or ()
    ]
    return (
        ports != wanted["spec"]["ports"]
        or any(spec.get(name) != value for name, value in wanted["spec"].items() if name != "ports")
        or any(
            (metadata.get(part) or {}).get(name) != value
            for part in ("labels", "annotations")
            for name, value in wanted["metadata"][part].items()
        )
    )
