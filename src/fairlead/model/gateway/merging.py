"""Gateways of ours with the listeners of their ListenerSets: who may add some, who goes first, and what cannot stand. Pure.

Source: GEP-1713. A Gateway's own listeners go first, then its ListenerSets by age and then by namespace and name. ReferenceGrants are for the
object that refers: a Gateway's do not hold for its ListenerSets, nor theirs for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fairlead.api.gateway import GROUP, Gateway, GatewayClass, ListenerNamespaces
from fairlead.api.listenerset import ListenerSet
from fairlead.api.pod import Namespace
from fairlead.base.selectors import SelectorError
from fairlead.model.gateway.conflicts import conflicts
from fairlead.model.gateway.grants import From, Grants
from fairlead.model.gateway.hosts import wider
from fairlead.model.gateway.listeners import (
    BoundGateway,
    BoundListener,
    BoundSet,
    Clients,
    References,
    Verdict,
    client_certificate,
    read,
)
from fairlead.model.gateway.names import CONTROLLER, PASSED
from fairlead.model.gateway.parameters import Objects, with_settings
from fairlead.model.gateway.trust import FALLBACK, Trust, resolve
from fairlead.world.events import ObjectKey

MOST_LISTENERS = 1024
"""Of one Gateway with its ListenerSets: those that go last have no room."""
MOST_PORTS = 64
"""Of one Gateway with its ListenerSets: nodes have 5,000 for all Gateways, and a tenant could take them from the others."""


def our_gateways(
    classes: Mapping[ObjectKey, GatewayClass],
    gateways: Mapping[ObjectKey, Gateway],
    sets: Mapping[ObjectKey, ListenerSet],
    namespaces: Mapping[ObjectKey, Namespace],
    references: References,
    parameters: Objects,
) -> dict[ObjectKey, BoundGateway]:
    """Return the Gateways whose class names this controller. Costs time proportional to all Gateways and ListenerSets."""
    ours = {name: each for (_, name), each in classes.items() if each.spec.controller_name == CONTROLLER}
    of_gateway: dict[ObjectKey, list[ObjectKey]] = {}
    for key, each in sets.items():
        parent = each.spec.parent_ref
        if (parent.group, parent.kind) == (GROUP, "Gateway"):
            of_gateway.setdefault((parent.namespace or key[0], parent.name), []).append(key)
    found = {}
    for key, gateway in gateways.items():
        if (of_class := ours.get(gateway.spec.gateway_class_name)) is not None:
            members = sorted(of_gateway.get(key, ()), key=lambda member: _age(member, sets[member]))
            bound = _bind(key, gateway, {member: sets[member] for member in members}, namespaces, references)
            found[key] = with_settings(bound, of_class, parameters)
    return found


def ingress_gateways(gateways: Mapping[ObjectKey, Gateway], references: References) -> dict[ObjectKey, BoundGateway]:
    """Return the Gateways that Ingresses mean: they take nothing else, and refer to what is the Ingresses' own."""
    own = References(references.certificates, references.bundles, _Consent())
    found = {}
    for key, gateway in gateways.items():
        bound = _bind(key, gateway, {}, {}, own)
        listeners = tuple(
            msgspec.structs.replace(each, kinds=(PASSED if each.protocol == "TLS" else "Ingress",))
            for each in bound.own
        )
        found[key] = msgspec.structs.replace(bound, own=listeners)
    return found


class _Consent(Grants):
    def __init__(self) -> None:
        super().__init__({})

    def permit(self, source: From, group: str, kind: str, namespace: str, name: str) -> bool:
        return True


def _age(key: ObjectKey, each: ListenerSet) -> tuple[str, str]:
    return each.metadata.creation_timestamp or "9999", "/".join(key)


def _bind(
    key: ObjectKey,
    gateway: Gateway,
    sets: Mapping[ObjectKey, ListenerSet],
    namespaces: Mapping[ObjectKey, Namespace],
    references: References,
) -> BoundGateway:
    allowed = gateway.spec.allowed_listeners.namespaces
    verdicts = {member: _allowed(allowed, key[0], member[0], namespaces) for member in sets}
    ranks = [[read(key, each, references) for each in gateway.spec.listeners]]
    ranks += [
        [read(key, listener, references, member) for listener in each.spec.listeners]
        for member, each in sets.items()
        if not verdicts[member].problem
    ]
    clients = _Clients(key, gateway, references)
    own, *others = _overlapping(_standing([[clients.known(each) for each in rank] for rank in ranks]))
    of_set = {each[0].listener_set: each for each in others if each}
    client, client_resolved = client_certificate(key, gateway, references)
    return BoundGateway(
        key=key,
        client=client,
        client_resolved=client_resolved,
        api=gateway,
        own=own,
        sets=tuple(
            BoundSet(key=member, api=each, gateway=key, allowed=verdicts[member], listeners=of_set.get(member, ()))
            for member, each in sets.items()
        ),
    )


