"""One route and its parents: where it attaches, why not, and what it does there. Pure.

Source: ParentReference, RouteParentStatus and RouteConditionReason of the Gateway API v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import GROUP, ParentRef
from fairlead.api.httproute import GRPCRoute, HTTPRoute
from fairlead.api.l4route import TCPRoute, TLSRoute, UDPRoute
from fairlead.api.pod import Namespace
from fairlead.api.routeextension import RouteExtension
from fairlead.api.service import Service
from fairlead.base.selectors import SelectorError
from fairlead.model.gateway.backends import Backends, FindTls, Target
from fairlead.model.gateway.forwards import Split, split
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.hosts import intersection
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, BoundSet, ListenerKey, Verdict
from fairlead.model.gateway.names import PART, PASSED
from fairlead.model.gateway.offers import Offers
from fairlead.model.gateway.rules import grpc_routes, http_routes
from fairlead.model.gateway.values import RuleError, is_hostname
from fairlead.plan.gateway.route import GatewayRoute
from fairlead.world.events import ObjectKey

Route: TypeAlias = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute | UDPRoute
RouteKey: TypeAlias = tuple[str, ObjectKey]
"""Kind and key."""


class Attached(msgspec.Struct, frozen=True):
    """A listener that took a route, and the hosts that it serves there."""

    listener: BoundListener
    hosts: tuple[str, ...]


class ParentVerdict(msgspec.Struct, frozen=True):
    """What became of one parentRef that names a Gateway of ours."""

    parent: ParentRef
    accepted: Verdict
    resolved: Verdict
    attached: tuple[Attached, ...] = ()
    notes: tuple[str, ...] = ()
    """What is lost to older routes though the parent has accepted this one."""


class BoundRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route and all that follows from it."""

    key: RouteKey
    api: Route
    parents: tuple[ParentVerdict, ...] = ()
    rules: tuple[GatewayRoute, ...] = ()
    """In the order of the specification's rules and matches."""
    split: Split | None = None
    """What becomes of connections, for the kinds that do not read them."""
    targets: Mapping[str, Target] = {}
    asked: frozenset[ObjectKey] = frozenset()
    """Services on which it depends."""
    extended: frozenset[ObjectKey] = frozenset()
    """RouteExtensions on which it depends."""

    @property
    def attached(self) -> tuple[Attached, ...]:
        """Return the listeners that took it."""
        return tuple(attached for parent in self.parents for attached in parent.attached)

    @property
    def reference(self) -> str:
        """Return the object that it comes from."""
        return origin_of(self.key)

    @property
    def age(self) -> tuple[str, str]:
        """Return what orders routes that want the same: the oldest goes first, then the first by name."""
        metadata = self.api.metadata
        return metadata.creation_timestamp or "9999", f"{metadata.namespace}/{metadata.name}"


def hostnames_of(route: Route) -> tuple[str, ...]:
    """Return the hosts that a route names."""
    return () if isinstance(route, TCPRoute | UDPRoute) else route.spec.hostnames or ()


def origin_of(key: RouteKey) -> str:
    """Return the object that a route comes from."""
    kind, (namespace, name) = key
    return reference(kind, namespace, name.partition(PART)[0])


class Surroundings(msgspec.Struct, frozen=True):
    """What routes are bound to, beside Services."""

    gateways: Mapping[ObjectKey, BoundGateway]
    sets: Mapping[ObjectKey, BoundSet]
    offers: Mapping[tuple[str, ObjectKey], Offers]
    """Kind and key of each of these → its listeners."""
    namespaces: Mapping[ObjectKey, Namespace]
    grants: Grants
    backend_tls: FindTls = lambda _service, _port: None


def bind(
    key: RouteKey,
    route: Route,
    around: Surroundings,
    services: Mapping[ObjectKey, Service],
    extensions: Mapping[ObjectKey, RouteExtension],
) -> BoundRoute:
    """Return what becomes of a route; nothing of it serves where no parent is ours.

    Costs time proportional to the route and to the listeners that may have a host in common with it.
    """
    kind, (namespace, _) = key
    ours = [
        (ref, offers)
        for ref in route.spec.parent_refs or ()
        if (offers := _offered(ref, namespace, around)) is not None
    ]
    if not ours:
        return BoundRoute(key=key, api=route)
    backends = Backends(kind, namespace, services, around.grants, extensions, tls=around.backend_tls)
    (rules, found_split), invalid = _rules(route, origin_of(key), backends)
    parents: list[ParentVerdict] = []
    for ref, offers in ours:
        attached = PASSED if kind == "Ingress" and isinstance(route, TLSRoute) else kind
        found, accepted = _attach(attached, namespace, route, ref, offers, around)
        if not accepted.problem and invalid:
            accepted = Verdict("UnsupportedValue", invalid)
        parents.append(ParentVerdict(ref, accepted, backends.verdict, () if accepted.problem else tuple(found)))
    return BoundRoute(
        key=key,
        api=route,
        parents=tuple(parents),
        rules=rules,
        split=found_split,
        targets=backends.targets,
        asked=frozenset(backends.asked),
        extended=frozenset(backends.extended),
    )


