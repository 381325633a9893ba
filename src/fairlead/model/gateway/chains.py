"""A Gateway's listeners as rows of one node: ports, and chains by server name. Pure.

A chain stands for one server name of one listener and says nothing that a route decides but the name: so a route's backends change without
it, and another name leaves the chains that are there, and their connections, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from fairlead.api.certificate import Certificate
from fairlead.api.node import Node
from fairlead.api.service import Service
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway.clients import ClientPolicies
from fairlead.model.gateway.hosts import ANY
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, Clients
from fairlead.model.gateway.names import GATEWAY_LABEL, listener_name, set_name
from fairlead.plan.gateway.listener import (
    ChainTls,
    GatewayCertificate,
    GatewayChain,
    GatewayListener,
    GatewayUdpListener,
    KnownClients,
    PassedThrough,
    Terminated,
    ToBackends,
    ToHosts,
    ToNobody,
)
from fairlead.plan.tables import Row
from fairlead.world.events import ObjectKey

ServerNames = Callable[[str], Mapping[str, tuple[str, ...]]]
"""Chain → the server names for which its connections are handed on, `*` for all others → prefixes of clients that are refused."""


def rows(
    gateway: BoundGateway,
    service: Service | None,
    node: Node | None,
    certificates: Mapping[ObjectKey, Certificate],
    bundles: Mapping[ObjectKey, TrustMaterial],
    policies: ClientPolicies,
    server_names: ServerNames,
) -> Iterator[tuple[str, Row]]:
    """Yield (table, row): a listener for each port that the Gateway's Service leads to, and the certificates."""
    addresses = node.internal_ips if node is not None else ()
    # A Service that somebody else made under this name leads nowhere.
    if service is None or service.metadata.label(GATEWAY_LABEL) != gateway.key[1] or not addresses:
        return
    for port in service.spec.ports or ():
        transport = port.protocol or "TCP"
        listeners = gateway.on_port(port.port, transport)
        if not listeners or not isinstance(port.target_port, int):
            continue
        name = listener_name(gateway.key, port.port, transport)
        generation = gateway.api.metadata.generation
        if transport == "UDP":
            yield (
                "gateway_udp_listeners",
                GatewayUdpListener(
                    name=name,
                    port=port.target_port,
                    public_port=port.port,
                    addresses=addresses,
                    cluster=name,
                    refused=server_names(name).get(ANY, ()),
                    generation=generation,
                    sets=_generations(gateway, listeners),
                ),
            )
            continue
        yield (
            "gateway_listeners",
            GatewayListener(
                name=name,
                port=port.target_port,
                public_port=port.port,
                addresses=addresses,
                chains=tuple(sorted(_chains(listeners, policies, server_names), key=lambda each: each.name)),
                socket=policies.of(listeners[0]).socket,
                generation=generation,
                sets=_generations(gateway, listeners),
            ),
        )
        for key in {key for each in listeners for key in each.certificates}:
            yield "gateway_certificates", GatewayCertificate(name="/".join(key), digest=certificates[key].digest)
        known = [found for each in listeners if (found := _clients(each, policies)) is not None]
        for trust in {each.trust.name: each.trust for each in known if not each.nobody}.values():
            yield "gateway_trusts", trust.row(bundles)
    if gateway.client is not None:
        digest = certificates[gateway.client].digest
        yield "gateway_certificates", GatewayCertificate(name="/".join(gateway.client), digest=digest)


def forward_name(chain: str, domain: str) -> str:
    """Return the name of what connections of a listener for a host get; `*` is what those for all others get."""
    return chain if domain == ANY else f"{chain}/{domain}"


def _chains(
    listeners: Collection[BoundListener], policies: ClientPolicies, server_names: ServerNames
) -> Iterator[GatewayChain]:
    for chain, each in {each.chain: each for each in listeners}.items():
        client = policies.of(each).traffic
        known = _clients(each, policies)
        match each.protocol:
            case "TLS" | "HTTPS" if known is not None and known.nobody:
                for domain in server_names(chain) if each.protocol == "TLS" else (each.hostname or ANY,):
                    yield GatewayChain(
                        name=forward_name(chain, domain),
                        action=ToNobody(),
                        server_names=_names(domain),
                        tls=PassedThrough(),
                    )
            case "TLS":
                names = server_names(chain)
                yield from _refusals(chain, names, PassedThrough())
                for domain in names:
                    name = forward_name(chain, domain)
                    yield GatewayChain(
                        name=name,
                        action=ToBackends(forward=name),
                        server_names=_names(domain),
                        tls=_tls(each, known),
                        client=client,
                    )
            case "TCP":
                yield from _refusals(chain, server_names(chain), None)
                yield GatewayChain(name=chain, action=ToBackends(forward=chain), client=client)
            case "HTTPS":
                hosts = ToHosts(table=each.table)
                host = _names(each.hostname or ANY)
                yield GatewayChain(name=chain, action=hosts, server_names=host, tls=_tls(each, known), client=client)
            case _:
                yield GatewayChain(name=chain, action=ToHosts(table=each.table), client=client)


def _refusals(chain: str, names: Mapping[str, tuple[str, ...]], tls: ChainTls | None) -> Iterator[GatewayChain]:
    """Yield chains for clients that are refused: one for all server names that refuse the same, as many names have one policy."""
    together: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for domain in sorted(names):
        if names[domain]:
            # Connections without a name of their own cannot stand in one chain with names.
            together.setdefault((domain == ANY, names[domain]), []).append(domain)
    for (nameless, refused), domains in together.items():
        yield GatewayChain(
            name=f"{forward_name(chain, domains[0])}~refused",
            action=ToNobody(),
            server_names=() if nameless else tuple(domains),
            sources=refused,
            tls=tls,
        )


def _clients(listener: BoundListener, policies: ClientPolicies) -> Clients | None:
    """Return how clients of a listener are known by certificates, of which some may be revoked; None: none are asked for."""
    found = listener.clients
    if found is None:
        return None
    trust = msgspec.structs.replace(found.trust, revocation=policies.of(listener).revocation)
    return msgspec.structs.replace(found, trust=trust)


def _generations(gateway: BoundGateway, listeners: Iterable[BoundListener]) -> tuple[tuple[str, int], ...]:
    present = {each.listener_set for each in listeners}
    return tuple((set_name(each.api), each.api.metadata.generation) for each in gateway.sets if each.key in present)


def _names(domain: str) -> tuple[str, ...]:
    return () if domain == ANY else (domain,)


def _tls(listener: BoundListener, clients: Clients | None) -> ChainTls:
    if not listener.terminates:
        return PassedThrough()
    return Terminated(
        certificates=tuple("/".join(key) for key in listener.certificates),
        clients=KnownClients(trust=clients.trust.name, optional=clients.optional) if clients is not None else None,
    )
