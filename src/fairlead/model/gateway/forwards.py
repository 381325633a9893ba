"""What TLSRoutes, TCPRoutes and UDPRoutes do with connections and datagrams: backends by weight. Pure.

Source: TLSRouteRule, TCPRouteRule and UDPRouteRule of the Gateway API v1. The weight of a backend that does not exist, or that nobody serves,
is the part of the connections that is closed, and of the clients whose datagrams are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from fairlead.api.l4route import ForwardSpec
from fairlead.model.gateway.backends import Backends, Target
from fairlead.model.gateway.listeners import BoundGateway, BoundListener
from fairlead.model.gateway.values import MOST_WEIGHT, RuleError, number
from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.cluster import EndpointGroup, GatewayCluster, GatewayEndpoints
from fairlead.plan.gateway.forward import ForwardShare, GatewayForward

_DISCARD = Endpoint("127.0.0.1", 9)
"""Where datagrams go that nobody is to get: the port of RFC 863, which throws them away, as the kernel does where nobody has it."""


class Split(msgspec.Struct, frozen=True):
    """Backends by weight."""

    weights: Mapping[Target, int] = {}
    """None of them is 0."""
    refused: int = 0
    """Weight of what leads nowhere."""


def split(spec: ForwardSpec, backends: Backends) -> Split:
    """Return the backends of a route; raises RuleError."""
    rules = spec.rules or ()
    if len(rules) != 1:
        raise RuleError(f"spec.rules: there must be exactly one rule, not {len(rules)}")
    weights: dict[Target, int] = {}
    refused = 0
    for at, ref in enumerate(rules[0].backend_refs or ()):
        field = f"spec.rules[0].backendRefs[{at}]"
        target = backends.resolve(ref, field)
        weight = number(ref.weight, 0, MOST_WEIGHT, f"{field}.weight")
        if target is None:
            refused += weight
        elif weight:
            weights[target] = weights.get(target, 0) + weight
    return Split(weights, refused)


def forward(name: str, found: Split | None, listener: BoundListener, gateway: BoundGateway) -> GatewayForward:
    """Return where a listener's connections go, nowhere without a route."""
    if found is None:
        return GatewayForward(name=name)
    ended = listener.api.protocol == "TLS" and listener.api.tls is not None and listener.api.tls.mode == "Terminate"
    refused = found.refused
    shares = []
    for target, weight in found.weights.items():
        if ended and target.closed:
            refused += weight
            continue
        to = target.again.behind(gateway) if ended and target.again is not None else target
        shares.append(ForwardShare(cluster=to.name, weight=weight))
    return GatewayForward(name=name, shares=tuple(shares), refused=refused)


def datagrams(
    name: str, found: Split | None, endpoints: Callable[[Target], tuple[Endpoint, ...]]
) -> tuple[GatewayCluster, GatewayEndpoints]:
    """Return the cluster of a UDP listener, and who serves it: nobody without a route."""
    groups = []
    refused = 0
    if found is not None:
        refused = found.refused
        for target, weight in found.weights.items():
            served = endpoints(target)
            if served:
                groups.append(EndpointGroup(name=target.name, weight=weight, endpoints=served))
            else:
                refused += weight
    if groups and refused:
        groups.append(EndpointGroup(name="refused", weight=refused, endpoints=(_DISCARD,)))
    return GatewayCluster(name=name, protocol="udp"), GatewayEndpoints(cluster=name, groups=tuple(groups))
