"""How a Gateway is reached: a Service of type LoadBalancer whose endpoints are the nodes' proxies. Pure.

Each node makes its own EndpointSlices and says there what its proxy has acknowledged; so a node that does not serve is nobody's endpoint, and
what holds for Services (addresses, health checks, traffic policies) holds for Gateways too. What follows from the Node itself is the same
whoever says it: its agent, or the controller for agents that are silent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fairlead.api.endpointslice import SERVICE_NAME, EndpointSlice
from fairlead.api.node import Node
from fairlead.api.service import Service
from fairlead.base.addresses import is_ipv6
from fairlead.model.gateway.listeners import BoundGateway
from fairlead.model.gateway.names import GATEWAY_LABEL, is_door, service_name
from fairlead.model.services import ZONE
from fairlead.plan.gateway.listener import AnyListener
from fairlead.plan.gateway.presence import GatewayHealthPort
from fairlead.world.events import ObjectKey

Json = dict[str, Any]

NODE_LABEL = "fairlead.dev/gateway-node"
"""Label of slices: the node whose proxy they are."""
STATE = "fairlead.dev/gateway-state"
"""Annotation of slices: a `NodeState` as JSON."""
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "gateway.fairlead.dev"
_LONGEST = 253
_MOST_WORDS = 512


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's proxy has come to with one Gateway."""

    generation: int
    """Of the Gateway that the proxy was told about."""
    ports: tuple[str, ...] = ()
    """Clients' ports that it serves: `PORT/TCP` or `PORT/UDP`."""
    errors: Mapping[str, str] = {}
    """Port → why it is not served as it should be."""
    sets: Mapping[str, int] = {}
    """Short name of a ListenerSet → its generation that the proxy was told about."""


def port_name(port: int, protocol: str = "TCP") -> str:
    """Return the name of a Service's port."""
    return f"port-{port}" if protocol == "TCP" else f"port-{port}-{protocol.lower()}"


def port_key(port: int, protocol: str) -> str:
    """Return how a `NodeState` calls a port."""
    return f"{port}/{protocol}"


def node_state(states: Iterable[tuple[AnyListener, str]]) -> NodeState:
    """Return the state of one Gateway of which these are the listeners, each with what is wrong."""
    found = list(states)
    told: dict[str, int] = {}
    for row, _ in found:
        for name, generation in row.sets:
            told[name] = min(generation, told.get(name, generation))
    return NodeState(
        sets=told,
        generation=min(row.generation for row, _ in found),
        ports=tuple(sorted(_key(row) for row, error in found if not error)),
        errors={_key(row): error[:_MOST_WORDS] for row, error in found if error},
    )


def conditions(node: Node, *, serving: bool) -> dict[str, bool]:
    """Return the conditions of a node's endpoints; `serving` says whether its proxy serves, as far as anybody knows.

    A node that is leaving, or of which nobody knows better than that it is not Ready, is for those who have nothing else (KEP-1669): its proxy
    serves on without its agent.
    """
    last = node.is_leaving or not node.is_ready
    return {"ready": serving and not last, "serving": serving, "terminating": last}


def slices(gateway: ObjectKey, node: Node | None, states: Iterable[tuple[AnyListener, str]], owner: Json) -> list[Json]:
    """Return a node's EndpointSlices of a Gateway, one for each family; `owner` is the reference to its Service.

    A node that does not exist, or is shut down, has none.

    A listener with an error serves what it served before, if that: its port stays as long as another one of the Gateway is good.
    """
    if node is None or node.is_shut_down:
        return []
    name, zone = node.metadata.name, node.metadata.label(ZONE) or ""
    found = sorted(states, key=lambda each: (each[0].public_port, each[0].protocol))
    state = node_state(found)
    service = service_name(gateway[1])
    addresses = found[0][0].addresses
    result = []
    for family in ("IPv4", "IPv6"):
        own = [each for each in addresses if is_ipv6(each) == (family == "IPv6")]
        if not own:
            continue
        result.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": _name(service, name, family),
                    "namespace": gateway[0],
                    "labels": {
                        SERVICE_NAME: service,
                        GATEWAY_LABEL: gateway[1],
                        NODE_LABEL: name,
                        MANAGED_BY: MANAGER,
                    },
                    "annotations": {STATE: json.dumps(msgspec.to_builtins(state), sort_keys=True)},
                    "ownerReferences": [owner],
                },
                "addressType": family,
                "endpoints": [
                    {
                        "addresses": own[:1],
                        "nodeName": name,
                        **({"zone": zone} if zone else {}),
                        "conditions": conditions(node, serving=bool(state.ports)),
                    }
                ],
                "ports": [
                    {"name": port_name(row.public_port, row.protocol), "port": row.port, "protocol": row.protocol}
                    for row, _ in found
                ],
            }
        )
    return result


def health_port(
    gateway: BoundGateway, service: Service | None, slices: Iterable[EndpointSlice], node: Node | None
) -> GatewayHealthPort | None:
    """Return where the proxy answers load balancers for a Gateway; None while this node is no ready endpoint of it, or nobody asks."""
    if service is None or node is None or not is_door(service.metadata) or not node.internal_ips:
        return None
    spec = service.spec
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local" or not spec.health_check_node_port:
        return None
    endpoints = (endpoint for each in slices for endpoint in each.endpoints or ())
    if not any(each.ready and each.node_name == node.metadata.name for each in endpoints):
        return None
    return GatewayHealthPort(
        name="/".join((*gateway.key, "health")),
        port=spec.health_check_node_port,
        addresses=node.internal_ips,
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        proxy=gateway.proxy,
    )


def revised(endpoint_slice: Mapping[str, Any], node: Node) -> list[Json] | None:
    """Return the endpoints that a node's slice should have by its Node, where its agent may be silent; None when it has them."""
    found = endpoint_slice.get("endpoints") or []
    wanted = [
        each | {"conditions": conditions(node, serving=each.get("conditions", {}).get("serving") is True)}
        for each in found
    ]
    return wanted if wanted != found else None


def read_state(endpoint_slice: Mapping[str, Any]) -> NodeState | None:
    """Return what a slice on the wire says of its node, None for a slice that says nothing."""
    text = (endpoint_slice["metadata"].get("annotations") or {}).get(STATE)
    try:
        return msgspec.json.decode(text, type=NodeState) if text else None
    except msgspec.DecodeError:
        return None


def _key(row: AnyListener) -> str:
    return port_key(row.public_port, row.protocol)


def _name(service: str, node: str, family: str) -> str:
    name = f"{service}-{node}-{family.lower()}"
    if len(name) <= _LONGEST:
        return name
    return f"{service}-{hashlib.sha256(node.encode()).hexdigest()[:16]}-{family.lower()}"
