"""Ingresses as the Gateways and routes that they mean: one Gateway for each class of ours, one route for each host of an Ingress.

Source: networking.k8s.io/v1. What both APIs say is said once, by the code for Gateways; here is only what differs: a star stands for one
label, a port may be named, the default backend takes what no rule wants, and annotations of other controllers are read as what they wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TypeAlias, TypeVar

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import (
    AllowedRoutes,
    Gateway,
    GatewaySpec,
    Listener,
    ListenerTls,
    ObjectRef,
    RouteMeta,
    RouteNamespaces,
)
from fairlead.api.httproute import HTTPRoute
from fairlead.api.ingress import LEGACY_CLASS, Ingress, IngressClass
from fairlead.api.l4route import TLSRoute
from fairlead.api.service import Service
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway import ingress_classes, ingress_clients, ingress_passthrough
from fairlead.model.gateway.annotations import of_service, read
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.hosts import wider
from fairlead.model.gateway.ingress_classes import OurClass, our_classes
from fairlead.model.gateway.ingress_clients import Guards
from fairlead.model.gateway.ingress_middlewares import IngressMiddlewares
from fairlead.model.gateway.ingress_passthrough import tls_routes
from fairlead.model.gateway.ingress_peers import HostCertificate, Peers, Read
from fairlead.model.gateway.ingress_policies import TABLES, IngressPolicy, policies
from fairlead.model.gateway.ingress_references import Referred, refers, resolved
from fairlead.model.gateway.ingress_routes import Around, hosts_of, other_hosts, routes, tls_listener
from fairlead.model.gateway.ingress_services import SaidByServices, services_of
from fairlead.model.gateway.ranks import possible
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

K = TypeVar("K")
V = TypeVar("V")

NAMESPACE = "kube-system"
"""Where the Services of classes are."""
_PREFIX = "ingress-"
_ALL = AllowedRoutes(namespaces=RouteNamespaces(source="All"))


def gateway_of(class_name: str) -> ObjectKey:
    """Return the key of the Gateway that a class means."""
    return NAMESPACE, _PREFIX + class_name


IngressRoute: TypeAlias = HTTPRoute | TLSRoute


class _Made(msgspec.Struct, frozen=True):
    """An Ingress among the others."""

    read: Read
    around: Around
    routes: Mapping[ObjectKey, IngressRoute]
    policies: tuple[tuple[str, ObjectKey, IngressPolicy], ...]


class IngressReader:
    """Reads Ingresses, one snapshot after the other. What says the same stays the same object."""

    def __init__(self) -> None:
        self._classes: Mapping[ObjectKey, IngressClass] | None = None
        self._ingresses: Mapping[ObjectKey, Ingress] = {}
        self._referred = Referred()
        self._referring: set[ObjectKey] = set()
        """Ingresses whose annotations name other objects."""
        self._ours: Mapping[str, OurClass] = {}
        self._peers: dict[str, Peers] = {}
        self._known: dict[ObjectKey, _Made] = {}
        self._by_services = SaidByServices()
        self._middlewares = IngressMiddlewares()
        self.gateways: Mapping[ObjectKey, Gateway] = {}
        self.guards: Mapping[ObjectKey, Guards] = {}
        """Gateway → what its hosts want of their clients."""
        self.routes: Mapping[ObjectKey, IngressRoute] = {}
        """(namespace, `NAME~HOST`) → what an Ingress wants of a host."""
        self.members: Mapping[ObjectKey, tuple[ObjectKey, ...]] = {}
        """Gateway → its Ingresses."""
        self.policies: dict[str, Mapping[ObjectKey, IngressPolicy]] = {kind: {} for kind in TABLES}
        """Kind → the policies that Ingresses mean."""
        self.over_quic: frozenset[ObjectKey] = frozenset()
        """Gateways whose class wishes HTTP/3 (`fairlead.dev/http3`)."""
        self._joined: dict[str, tuple[object, object, Mapping[ObjectKey, object]]] = {}
        self.remarks: Mapping[ObjectKey, tuple[Diagnostic, ...]] = {}
        """Ingress → what cannot be honored of it; only those of which there is something to say."""

    def __repr__(self) -> str:
        return f"<IngressReader ingresses={len(self._known)} routes={len(self.routes)}>"

    def update(
        self,
        classes: Mapping[ObjectKey, IngressClass],
        ingresses: Mapping[ObjectKey, Ingress],
        services: Mapping[ObjectKey, Service],
        referred: Referred,
        touched: frozenset[ObjectKey] | None = None,
        changed: Set[ObjectKey] | None = None,
    ) -> frozenset[ObjectKey]:
        """Take in Ingresses, what their Services say and what they may refer to; return the routes that may not be what they were.

        `touched` Services and `changed` Ingresses are those that may have changed since the last call, None: all. Costs time proportional to
        these and to those of the same hosts, and a copy of each table that changed; a changed class costs all of them, a Service that says
        something else its Ingresses, a Middleware those that it is for.
        """
        before = self._ingresses
        stale: set[ObjectKey] = set()
        moved: set[str] = set()
        anew = self._classes is not classes
        if anew:
            self._classes, self._ours, self._peers = classes, our_classes(classes), {}
            self._by_services = SaidByServices()
            before, changed = {}, None
            stale |= self._known.keys()
        concerned = self._by_services.update(services, touched)
        concerned |= self._middlewares.update(referred.middlewares, referred.grants)
        if not referred.is_same(self._referred):
            self._referred = referred
            concerned |= self._referring
        if ingresses is before and not anew:
            changed = frozenset()
            if not concerned:
                return frozenset()
        self._ingresses = ingresses
        for key in before.keys() | ingresses.keys() if changed is None else changed | concerned:
            if before.get(key) is not ingresses.get(key) or key in concerned:
                old = self._known[key].read if key in before and key in self._known else None
                moved |= self._replace(key, old, ingresses.get(key), stale, anew=key in concerned)
        former = {key: self._known.pop(key) for key in stale & self._known.keys()}
        for key in stale:
            for name in moved:
                if (found := self._peers[name].members.get(key)) is not None:
                    self._known[key] = self._making(found, self._peers[name].around(found), former.get(key))
        return self._take(former, stale, moved)

    def _replace(
        self, key: ObjectKey, old: Read | None, ingress: Ingress | None, stale: set[ObjectKey], *, anew: bool
    ) -> set[str]:
        """Put an Ingress in its place; note those that this concerns and return the classes."""
        new = self._reading(key, ingress, anew=anew) if ingress is not None else None
        if new is None:
            self._referring.discard(key)
        self._by_services.follow(key, *(services_of(each.ingress) if each is not None else () for each in (old, new)))
        self._middlewares.follow(key, *(each.asked if each is not None else () for each in (old, new)))
        if old is not None and new is not None and old.of.name == new.of.name:
            stale |= self._peers[old.of.name].replace(old, new)
            return {old.of.name}
        touched = set()
        for before, after in ((old, None), (None, new)):
            if (each := before or after) is not None:
                peers = self._peers.setdefault(each.of.name, Peers(each.of, gateway_of(each.of.name)))
                stale |= peers.replace(before, after)
                touched.add(each.of.name)
        return touched

    def _take(
        self, former: Mapping[ObjectKey, _Made], stale: Set[ObjectKey], touched: Set[str]
    ) -> frozenset[ObjectKey]:
        """Bring what others read up to what is known now; return the routes that changed."""
        changed = [key for key in stale if former.get(key) is not self._known.get(key)]
        old = [former[key] for key in changed if key in former]
        new = [self._known[key] for key in changed if key in self._known]
        left = {at for each in old for at in each.routes}
        come = {at: route for each in new for at, route in each.routes.items()}
        if left or come:
            self.routes = _renewed(self.routes, left, come)
        for kind, known in self.policies.items():
            before = {at: policy for each in old for of, at, policy in each.policies if of == kind}
            after = {at: policy for each in new for of, at, policy in each.policies if of == kind}
            if before != after:
                self.policies[kind] = _renewed(known, before, after)
        hosts = {host for each in (*old, *new) for host in each.read.hosts}
        canaries = [each for name in touched for each in self._peers[name].canaries_of(hosts)]
        remarks = {
            each.read.key: (
                *_remarks(each.read),
                *_of_certificates(each.read, each.around),
                *ingress_clients.remarks(each.read.key, each.read.ingress, each.read.wishes, each.around),
                *ingress_passthrough.remarks(each.read.key, each.read.ingress, each.read.wishes, each.around),
            )
            for each in new
        }
        remarks |= {each.key: (*_remarks(each), *self._unused(each)) for each in canaries}
        said = {key: found for key, found in remarks.items() if found}
        silent = {*changed, *remarks} & self.remarks.keys()
        if silent or said:
            self.remarks = _renewed(self.remarks, silent, said)
        self._take_gateways(touched)
        return frozenset(left | come.keys())

    def _take_gateways(self, touched: Set[str]) -> None:
        used = {gateway_of(name): peers for name, peers in self._peers.items() if peers.members}
        gateways = {at: self.gateways[at] for at in used if at in self.gateways}
        guards = {at: self.guards[at] for at in used if at in self.guards}
        for name in touched:
            at, peers = gateway_of(name), self._peers[name]
            if peers.members and (peers.take_moved() or at not in gateways):
                gateways[at] = _gateway(at, peers.certificates(), peers.passed(), peers.guards())
                guards[at] = peers.guards()
        if gateways != self.gateways:
            self.gateways = gateways
        if guards != self.guards:
            self.guards = guards
        self.members = {at: peers.names() for at, peers in used.items()}
        over_quic = frozenset(gateway_of(name) for name, of in self._ours.items() if of.http3)
        if over_quic != self.over_quic:
            self.over_quic = over_quic

    def _unused(self, canary: Read) -> Iterator[Diagnostic]:
        others = self._peers[canary.of.name].sharing(canary.hosts)
        used = any(each.ingress == canary.key for other in others for _, each in self._known[other].around.canaries)
        if not used and not canary.wishes.refusals:
            message = (
                "no other Ingress of its namespace and class has one of its paths, or an older canary has them all"
            )
            fix = "give both the same host, path and pathType"
            yield Diagnostic(object=reference("Ingress", *canary.key), field="spec.rules", message=message, fix=fix)

    def with_policies(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot that also holds the policies that Ingresses mean; tables without a change stay the same objects."""
        changes: dict[str, Mapping[ObjectKey, object]] = {}
        for kind, table in TABLES.items():
            own, written = self.policies[kind], getattr(snapshot, table)
            if own:
                known = self._joined.get(kind)
                if known is None or known[0] is not written or known[1] is not own:
                    known = self._joined[kind] = (written, own, {**written, **own})
                changes[table] = known[2]
        return msgspec.structs.replace(snapshot, **changes) if changes else snapshot

    def ingress(self, key: ObjectKey) -> Ingress:
        """Return an Ingress of ours."""
        return self._known[key].read.ingress

    def refused(self, key: ObjectKey) -> frozenset[str]:
        """Return the annotations of an Ingress of ours, and of its Services, that are refused."""
        read = self._known[key].read
        return frozenset(remark.annotation for each in (read.wishes, *read.served.values()) for remark in each.refusals)

    def routes_of(self, key: ObjectKey) -> Mapping[ObjectKey, IngressRoute]:
        """Return the routes that an Ingress of ours means."""
        return self._known[key].routes

    def diagnostics(self) -> list[Diagnostic]:
        """Return what is wrong with classes, and what cannot be honored. Costs time proportional to that, and to the classes."""
        own = ingress_classes.diagnostics(self._classes or {})
        return own + [each for remarks in self.remarks.values() for each in remarks]

    def _reading(self, key: ObjectKey, ingress: Ingress, *, anew: bool) -> Read | None:
        annotations = ingress.metadata.annotations or {}
        default = next((name for name in sorted(self._ours) if self._ours[name].is_default), "")
        of = self._ours.get(ingress.spec.ingress_class_name or annotations.get(LEGACY_CLASS) or default)
        if of is None:
            return None
        known = self._known.get(key)
        said = self._by_services.to(key, services_of(ingress))
        if (
            not anew
            and known is not None
            and known.read.ingress is ingress
            and known.read.of == of
            and known.read.said == said
        ):
            return known.read
        wishes = possible(read(annotations, of.dialect), hosts_of(ingress))
        self._referring.discard(key)
        if refers(wishes):
            self._referring.add(key)
            wishes = resolved(key[0], wishes, self._referred)
        found = {name: of_service(annotations, each, of.dialect) for name, each in said.items()}
        asked: set[str] = set()
        wishes = self._middlewares.with_those(key, ingress, wishes, asked)
        served = {name: resolved(key[0], each, self._referred) for name, each in found.items() if each is not None}
        if not wishes.refusals:
            # What is refused of the Ingress is not the Services' fault.
            served = {name: self._middlewares.with_those(key, ingress, each, asked) for name, each in served.items()}
        hosts, others = hosts_of(ingress), tuple(other_hosts(ingress, wishes))
        return Read(key, ingress, of, wishes, said, served, frozenset(asked), hosts, others)

    def _making(self, each: Read, around: Around, known: _Made | None) -> _Made:
        if known is not None and known.read is each and known.around == around:
            return known
        own: dict[ObjectKey, IngressRoute] = dict(routes(each.key, each.ingress, each.wishes, each.served, around))
        own |= tls_routes(each.key, each.ingress, each.wishes, around)
        return _Made(each, around, own, tuple(policies(each.key, each.ingress, each.wishes, each.served, own)))


