"""All kinds of policies, and what they are attached to in one snapshot. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from fairlead.api.gateway import GROUP, ParentRef
from fairlead.model.gateway import backend_tls, clients, limits, security, traffic
from fairlead.model.gateway.attachment import Attachments, Bearer, Place, PolicyKey, PolicyKind, PolicyState
from fairlead.model.gateway.listeners import BoundGateway, BoundListener
from fairlead.model.gateway.routes import BoundRoute, RouteKey
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import TABLES, Snapshot

FORWARDED = frozenset(("TLSRoute", "TCPRoute", "UDPRoute"))
"""Kinds of routes for connections and datagrams, which are handed on as they are."""
KINDS: tuple[PolicyKind, ...] = (backend_tls.KIND, traffic.KIND, security.KIND, limits.KIND, clients.KIND)


def service_place(key: ObjectKey) -> Place:
    """Return a Service as a place of policies."""
    return Place("", "Service", *key)


def gateway_place(key: ObjectKey) -> Place:
    """Return a Gateway as a place of policies."""
    return Place(GROUP, "Gateway", *key)


def route_place(key: RouteKey) -> Place:
    """Return a route as a place of policies."""
    return Place(GROUP, key[0], *key[1])


class Objects(msgspec.Struct, frozen=True):
    """What policies may be attached to, and which Gateways that concerns."""

    snapshot: Snapshot
    gateways: Mapping[ObjectKey, BoundGateway]
    bound: Mapping[RouteKey, BoundRoute]
    users: Callable[[ObjectKey], Iterable[RouteKey]]
    """Service → the routes that name it."""
    unheard: Mapping[PolicyKey, str] = {}
    """Policies that hold nowhere beside those of other objects, and why."""

    def missing(self, place: Place, section: str) -> str:
        """Return why there is no such place, empty when there is."""
        found, sections = self._sections(place)
        if not found:
            return f"there is no {place.kind} {place.namespace}/{place.name}"
        if section and section not in sections:
            return f"{place.kind} {place.namespace}/{place.name} has no section {section}"
        return ""

    def overruled(self, policy: PolicyKey) -> str:
        """Return why a policy holds nowhere beside those of other objects, empty when it does."""
        return self.unheard.get(policy, "")

    def ancestors(self, place: Place) -> list[ParentRef]:
        """Return the Gateways of ours whose requests an object concerns, by namespace and name."""
        key = (place.namespace, place.name)
        routes: Iterable[RouteKey] = ()
        found: set[ObjectKey] = set()
        if place.kind == "Gateway" and key in self.gateways:
            found.add(key)
        elif place.kind == "ListenerSet":
            listener_set = self.snapshot.listener_sets.get(key)
            parent = listener_set.spec.parent_ref if listener_set is not None else None
            at = (parent.namespace or place.namespace, parent.name) if parent is not None else None
            found |= {at} if at is not None and at in self.gateways else set()
        elif place.kind == "Service":
            routes = self.users(key)
        else:
            routes = ((place.kind, key),)
        for each in routes:
            if (route := self.bound.get(each)) is not None:
                found |= {attached.listener.gateway for attached in route.attached}
        return [
            ParentRef(namespace=namespace, name=name)
            for namespace, name in sorted(found)
            if (namespace, name) in self.snapshot.gateways
        ]

    def bearers(self, place: Place, section: str) -> list[Bearer]:
        """Return what of a place carries no requests."""
        key = (place.namespace, place.name)
        if place.kind in FORWARDED:
            return [_bearer((place.kind, key), exact=True)]
        if place.kind == "Service":
            return [_bearer(each, exact=False) for each in sorted(self.users(key)) if each[0] in FORWARDED]
        found: Iterable[BoundListener] = ()
        if place.kind == "Gateway" and key in self.gateways:
            gateway = self.gateways[key]
            found = (each for each in gateway.own if each.api.name == section) if section else gateway.listeners
        elif place.kind == "ListenerSet":
            sets = (each for at in self.ancestors(place) for each in self.gateways[at.namespace or "", at.name].sets)
            found = (each for one in sets if one.key == key for each in one.listeners)
            found = (each for each in found if section in ("", each.api.name))
        return [
            Bearer(f"listener {each.api.name}", each.transport, bool(section))
            for each in found
            if each.protocol not in ("HTTP", "HTTPS")
        ]

    def _sections(self, place: Place) -> tuple[bool, set[str | None]]:
        key = (place.namespace, place.name)
        match place.kind:
            case "Service":
                service = self.snapshot.services.get(key)
                return service is not None, {each.name for each in (service.spec.ports if service else None) or ()}
            case "Gateway":
                gateway = self.snapshot.gateways.get(key)
                return gateway is not None, {each.name for each in gateway.spec.listeners} if gateway else set()
            case "ListenerSet":
                listener_set = self.snapshot.listener_sets.get(key)
                return listener_set is not None, {
                    each.name for each in listener_set.spec.listeners
                } if listener_set else set()
            case "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute":
                route = getattr(self.snapshot, TABLES[place.kind]).get(key)
                rules = (route.spec.rules if route is not None else None) or ()
                return route is not None, {each.name for each in rules}
            case "Ingress":
                return ("Ingress", key) in self.bound, set()
        return False, set()


def _bearer(route: RouteKey, *, exact: bool) -> Bearer:
    kind, key = route
    return Bearer(f"{kind} {'/'.join(key)}", "UDP" if kind == "UDPRoute" else "TCP", exact)


class Policies:
    """Policies of all kinds, one snapshot after the other, and what became of each."""

    def __init__(self, kinds: Iterable[PolicyKind] = KINDS) -> None:
        self._of = {kind.kind: Attachments(kind) for kind in kinds}
        self._states: dict[PolicyKey, PolicyState] = {}
        self._troubled: set[PolicyKey] = set()
        self._stale: set[PolicyKey] = set()
        self._restated: set[PolicyKey] = set()

    def __repr__(self) -> str:
        return f"<Policies {list(self._of.values())}>"

    def of(self, kind: str) -> Attachments:
        """Return the policies of a kind."""
        return self._of[kind]

    def update(self, snapshot: Snapshot, touched: frozenset[ObjectKey] | None = None) -> Mapping[str, frozenset[Place]]:
        """Take in a snapshot and return the objects whose policies changed, by kind; `touched` Services may have, None: all."""
        changed: dict[str, frozenset[Place]] = {}
        for kind, attachments in self._of.items():
            found = attachments.update(snapshot, touched)
            self.concern(found)
            if found:
                self._stale |= {(kind, key) for key in attachments.moved}
                changed[kind] = found
        return changed

    def concern(self, places: Iterable[Place]) -> None:
        """Note that objects changed to which policies may be attached. Costs time proportional to the objects."""
        kinds = [(kind, each) for kind, each in self._of.items() if each.policies()]
        for place in places if kinds else ():
            self._stale |= {(kind, key) for kind, each in kinds for key in each.at(place)}

    def concern_all(self) -> None:
        """Note that anything may have changed."""
        self._stale |= {(kind, key) for kind, each in self._of.items() for key in each.policies()}

    def settle(self, objects: Objects) -> None:
        """Find what became of the policies that what was noted concerns."""
        for kind, key in self._stale:
            state = self._of[kind].state(key, objects)
            at = (kind, key)
            self._troubled.discard(at)
            if state == PolicyState():
                self._states.pop(at, None)
            else:
                self._states[at] = state
                if state.problems:
                    self._troubled.add(at)
        self._restated |= self._stale
        self._stale = set()

    def state(self, kind: str, key: ObjectKey) -> PolicyState:
        """Return what became of a policy."""
        return self._states.get((kind, key), PolicyState())

    def take_restated(self) -> frozenset[PolicyKey]:
        """Return the policies of which something may have changed since the last call."""
        taken, self._restated = frozenset(self._restated), set()
        return taken

    def troubled(self) -> Iterable[PolicyState]:
        """Return what became of the policies with something wrong. Costs time proportional to these."""
        return (self._states[each] for each in sorted(self._troubled))
