"""What the rows of a plan need: listeners their tables of hosts, forwards and certificates, and these their clusters. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fairlead.drivers.protocol import Failure
from fairlead.plan.gateway.cluster import GatewayCluster
from fairlead.plan.gateway.forward import GatewayForward
from fairlead.plan.gateway.listener import (
    AnyListener,
    GatewayChain,
    GatewayListener,
    GatewayQuicListener,
    GatewayUdpListener,
    ToBackends,
    ToHosts,
)
from fairlead.plan.gateway.policy import GatewayJwt, RequestPolicy
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Row

_TABLES = {
    GatewayListener: "gateway_listeners",
    GatewayQuicListener: "gateway_quic_listeners",
    GatewayUdpListener: "gateway_udp_listeners",
}


def listeners_of(plan: Plan) -> Iterator[AnyListener]:
    """Yield the listeners of a plan, of TCP, QUIC and UDP."""
    for table in _TABLES.values():
        for row in plan.table(table).values():
            if isinstance(row, GatewayListener | GatewayQuicListener | GatewayUdpListener):
                yield row


def not_serving(row: AnyListener, words: str) -> Failure:
    """Return that a listener does not serve, and why."""
    return Failure(_TABLES[type(row)], (row.name,), words)


def chains_of(rows: Iterable[AnyListener]) -> Iterator[GatewayChain]:
    """Yield the chains of some listeners."""
    for row in rows:
        if isinstance(row, GatewayListener | GatewayQuicListener):
            yield from row.chains


def tables_of(chains: Iterable[GatewayChain]) -> set[str]:
    """Return the tables of hosts in which chains look requests up."""
    return {chain.action.table for chain in chains if isinstance(chain.action, ToHosts)}


def shared(names: Collection[str]) -> set[str]:
    """Return the filters among some names that stand in every listener of HTTP: they are no row's, whose names have slashes."""
    return {name for name in names if "/" not in name}


def forwards_of(chains: Iterable[GatewayChain]) -> set[str]:
    """Return what chains hand connections on to, by name."""
    return {chain.action.forward for chain in chains if isinstance(chain.action, ToBackends)}


def needs_of(row: AnyListener) -> Iterator[tuple[str, str]]:
    """Yield the rows, by table and first part of the key, without which a listener does not serve what the plan says."""
    yield _TABLES[type(row)], row.name
    if isinstance(row, GatewayUdpListener):
        yield "gateway_clusters", row.cluster
        return
    for chain in row.chains:
        match chain.action:
            case ToHosts(table=table):
                yield "gateway_hosts", table
            case ToBackends(forward=forward):
                yield "gateway_forwards", forward
        for certificate in chain.certificates:
            yield "gateway_certificates", certificate
        if chain.trust:
            yield "gateway_trusts", chain.trust


def uses(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the rows that a row names, by table and first part of the key: of hosts all of that table of hosts are meant."""
    match row:
        case GatewayListener() | GatewayQuicListener() | GatewayUdpListener():
            _, *others = needs_of(row)
            yield from others
        case GatewayHost(routes=routes):
            for route in routes:
                yield from (("gateway_clusters", each.cluster) for each in route.clusters)
                yield from (("gateway_clusters", each.cluster) for each in route.mirrors)
                if route.policy is not None:
                    yield from _of_policy(route.policy)
        case GatewayJwt(providers=providers):
            yield from (("gateway_clusters", each.cluster) for each in providers if each.cluster)
        case GatewayForward(shares=shares):
            yield from (("gateway_clusters", each.cluster) for each in shares)
        case GatewayCluster(name=name, tls=tls):
            yield "gateway_endpoints", name
            if tls is not None and tls.trust:
                yield "gateway_trusts", tls.trust
            if tls is not None and tls.certificate:
                yield "gateway_certificates", tls.certificate


def _of_policy(policy: RequestPolicy) -> Iterator[tuple[str, str]]:
    if policy.jwt:
        yield "gateway_jwt", policy.jwt
    if policy.external is not None:
        yield "gateway_clusters", policy.external.cluster
