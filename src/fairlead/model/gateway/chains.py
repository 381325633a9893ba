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
from fairlead.model.gateway.names import listener_name, quic_name, set_name
from fairlead.model.gateway.node_ports import NodePort, door
from fairlead.plan.gateway.listener import (
    ChainTls,
    GatewayCertificate,
    GatewayChain,
    GatewayListener,
    GatewayQuicListener,
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
    services: Mapping[ObjectKey, Service],
    holders: Mapping[NodePort, ObjectKey],
    node: Node | None,
    certificates: Mapping[ObjectKey, Certificate],
    bundles: Mapping[ObjectKey, TrustMaterial],
    policies: ClientPolicies,
    server_names: ServerNames,
    crowded: Callable[[BoundListener], str],
) -> Iterator[tuple[str, Row]]:
    """Yield (table, row): a listener for each port that the Gateway's Service leads to, and the certificates.

    `holders` say whose each port of the nodes is; what is another Gateway's is not listened on.
    `crowded` says why nobody gets through to those server names of a listener for which some clients are refused.
    """
    addresses = node.internal_ips if node is not None else ()
    service = door(gateway.key, services)
    if not addresses or gateway.unplaced.problem:
        return
    quic = policies.over_quic(gateway)
    for number, transport, target in _doors(service):
        if holders.get((transport, target)) != gateway.key:
            continue
        listeners = gateway.on_port(number, transport)
        name = listener_name(gateway.key, number, transport)
        generation = gateway.api.metadata.generation
        if not listeners:
            if transport == "UDP" and (listeners := tuple(each for each in quic if each.port == number)):
                yield (
                    "gateway_quic_listeners",
                    GatewayQuicListener(
                        name=quic_name(gateway.key, number),
                        port=target,
                        public_port=number,
                        addresses=addresses,
                        chains=_sorted(_chains(listeners, policies, server_names, crowded)),
                        generation=generation,
                        sets=_generations(gateway, listeners),
                        proxy=gateway.proxy,
                    ),
                )
            continue
        if transport == "UDP":
            yield (
                "gateway_udp_listeners",
                GatewayUdpListener(
                    name=name,
                    port=target,
                    public_port=number,
                    addresses=addresses,
                    cluster=name,
                    refused=server_names(name).get(ANY, ()),
                    generation=generation,
                    sets=_generations(gateway, listeners),
                    proxy=gateway.proxy,
                ),
            )
            continue
        yield (
            "gateway_listeners",
            GatewayListener(
                name=name,
                port=target,
                public_port=number,
                addresses=addresses,
                chains=_sorted(_chains(listeners, policies, server_names, crowded)),
                socket=policies.of(listeners[0]).socket,
                generation=generation,
                sets=_generations(gateway, listeners),
                proxy=gateway.proxy,
            ),
        )
        for key in {key for each in listeners for key in each.certificates}:
            yield "gateway_certificates", GatewayCertificate(name="/".join(key), digest=certificates[key].digest)
        known = [found for each in listeners if (found := _clients(each, policies)) is not None]
        for trust in {each.trust.name: each.trust for each in known if not each.nobody}.values():
            yield "gateway_trusts", trust.row(bundles)
    if service is not None and gateway.client is not None:
        digest = certificates[gateway.client].digest
        yield "gateway_certificates", GatewayCertificate(name="/".join(gateway.client), digest=digest)


def ports_of_http3(
    gateway: BoundGateway, services: Mapping[ObjectKey, Service], policies: ClientPolicies
) -> frozenset[int]:
    """Return the ports of a Gateway at which its Service leads to HTTP/3."""
    wanted = {each.port for each in policies.over_quic(gateway)}
    doors = _doors(door(gateway.key, services))
    return frozenset(number for number, transport, _ in doors if transport == "UDP" and number in wanted)


def _doors(service: Service | None) -> Iterator[tuple[int, str, int]]:
    """Yield (client's port, transport, port of the node) of each port that leads to the proxies."""
    for port in (service.spec.ports or ()) if service is not None else ():
        if isinstance(port.target_port, int):
            yield port.port, port.protocol or "TCP", port.target_port


def _sorted(found: Iterable[GatewayChain]) -> tuple[GatewayChain, ...]:
    return tuple(sorted(found, key=lambda each: each.name))


def forward_name(chain: str, domain: str) -> str:
    """Return the name of what connections of a listener for a host get; `*` is what those for all others get."""
    return chain if domain == ANY else f"{chain}/{domain}"


def _chains(
    listeners: Collection[BoundListener],
    policies: ClientPolicies,
    server_names: ServerNames,
    crowded: Callable[[BoundListener], str],
) -> Iterator[GatewayChain]:
    for chain, each in {each.chain: each for each in listeners}.items():
        client = policies.of(each).traffic
        known = _clients(each, policies)
        match each.protocol:
            case "HTTPS" if known is not None and known.nobody:
                yield _closed(chain, each.hostname or ANY)
            case "TLS":
                names = server_names(chain)
                if crowded(each):
                    yield from (_closed(chain, domain) for domain, refused in names.items() if refused)
                    names = {domain: refused for domain, refused in names.items() if not refused}
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


def _closed(chain: str, domain: str) -> GatewayChain:
    """Return a chain by which nobody gets through to a server name."""
    name = forward_name(chain, domain)
    return GatewayChain(name=name, action=ToNobody(), server_names=_names(domain), tls=PassedThrough())


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
    if found is None or not found.trust.bundles:
        # Lists of a policy go with the CA certificates of a Gateway's own.
        return found
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
        clients=KnownClients(
            trust=clients.trust.name, optional=clients.optional, untrusted=clients.untrusted, depth=clients.depth
        )
        if clients is not None
        else None,
    )
