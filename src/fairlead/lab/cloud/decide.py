"""Where packets to a load balancer's address go: which nodes may take them, and whom to ask for their health. Pure.

As the clouds do it: nodes are asked at the Service's healthCheckNodePort under external policy Local, else at their proxy's own port; nodes
that are excluded or about to go take no new connections (KEP-3458: whether a node is Ready or cordoned makes no difference).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.api.egressgateway import EgressGateway, candidates
from fairlead.api.node import EXCLUDED, Node
from fairlead.base.selectors import SelectorError
from fairlead.sources.health import Check

Json = dict[str, Any]

PROXY_PORT = 10256


class Target(msgspec.Struct, frozen=True):
    """One node for one address: where packets go, and the check that says whether they may."""

    node: str
    address: str
    check: Check


def targets(services: Iterable[Json], nodes: Sequence[Json]) -> dict[str, tuple[Target, ...]]:
    """Return the address of each load balancer → its possible targets."""
    found: dict[str, tuple[Target, ...]] = {}
    typed = [msgspec.convert(node, Node) for node in nodes]
    usable = [node for node in typed if EXCLUDED not in (node.metadata.labels or {}) and not node.is_leaving]
    for service in services:
        spec = service["spec"]
        if spec.get("type") != "LoadBalancer":
            continue
        port = spec.get("healthCheckNodePort") if spec.get("externalTrafficPolicy") == "Local" else None
        for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ():
            if not ingress.get("ip") or ingress.get("ipMode", "VIP") != "VIP":
                continue
            version = ipaddress.ip_address(ingress["ip"]).version
            found[ingress["ip"]] = tuple(
                Target(
                    node.metadata.name,
                    addresses[version],
                    (addresses[4 if 4 in addresses else 6], port or PROXY_PORT),
                )
                for node in usable
                if version in (addresses := _addresses(node))
            )
    return found


def gateways(found: Iterable[Json], nodes: Sequence[Json]) -> dict[str, tuple[Target, ...]]:
    """Return the address of each egress gateway → the nodes that may hold it, the first choice first.

    What cannot be understood has no address: its pods do not leave the cluster.
    """
    typed = [msgspec.convert(node, Node) for node in nodes]
    result: dict[str, tuple[Target, ...]] = {}
    for each in found:
        try:
            gateway = msgspec.convert(each, EgressGateway)
            order = candidates(gateway, typed)
            versions = {address: ipaddress.ip_address(address).version for address in gateway.spec.addresses}
        except (msgspec.ValidationError, SelectorError, ValueError):
            continue
        for address, version in versions.items():
            result[address] = tuple(
                Target(node.metadata.name, own, (node.internal_ips[0], PROXY_PORT))
                for node in order
                for own in node.internal_ips
                if ipaddress.ip_address(own).version == version
            )
    return result


def holders(wanted: Mapping[str, Sequence[Target]], failing: Iterable[Check]) -> dict[str, tuple[str, ...]]:
    """Return address → address of the first node that answers; none: nobody does."""
    bad = frozenset(failing)
    return {
        address: next(((target.address,) for target in some if target.check not in bad), ())
        for address, some in wanted.items()
    }


def checks(wanted: Mapping[str, Sequence[Target]]) -> frozenset[Check]:
    """Return everything that has to be asked."""
    return frozenset(target.check for some in wanted.values() for target in some)


def hops(
    wanted: Mapping[str, Sequence[Target]],
    healthy: Collection[Check],
    failing: Collection[Check],
    living: Collection[str],
) -> dict[str, tuple[str, ...]]:
    """Return address → addresses of the nodes that take its new connections now, sorted; none: nobody does.

    Where all nodes fail, those whose kernels live (`living`) take them: that nobody says he is well is no reason to try nobody.
    """
    found = {}
    for address, some in wanted.items():
        good = {target.address for target in some if target.check in healthy}
        if not good and all(target.check in failing for target in some):
            good = {target.address for target in some if target.address in living}
        found[address] = tuple(sorted(good))
    return found


def keepers(nodes: Iterable[Json], former: Iterable[str]) -> dict[str, Check]:
    """Return address → check of every node on which connections may be: those that there are, and `former` ones, deleted or not."""
    own = {address for node in nodes for address in msgspec.convert(node, Node).internal_ips}
    return {address: (address, PROXY_PORT) for address in own.union(former)}


def _addresses(node: Node) -> dict[int, str]:
    found: dict[int, str] = {}
    for address in node.internal_ips:
        found.setdefault(ipaddress.ip_address(address).version, address)
    return found
