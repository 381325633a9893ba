"""What the listeners of a plan need: tables of hosts, forwards, certificates. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fairlead.drivers.protocol import Failure
from fairlead.plan.gateway.listener import (
    AnyListener,
    GatewayChain,
    GatewayListener,
    GatewayQuicListener,
    GatewayUdpListener,
    ToBackends,
    ToHosts,
)
from fairlead.plan.plan import Plan

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
