"""The gateway rows of one node: what remembers, between one snapshot and the next.

A changed route costs itself and the hosts that it serves; a changed endpoint its Service's cluster; a changed Gateway, certificate or
grant everything, as these are few and change seldom. Equal worlds give equal rows whatever came before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import ParentRef
from fairlead.api.node import Node
from fairlead.api.routeextension import RouteExtension
from fairlead.api.service import Service
from fairlead.api.trust_material import TrustMaterial
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway import chains, clients, doors, forwards, problems
from fairlead.model.gateway.admission import Admission, admission
from fairlead.model.gateway.admission import words as admission_words
from fairlead.model.gateway.attachment import Place, Reading
from fairlead.model.gateway.backends import Target, endpoints_of
from fairlead.model.gateway.clients import ClientPolicies
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.guards import PLACES, words
from fairlead.model.gateway.handoffs import HandOffs
from fairlead.model.gateway.hosts import ANY, most_exact
from fairlead.model.gateway.index import RouteIndex
from fairlead.model.gateway.index import places as places_of
from fairlead.model.gateway.ingress import IngressReader
from fairlead.model.gateway.ingress_clients import authorities, guarded
from fairlead.model.gateway.ingress_references import Referred
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, BoundSet, References
from fairlead.model.gateway.merging import ingress_gateways, our_gateways, sets_of
from fairlead.model.gateway.names import service_name
from fairlead.model.gateway.node_ports import NodePort, holders
from fairlead.model.gateway.parameters import placed
from fairlead.model.gateway.policies import FORWARDED, Objects, Policies, route_place, service_place
from fairlead.model.gateway.policy_needs import PolicyNeeds
from fairlead.model.gateway.requests import Rule, in_order
from fairlead.model.gateway.rivals import Contests
from fairlead.model.gateway.routes import (
    BoundRoute,
    Route,
    RouteKey,
    Surroundings,
    bind,
    offers_of,
    origin_of,
    without,
)
from fairlead.model.gateway.rules import at_listener
from fairlead.model.gateway.shadows import Shadows
from fairlead.model.merge import MergedRows
from fairlead.model.rows import Rows
from fairlead.model.services import ZONE
from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.cluster import GatewayEndpoints
from fairlead.plan.gateway.presence import GatewayDrain
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.gateway.traffic import Traffic
from fairlead.plan.tables import Key, Origin, Row
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot, Token

_SURROUNDINGS = (
    "settings",
    "gateway_classes",
    "gateways",
    "listener_sets",
    "gateway_parameters",
    "client_traffic_policies",
    "certificates",
    "reference_grants",
    "namespaces",
)


class GatewayStage:
    """Compiles what one node's proxy does, one snapshot after the other."""

    def __init__(self) -> None:
        self._read: tuple[object, ...] = ()
        self.ingresses = IngressReader()
        self.policies = Policies()
        self.clients = ClientPolicies((), self.policies.of(clients.KIND.kind))
        self._tables_read: dict[str, Mapping[ObjectKey, Route]] = {}
        self._token: Token | None = None
        """Of the snapshot that was read last."""
        self._around = Surroundings({}, {}, {}, {}, Grants({}))
        self._routes = RouteIndex({})
        self._rebound: set[RouteKey] = set()
        self._contests = Contests()
        self._shadows = Shadows()
        self._handoffs = HandOffs()
        self._ports: dict[str, dict[str, BoundListener]] = {}
        """Table → the listeners that share it, by host name."""
        self._terminating: set[str] = set()
        """Tables that a listener of protocol HTTPS shares."""
        self._service_table: Mapping[ObjectKey, Service] = {}
        self._extensions: Mapping[ObjectKey, RouteExtension] = {}
        self._needs = PolicyNeeds()
        self._doors: dict[ObjectKey, ObjectKey] = {}
        """The Gateways' own Services, which say where the proxy listens → the Gateway."""
        self._trust_read: Mapping[ObjectKey, TrustMaterial] = {}
        self._trust: Mapping[ObjectKey, TrustMaterial] = {}
        self._authorities: Mapping[ObjectKey, TrustMaterial] = {}
        self._http3: dict[ObjectKey, frozenset[int]] = {}
        """Gateway → the ports at which clients get HTTP/3 too."""
        self._holders: Mapping[NodePort, ObjectKey] = {}
        """Whose each port of the nodes is."""
        self._merged = MergedRows()

    def __repr__(self) -> str:
        return f"<GatewayStage gateways={len(self._around.gateways)} routes={len(self.bound)}>"

    @property
    def bound(self) -> Mapping[RouteKey, BoundRoute]:
        """Return every route of which a parent is ours, and what became of it."""
        return self._routes.bound

    @property
    def gateways(self) -> Mapping[ObjectKey, BoundGateway]:
        """Return the Gateways of ours."""
        return self._around.gateways

    def take_rebound(self) -> frozenset[RouteKey]:
        """Return the routes that were bound anew, or forgotten, since the last call."""
        taken, self._rebound = frozenset(self._rebound), set()
        return taken

    def described(self, key: RouteKey) -> BoundRoute | None:
        """Return a route with notes about what never decides, as older routes match the same; None when no parent is ours."""
        route = self.bound.get(key)
        if route is None:
            return None
        parents = []
        for parent in route.parents:
            places = dict.fromkeys((each.listener.table, host) for each in parent.attached for host in each.hosts)
            notes = [note for place in places for note in self._shadows.notes(place, key)]
            notes += [note for place in places for note in self._handoffs.notes(place, key)]
            parents.append(msgspec.structs.replace(parent, notes=(*parent.notes, *notes)))
        return msgspec.structs.replace(route, parents=tuple(parents))

    @property
    def holders(self) -> Mapping[NodePort, ObjectKey]:
        """Return whose each port of the nodes is, where Gateways' Services lead."""
        return self._holders

    @property
    def sets(self) -> Mapping[ObjectKey, BoundSet]:
        """Return the ListenerSets of the Gateways of ours."""
        return self._around.sets

    def attached(self, listener: BoundListener) -> int:
        """Return how many routes a listener has taken."""
        return self._routes.attached[listener.key]

    def tables(self) -> Mapping[str, Mapping[Key, Row]]:
        """Return the rows; they stay as they are."""
        return self._merged.tables()

    def origins(self) -> dict[tuple[str, Key], tuple[Origin, ...]]:
        """Return what caused each row. Costs time proportional to all rows."""
        return self._merged.origins()

    def diagnostics(self) -> list[Diagnostic]:
        """Return what is wrong with Gateways, routes and policies. Costs time proportional to what is wrong, and to the Gateways."""
        found = [*self.ingresses.diagnostics(), *problems.of_gateways(self.gateways), *problems.of_routes(self._routes)]
        found += [Diagnostic(object=origin_of(each), message=note) for each, note in self._handoffs.overruled()]
        found += problems.of_ingress_certificates(self.ingresses, self.gateways, problems.unresolved)
        found += problems.of_ingress_clients(self.ingresses, self.gateways)
        for gateway in self.gateways.values():
            name = reference("Gateway", *gateway.key)
            handing_on = (each for each in gateway.listeners if each.protocol not in ("HTTP", "HTTPS") and each.usable)
            said = map(self._handoffs.crowded, handing_on)
            found += [Diagnostic(object=name, message=each) for each in dict.fromkeys(said) if each]
        return [*found, *problems.of_policies(self.policies)]

    def ingress_diagnostics(self) -> list[Diagnostic]:
        """Return what cannot be honored of Ingresses; a backend that is not there is not that. Costs time proportional to what is wrong."""
        found = [*dict.fromkeys(each for remarks in self.ingresses.remarks.values() for each in remarks)]
        found += problems.of_ingresses(self._routes)
        found += problems.of_ingress_certificates(self.ingresses, self.gateways, problems.unresolved)
        found += problems.of_ingress_clients(self.ingresses, self.gateways)
        return [*found, *(each for each in problems.of_policies(self.policies) if each.object.startswith("Ingress/"))]

    def update(self, snapshot: Snapshot, touched: frozenset[ObjectKey] | None) -> Mapping[str, frozenset[Key]] | None:
        """Take in a snapshot and return the keys of the rows that changed; None when everything was redone.

        `touched` are the Services whose object or slices changed since the last one, None when that is not known.
        """
        node = snapshot.nodes.get(snapshot.settings.node)
        concerned = snapshot.routes_changed_since(self._token) if self._token is not None else None
        of_ingresses = self.ingresses.update(
            snapshot.ingress_classes,
            snapshot.ingresses,
            snapshot.services,
            Referred(snapshot.trust_material, snapshot.reference_grants, snapshot.middlewares),
            touched,
            _of_kind("Ingress", concerned),
        )
        around = (getattr(snapshot, name) for name in _SURROUNDINGS)
        read = (
            node,
            self.ingresses.gateways,
            self.ingresses.over_quic,
            self.ingresses.guards,
            self._certificates_of(snapshot),
            self._authorities_of(snapshot),
            *around,
        )
        same = len(read) == len(self._read) and all(a is b for a, b in zip(read, self._read, strict=True))
        governed = self.policies.update(self.ingresses.with_policies(snapshot), touched)
        opened = (touched or frozenset()) & self._doors.keys()
        moved = any(self._service_table.get(each) is not snapshot.services.get(each) for each in opened)
        if not same or touched is None or moved:
            self._read = read
            self._start_anew(snapshot, node)
            self.policies.concern_all()
            self._settle(snapshot)
            return None
        hosts: set[tuple[str, str]] = set()
        clusters: set[str] = set()
        tables = self._route_tables(snapshot)
        asked = _services(governed.get("BackendTLSPolicy", ()))
        changed = self._changed_routes(snapshot, concerned, of_ingresses, touched, asked)
        self._tables_read, self._extensions, self._token = tables, snapshot.route_extensions, snapshot.token
        self._replace_all(changed, snapshot, hosts, clusters)
        parts: dict[ObjectKey, Rows | None] = {
            ("health", "/".join(self._doors[each])): self._health(self._doors[each], snapshot, node) for each in opened
        }
        places = frozenset(each for found in governed.values() for each in found)
        if requests := [each for each in places if each.kind in PLACES]:
            hosts |= self._governed(requests)
            came_or_went, keys = self._needs.put(self.policies.of("SecurityPolicy").readings())
            clusters |= came_or_went
            parts |= keys
        touched |= _services(places)
        clusters |= {name for name, target in self._needs.targets.items() if target.service in touched}
        for service in touched & self._routes.clusters.keys():
            clusters |= self._routes.clusters[service]
        for service in touched & self._routes.asked.keys():
            for route in self._routes.asked[service]:
                if route[0] == "UDPRoute":
                    hosts |= set(places_of(self.bound[route]))
        parts |= {("host", f"{table} {domain}"): self._place(table, domain, snapshot, node) for table, domain in hosts}
        for at in self._handoffs.take_changed() & self.gateways.keys():
            parts["gateway", "/".join(at)] = self._gateway(at, snapshot, node)
        parts |= {("cluster", name): self._cluster(name, snapshot, node) for name in clusters}
        if snapshot.services is not self._service_table:
            # Endpoints come and go more often: policies ask whether a Service is there, and for its ports.
            self.policies.concern(service_place(each) for each in touched)
        self._settle(snapshot)
        return self._merged.update(parts)

    def _certificates_of(self, snapshot: Snapshot) -> Mapping[ObjectKey, TrustMaterial]:
        """Return what listeners want of ConfigMaps, the same object while that is the same: keys and headers are others'."""
        if snapshot.trust_material is not self._trust_read:
            self._trust_read = snapshot.trust_material
            found = {
                key: msgspec.structs.replace(each, jwks="", jwks_problem="", headers={}, headers_problem="")
                for key, each in self._trust_read.items()
            }
            if found != self._trust:
                self._trust = found
        return self._trust

    def _authorities_of(self, snapshot: Snapshot) -> Mapping[ObjectKey, TrustMaterial]:
        """Return the CA certificates of clients that Ingresses want, the same object while these are the same: other credentials are not that."""
        guards = (each for of_gateway in self.ingresses.guards.values() for each in of_gateway.values())
        known = snapshot.client_authorities
        found = {key: known[key] for key in authorities(guards) if key in known}
        if found != self._authorities:
            self._authorities = found
        return self._authorities

    def _settle(self, snapshot: Snapshot) -> None:
        """Find what became of the policies, once all routes are bound."""
        self._service_table = snapshot.services
        users = self._routes.asked
        unheard = {(clients.KIND.kind, key): words for key, words in self.clients.overruled.items()}
        self.policies.settle(
            Objects(snapshot, self.gateways, self.bound, lambda service: users.get(service, ()), unheard)
        )

    def _start_anew(self, snapshot: Snapshot, node: Node | None) -> None:
        grants = Grants(snapshot.reference_grants)
        references = References(snapshot.certificates, snapshot.trust_material, grants)
        gateways = placed(
            {
                **{
                    key: guarded(
                        each,
                        self.ingresses.guards.get(key, {}),
                        self._authorities,
                        snapshot.reference_grants,
                    )
                    for key, each in ingress_gateways(self.ingresses.gateways, references).items()
                },
                **our_gateways(
                    snapshot.gateway_classes,
                    snapshot.gateways,
                    snapshot.listener_sets,
                    snapshot.namespaces,
                    references,
                    snapshot.gateway_parameters,
                ),
            }
        )
        self._holders = holders(gateways.values(), snapshot.services)
        self.clients = ClientPolicies(gateways.values(), self.policies.of(clients.KIND.kind), self.ingresses.over_quic)
        sets, offers = sets_of(gateways.values()), offers_of(gateways.values())
        self._around = Surroundings(gateways, sets, offers, snapshot.namespaces, grants, self._tls)
        known = self.bound.keys()
        self._routes = RouteIndex(gateways)
        self._handoffs = HandOffs()
        parts: dict[ObjectKey, Rows | None] = dict.fromkeys(self._merged.owners())
        hosts: set[tuple[str, str]] = set()
        self._ports, self._terminating = {}, set()
        # Those that are bound no more have a status to lose.
        self._rebound |= known
        self._doors = {(namespace, service_name(name)): (namespace, name) for namespace, name in gateways}
        self._http3 = {at: chains.ports_of_http3(gateways[at], snapshot.services, self.clients) for at in gateways}
        for gateway in gateways.values():
            for listener in gateway.listeners:
                if listener.usable:
                    self._ports.setdefault(listener.table, {})[listener.hostname] = listener
                    if listener.protocol == "HTTPS":
                        self._terminating.add(listener.table)
                    hosts.add((listener.table, listener.hostname or ANY))
        self._tables_read, self._extensions = self._route_tables(snapshot), snapshot.route_extensions
        self._token = snapshot.token
        self._contests, self._shadows = Contests(), Shadows()
        every = [(kind, key) for kind, table in self._tables_read.items() for key in table]
        self._replace_all(every, snapshot, hosts, set())
        for table_name, domain in hosts:
            parts["host", f"{table_name} {domain}"] = self._place(table_name, domain, snapshot, node)
        for at in gateways:
            parts["gateway", "/".join(at)] = self._gateway(at, snapshot, node)
            parts["health", "/".join(at)] = self._health(at, snapshot, node)
        if node is not None and node.is_leaving and gateways:
            drain = GatewayDrain(reason="the node is about to be deleted")
            parts["drain", ""] = Rows.of([("gateway_drains", drain)], [reference("Node", "", node.metadata.name)])
        # Every Gateway's rows have just been made, with all of its server names.
        self._handoffs.take_changed()
        self._needs = PolicyNeeds()
        parts |= self._needs.put(self.policies.of("SecurityPolicy").readings())[1]
        for name in {**self._routes.needed, **self._needs.targets}:
            parts["cluster", name] = self._cluster(name, snapshot, node)
        self._merged.update(parts)

    def _route_tables(self, snapshot: Snapshot) -> dict[str, Mapping[ObjectKey, Route]]:
        return {
            "HTTPRoute": snapshot.http_routes,
            "GRPCRoute": snapshot.grpc_routes,
            "TLSRoute": snapshot.tls_routes,
            "TCPRoute": snapshot.tcp_routes,
            "UDPRoute": snapshot.udp_routes,
            "Ingress": self.ingresses.routes,
        }

    def _changed_routes(
        self,
        snapshot: Snapshot,
        concerned: frozenset[RouteKey] | None,
        of_ingresses: frozenset[ObjectKey],
        touched: frozenset[ObjectKey],
        governed: set[ObjectKey],
    ) -> set[RouteKey]:
        """Return the routes to be bound anew: of those that may have changed the ones that did, and those whose surroundings did."""
        found: set[RouteKey] = set()
        for kind, new in self._route_tables(snapshot).items():
            old = self._tables_read[kind]
            if new is old:
                continue
            keys = of_ingresses if kind == "Ingress" else _of_kind(kind, concerned)
            if keys is None:
                keys = old.keys() | new.keys()
            found |= {(kind, key) for key in keys if old.get(key) is not new.get(key)}
        if snapshot.route_extensions is not self._extensions:
            for each, users in self._routes.extended.items():
                if self._extensions.get(each) is not snapshot.route_extensions.get(each):
                    found |= users
        for service in (touched | governed) & self._routes.asked.keys():
            if service in governed or self._routes.services[service] != snapshot.services.get(service):
                found |= self._routes.asked[service]
        return found

    def _replace_all(
        self, routes: Collection[RouteKey], snapshot: Snapshot, hosts: set[tuple[str, str]], clusters: set[str]
    ) -> None:
        """Bind routes anew, and those that have lost or won hosts by that."""
        while routes:
            for kind, key in routes:
                self._replace((kind, key), self._tables_read[kind].get(key), snapshot, hosts, clusters)
            routes = self._contests.take_disputed()

    def _replace(
        self,
        key: RouteKey,
        route: Route | None,
        snapshot: Snapshot,
        hosts: set[tuple[str, str]],
        clusters: set[str],
    ) -> None:
        """Bind a route anew, or forget it; note the hosts and clusters that it changes."""
        self._rebound.add(key)
        old = self._routes.remove(key, hosts, clusters)
        self.policies.concern((route_place(key), *(map(service_place, old.asked) if old is not None else ())))
        if route is None:
            self._contests.remove(key)
            return
        new = bind(key, route, self._around, snapshot.services, snapshot.route_extensions)
        hosts_of = {each.listener.key: each.hosts for each in new.attached}
        new = without(new, self._contests.put(key, new.age, hosts_of))
        if new.parents:
            self._routes.add(new, snapshot.services, hosts, clusters)
            self.policies.concern(map(service_place, new.asked))

    def _governed(self, places: Iterable[Place]) -> set[tuple[str, str]]:
        """Return the hosts of objects whose policies changed; a Gateway's cost a look at every route."""
        found: set[tuple[str, str]] = set()
        gateways = {(each.namespace, each.name) for each in places if each.kind == "Gateway"}
        routes = {(each.kind, (each.namespace, each.name)) for each in places if each.kind != "Gateway"}
        if gateways:
            routes |= self._routes.of_gateways(gateways)
        for key in routes & self.bound.keys():
            found.update(places_of(self.bound[key]))
            self._rebound.add(key)
        return found

    def affected(self, route: BoundRoute, parent: ParentRef) -> tuple[str, str]:
        """Return what policies decide about a route's requests at a parent, and why some are refused."""
        gateway = (parent.namespace or route.key[1][0], parent.name)
        at = [
            each.listener
            for each in route.attached
            if each.listener.gateway == gateway
            and parent.section_name in (None, each.listener.api.name)
            and parent.port in (None, each.listener.api.port)
        ]
        if route.key[0] in FORWARDED:
            return admission_words(self.policies, route, at, self._handoffs.crowded)
        return words(self.policies, route, at)

    def _gateway(self, key: ObjectKey, snapshot: Snapshot, node: Node | None) -> Rows:
        gateway = self.gateways[key]
        rows = chains.rows(
            gateway,
            snapshot.services,
            self._holders,
            node,
            snapshot.certificates,
            snapshot.trust_material,
            self.clients,
            self._handoffs.refused,
            self._handoffs.crowded,
        )
        causes = [reference("Gateway", *key)]
        causes += [reference("ListenerSet", *each.key) for each in gateway.sets if each.attached]
        return Rows.of(rows, causes)

    def _health(self, key: ObjectKey, snapshot: Snapshot, node: Node | None) -> Rows | None:
        door = key[0], service_name(key[1])
        row = doors.health_port(self.gateways[key], snapshot.services.get(door), snapshot.slices_of.get(door, ()), node)
        if row is None or not any(each.usable for each in self.gateways[key].listeners):
            return None
        return Rows.of([("gateway_health_ports", row)], [reference("Service", *door)])

    def _place(self, table: str, domain: str, snapshot: Snapshot, node: Node | None) -> Rows | None:
        listeners = self._ports.get(table, {})
        decider = listeners.get(most_exact(listeners, domain))
        if decider is None or decider.protocol in ("HTTP", "HTTPS"):
            return self._host(decider, table, domain)
        return self._connections(decider, domain, snapshot, node)

    def _connections(self, decider: BoundListener, domain: str, snapshot: Snapshot, node: Node | None) -> Rows | None:
        """Return what connections or datagrams for a host get: what the oldest of the routes says that want them."""
        place = (decider.table, domain)
        routes, told = self._handoffs.rivals(place, self._routes.at(decider, domain))
        self._rebound |= told
        own = domain == (decider.hostname or ANY)
        taken = admission(self.policies, decider, routes[0]) if routes else Admission()
        if self._handoffs.put(decider, domain, taken.refused if own or routes else None):
            self._rebound |= self._routes.of_gateways([decider.gateway])
        if not own and not routes:
            return None
        wanted = routes[0].split if routes and not taken.problem else None
        name = chains.forward_name(decider.chain, domain)
        found: list[tuple[str, Row]] = []
        if decider.transport == "UDP":
            cluster, endpoints = forwards.datagrams(
                name, wanted, lambda target: self._endpoints(target, snapshot, node)
            )
            found += [("gateway_clusters", cluster), ("gateway_endpoints", endpoints)]
        else:
            found.append(("gateway_forwards", forwards.forward(name, wanted, decider, self.gateways[decider.gateway])))
        if own and decider.table in self._terminating:
            # A connection that another listener took does not get there by a request.
            row = GatewayHost(table=decider.table, domain=domain, routes=(), chain=decider.chain)
            found.append(("gateway_hosts", row))
        kind, owner = decider.owner
        causes = [reference(kind, *owner), *(origin_of(each.key) for each in routes[:1])]
        return Rows.of(found, [*causes, *sorted({source for _, source in taken.sources})])

    def _host(self, decider: BoundListener | None, table: str, domain: str) -> Rows | None:
        found: list[Rule] = []
        origins: set[Origin] = set()
        if decider is not None:
            routes = self._routes.at(decider, domain)
            found, origins = in_order(self.policies, decider, self.gateways[decider.gateway], domain, routes)
        self._rebound |= self._shadows.put((table, domain), found)
        if not found and (decider is None or (decider.hostname or ANY) != domain):
            return None
        rules = [each.proxied for each in found]
        if decider is not None:
            kind, owner = decider.owner
            origins.add(reference(kind, *owner))
            rules = [at_listener(each, decider.api.protocol, decider.api.port) for each in rules]
            if (redirect := self.clients.redirect(decider)) is not None:
                rules = [*(each for each in rules if clients.is_challenge(each)), redirect]
                origins.add(redirect.origin)
        # Without TLS, connections are not told apart.
        several = decider is not None and decider.chain != table and len(self._ports[table]) > 1
        row = GatewayHost(
            table=table,
            domain=domain,
            routes=tuple(rules),
            chain=decider.chain if decider is not None and several else "",
            http3=decider.port if decider is not None and self._tells_of_http3(decider) else 0,
        )
        return Rows.of([("gateway_hosts", row)], sorted(origins))

    def _tells_of_http3(self, listener: BoundListener) -> bool:
        verdict = self.clients.http3(listener)
        return verdict is not None and not verdict.problem and listener.port in self._http3[listener.gateway]

    def _cluster(self, name: str, snapshot: Snapshot, node: Node | None) -> Rows | None:
        target = self._routes.needed[name][0] if name in self._routes.needed else self._needs.targets.get(name)
        if target is None:
            return None
        if target.protocol == "udp":
            # Its endpoints stand in the clusters of the listeners.
            return None
        service = snapshot.services.get(target.service)
        if (
            name not in self._routes.needed
            and (reading := self._tls(target.service, target.port_name(service))) is not None
        ):
            if reading.value is None:
                # Without a cluster nothing passes: what asks it must not do so in plain text.
                return None
            tls, trust = reading.value
            target = msgspec.structs.replace(target, tls=tls, trust=trust)
        endpoints = self._endpoints(target, snapshot, node)
        rows: list[tuple[str, Row]] = [
            ("gateway_clusters", target.row(self._traffic(target, service))),
            ("gateway_endpoints", GatewayEndpoints(cluster=name, endpoints=endpoints)),
        ]
        if target.trust is not None:
            rows.append(("gateway_trusts", target.trust))
        return Rows.of(rows, [reference("Service", *target.service)])

    def _endpoints(self, target: Target, snapshot: Snapshot, node: Node | None) -> tuple[Endpoint, ...]:
        service = snapshot.services.get(target.service)
        slices = snapshot.slices_of.get(target.service, ())
        zone = (node.metadata.label(ZONE) or "") if node is not None else ""
        return endpoints_of(target, service, slices, node=snapshot.settings.node, zone=zone)

    def _tls(self, service: ObjectKey, port: str) -> Reading | None:
        return self.policies.of("BackendTLSPolicy").applying(service_place(service), port)

    def _traffic(self, target: Target, service: Service | None) -> Traffic:
        reading = self.policies.of("BackendTrafficPolicy").applying(
            service_place(target.service), target.port_name(service)
        )
        # What is not valid applies nowhere: the policy's own conditions say so.
        return reading.value if reading is not None and reading.value is not None else Traffic()


def _of_kind(kind: str, routes: frozenset[RouteKey] | None) -> Set[ObjectKey] | None:
    return {key for each, key in routes if each == kind} if routes is not None else None


def _services(places: Iterable[Place]) -> set[ObjectKey]:
    return {(each.namespace, each.name) for each in places if each.kind == "Service"}