def _renewed(table: Mapping[K, V], left: Iterable[K], come: Mapping[K, V]) -> dict[K, V]:
    """Return a table without some of its entries, and with others."""
    new = dict(table)
    for key in left:
        del new[key]
    new.update(come)
    return new


def _remarks(each: Read) -> Iterator[Diagnostic]:
    outcome = "the Ingress answers 500" if each.wishes.canary is None else "no request goes to this canary"
    yield from _of_annotations(reference("Ingress", *each.key), each.wishes, outcome)
    for service, wishes in each.served.items():
        outcome = f"requests for it through Ingresses of class {each.of.name} are answered with 500"
        yield from _of_annotations(reference("Service", each.key[0], service), wishes, outcome)
    name, spec = reference("Ingress", *each.key), each.ingress.spec
    backends = {"spec.defaultBackend": spec.default_backend} if spec.default_backend else {}
    for at, rule in enumerate(spec.rules or ()):
        for number, path in enumerate(rule.http.paths if rule.http else ()):
            backends[f"spec.rules[{at}].http.paths[{number}].backend"] = path.backend
    for field, backend in backends.items():
        if backend.service is None:
            message = "resources are no backends here: its requests are answered with 500"
            yield Diagnostic(object=name, field=f"{field}.resource", message=message, fix="name a Service")