def without(route: BoundRoute, lost: Mapping[ListenerKey, RouteKey]) -> BoundRoute:
    """Return a route that has lost some listeners to other routes."""
    if not lost:
        return route
    parents = []
    for parent in route.parents:
        kept = tuple(each for each in parent.attached if each.listener.key not in lost)
        notes = [
            f"listener {each.listener.api.name}: {origin_of(lost[each.listener.key])} is older and has a host in common; "
            "HTTP and gRPC share none"
            for each in parent.attached
            if each.listener.key in lost
        ]
        accepted = parent.accepted if kept or not notes else Verdict("Conflicted", "; ".join(notes))
        parents.append(msgspec.structs.replace(parent, accepted=accepted, attached=kept, notes=(*parent.notes, *notes)))
    return msgspec.structs.replace(route, parents=tuple(parents))


def _rules(route: Route, origin: str, backends: Backends) -> tuple[tuple[tuple[GatewayRoute, ...], Split | None], str]:
    """Return what a route does with requests, or with connections, and what is wrong with it."""
    nothing: tuple[tuple[GatewayRoute, ...], None] = ((), None)
    wrong = next((each for each in hostnames_of(route) if not is_hostname(each)), None)
    if wrong is not None:
        return nothing, f"spec.hostnames: {wrong[:64]!r} is neither a host name nor *. and one"
    found: list[GatewayRoute] = []
    try:
        match route:
            case HTTPRoute():
                for at, http in enumerate(route.spec.rules or ()):
                    found += http_routes(http, at, origin, route.metadata.uid, backends)
            case GRPCRoute():
                for at, grpc in enumerate(route.spec.rules or ()):
                    found += grpc_routes(grpc, at, origin, route.metadata.uid, backends)
            case _:
                return ((), split(route.spec, backends)), ""
    except RuleError as error:
        return nothing, str(error)
    return (tuple(found), None), ""


def offers_of(gateways: Iterable[BoundGateway]) -> dict[tuple[str, ObjectKey], Offers]:
    """Return what Gateways and their ListenerSets offer to routes. A Gateway does not offer the listeners of its ListenerSets."""
    found: dict[tuple[str, ObjectKey], Offers] = {}
    for gateway in gateways:
        found["Gateway", gateway.key] = Offers(gateway.own)
        found |= {("ListenerSet", each.key): Offers(each.listeners) for each in gateway.sets}
    return found


def _offered(ref: ParentRef, namespace: str, around: Surroundings) -> Offers | None:
    """Return the listeners of a parent, None for a parent that is not ours."""
    return around.offers.get((ref.kind, (ref.namespace or namespace, ref.name))) if ref.group == GROUP else None


def _attach(
    kind: str,
    namespace: str,
    route: Route,
    ref: ParentRef,
    offers: Offers,
    around: Surroundings,
) -> tuple[list[Attached], Verdict]:
    parent = f"{ref.kind} {ref.namespace or namespace}/{ref.name}"
    named = offers.named(ref.section_name, ref.port)
    if not named:
        return [], Verdict("NoMatchingParent", f"{parent} has no such listener")
    hostnames = hostnames_of(route)
    found = [
        Attached(each, hosts)
        for each in named.around(hostnames)
        if (hosts := intersection(each.hostname, hostnames)) and _allows(each, kind, namespace, around.namespaces)
    ]
    if found:
        return found, Verdict()
    if not any(_allows(each, kind, namespace, around.namespaces) for each in named.sorts):
        problem = f"no listener of {parent} allows a {kind} of namespace {namespace}"
        return [], Verdict("NotAllowedByListeners", problem)
    problem = "spec.hostnames has no host in common with the listeners that allow this route"
    return [], Verdict("NoMatchingListenerHostname", problem)


def _allows(listener: BoundListener, kind: str, namespace: str, namespaces: Mapping[ObjectKey, Namespace]) -> bool:
    if kind not in listener.kinds or listener.accepted.problem:
        return False
    return _admits(listener, namespace, namespaces)


def _admits(listener: BoundListener, namespace: str, namespaces: Mapping[ObjectKey, Namespace]) -> bool:
    wanted = listener.api.allowed_routes.namespaces
    if wanted.source == "All":
        return True
    if wanted.source == "Same":
        return namespace == listener.namespace
    if wanted.source != "Selector" or wanted.selector is None:
        return False
    found = namespaces.get(("", namespace))
    try:
        selector = wanted.selector.parsed()
    except SelectorError:
        return False
    return found is not None and selector.matches(found.metadata.labels or {})