def _allowed(
    wanted: ListenerNamespaces, gateway: str, namespace: str, namespaces: Mapping[ObjectKey, Namespace]
) -> Verdict:
    problem = "the Gateway's spec.allowedListeners does not let ListenerSets of this namespace attach"
    match wanted.source:
        case "All":
            return Verdict()
        case "Same" if namespace == gateway:
            return Verdict()
        case "Selector" if wanted.selector is not None:
            found = namespaces.get(("", namespace))
            try:
                selector = wanted.selector.parsed()
            except SelectorError:
                return Verdict("NotAllowed", problem)
            if found is not None and selector.matches(found.metadata.labels or {}):
                return Verdict()
    return Verdict("NotAllowed", problem)


def _standing(ranks: Sequence[Sequence[BoundListener]]) -> list[tuple[BoundListener, ...]]:
    """Return the listeners with what is wrong between them."""
    able = [[each for each in rank if not each.accepted.problem] for rank in ranks]
    verdicts = {
        id(each): verdict
        for rank, found in zip(able, conflicts(able), strict=True)
        for each, verdict in zip(rank, found, strict=True)
        if verdict is not None
    }
    room = _Room()
    return [
        tuple(
            msgspec.structs.replace(each, conflicted=Verdict(*verdicts[id(each)]))
            if id(each) in verdicts
            else room(each)
            for each in rank
        )
        for rank in ranks
    ]


def _overlapping(ranks: Iterable[Iterable[BoundListener]]) -> list[tuple[BoundListener, ...]]:
    """Return the listeners, those with TLS that share server names with others marked. Costs time proportional to them and their labels."""
    found = [tuple(rank) for rank in ranks]
    secure = [each for rank in found for each in rank if each.usable and each.protocol == "HTTPS"]
    names = {(each.port, each.hostname) for each in secure}
    marked: set[tuple[int, str]] = set()
    for each in secure:
        if each.hostname:
            around = {(each.port, name) for name in wider(each.hostname)} & names
            marked |= around | ({(each.port, each.hostname)} if around else set())
    alike = {id(each) for each in secure if (each.port, each.hostname) in marked}
    return [
        tuple(msgspec.structs.replace(each, overlapping=True) if id(each) in alike else each for each in rank)
        for rank in found
    ]


class _Clients:
    """How clients of each port of a Gateway are known. What it says holds for the listeners of its ListenerSets too."""

    def __init__(self, key: ObjectKey, gateway: Gateway, references: References) -> None:
        self._key = key
        self._gateway = gateway
        self._references = references
        self._of: dict[int, Clients | None] = {}

    def known(self, listener: BoundListener) -> BoundListener:
        """Return a listener that knows its clients; one that cannot know them must not let them in."""
        if listener.protocol != "HTTPS" or listener.accepted.problem:
            return listener
        if listener.port not in self._of:
            self._of[listener.port] = self._resolved(listener.port)
        clients = self._of[listener.port]
        if clients is None:
            return listener
        trust = clients.trust
        resolved = Verdict(trust.reason, trust.problem) if trust.problem else listener.resolved
        if not trust.bundles:
            accepted = Verdict("NoValidCACertificate", trust.problem)
            return msgspec.structs.replace(listener, accepted=accepted, resolved=resolved)
        return msgspec.structs.replace(listener, clients=clients, resolved=resolved)

    def _resolved(self, port: int) -> Clients | None:
        said = self._gateway.spec.validation(port)
        if said is None:
            return None
        field = "the Gateway's tls.frontend, caCertificateRefs"
        source = (GROUP, "Gateway", self._key[0])
        if said.mode not in ("AllowValidOnly", FALLBACK):
            problem = f"the Gateway's tls.frontend, mode: {said.mode[:64]!r} is not known"
            return Clients(trust=Trust(reason="InvalidCACertificateRef", problem=problem))
        trust = resolve(said.ca_certificate_refs, field, source, self._references.bundles, self._references.grants)
        if not trust.bundles and not trust.problem:
            trust = Trust(reason="InvalidCACertificateRef", problem=f"{field}: there are none")
        fallback = said.mode == FALLBACK
        return Clients(trust=trust, optional=fallback, untrusted=fallback)


class _Room:
    """How many listeners and ports of a Gateway there is room for."""

    def __init__(self) -> None:
        self._count = 0
        self._ports: set[tuple[str, int]] = set()

    def __call__(self, listener: BoundListener) -> BoundListener:
        """Return a listener, as one that has no room where there is none. A Gateway's own always have."""
        if listener.accepted.problem:
            return listener
        port = (listener.transport, listener.port)
        problem = None
        if listener.listener_set is None:
            pass
        elif self._count >= MOST_LISTENERS:
            problem = Verdict("TooManyListeners", f"the Gateway has {MOST_LISTENERS} listeners that go before this one")
        elif port not in self._ports and len(self._ports) >= MOST_PORTS:
            problem = Verdict(
                "PortUnavailable", f"the Gateway's listeners before this one have {MOST_PORTS} other ports"
            )
        if problem is not None:
            return msgspec.structs.replace(listener, accepted=problem)
        self._count += 1
        self._ports.add(port)
        return listener


def sets_of(gateways: Iterable[BoundGateway]) -> dict[ObjectKey, BoundSet]:
    """Return all ListenerSets of some Gateways."""
    return {each.key: each for gateway in gateways for each in gateway.sets}