def _of_certificates(each: Read, around: Around) -> Iterator[Diagnostic]:
    for at, tls in enumerate(each.ingress.spec.tls or ()):
        for host in tls.hosts or ("",):
            if tls.secret_name and host.lower() in around.foreign:
                message = (
                    f"an older Ingress of another namespace has {host or 'all hosts'}: this certificate is not used"
                )
                fix = "name the certificate in that namespace"
                name, field = reference("Ingress", *each.key), f"spec.tls[{at}].secretName"
                yield Diagnostic(object=name, field=field, message=message, fix=fix)


def _of_annotations(name: str, wishes: Wishes, outcome: str) -> Iterator[Diagnostic]:
    for refused, remarks in ((True, wishes.refusals), (False, wishes.notes)):
        for each in remarks:
            message = f"{each.message}; {outcome}" if refused else each.message
            yield Diagnostic(
                object=name, field=f"metadata.annotations[{each.annotation}]", message=message, fix=each.fix
            )


def _gateway(
    key: ObjectKey, certificates: Iterable[HostCertificate], passed: Iterable[str], guarded: Iterable[str]
) -> Gateway:
    """Return the Gateway of some Ingresses: of several certificates for a host the first counts.

    TLS of `passed` hosts is handed on; `guarded` ones have a listener of their own wherever their certificate is from.
    """
    listeners = {"": Listener(name="http", port=80, protocol="HTTP", allowed_routes=_ALL)}
    listeners |= {host: _passing(host) for host in passed}
    for each in certificates:
        listeners.setdefault(each.host or "*", _tls(each))
    for host in guarded:
        covering = (listeners.get(each) for each in (*wider(host), "*"))
        found = next((each for each in covering if each is not None and each.protocol == "HTTPS"), None)
        if found is not None and host:
            own = msgspec.structs.replace(found, name=tls_listener(host), hostname=host)
            listeners.setdefault(host, own)
    return Gateway(
        metadata=RouteMeta(namespace=key[0], name=key[1]),
        spec=GatewaySpec(gateway_class_name="", listeners=tuple(listeners.values())),
    )


def _passing(host: str) -> Listener:
    return Listener(
        name=tls_listener(host),
        port=443,
        protocol="TLS",
        hostname=host,
        tls=ListenerTls(mode="Passthrough"),
        allowed_routes=_ALL,
    )


def _tls(certificate: HostCertificate) -> Listener:
    namespace, secret = certificate.secret
    return Listener(
        name=tls_listener(certificate.host),
        port=443,
        protocol="HTTPS",
        hostname=certificate.host or None,
        tls=ListenerTls(certificate_refs=(ObjectRef(name=secret, namespace=namespace),)),
        allowed_routes=_ALL,
    )
