"""Ingresses as the Gateways and routes that they mean: one Gateway for each class of ours, one route for each host of an Ingress.

Source: networking.k8s.io/v1. What both APIs say is said once, by the code for Gateways; here is only what differs: a star stands for one
label, a port may be named, the default backend takes what no rule wants, and annotations of other controllers are read as what they wish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

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
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway import ingress_classes
from fairlead.model.gateway.annotations import read
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.ingress_classes import OurClass, our_classes
from fairlead.model.gateway.ingress_policies import TABLES, IngressPolicy, policies
from fairlead.model.gateway.ingress_routes import Around, CanaryPath, Place, hosts_of, other_hosts, places, routes
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

NAMESPACE = "kube-system"
"""Where the Services of classes are."""
_PREFIX = "ingress-"
_ALL = AllowedRoutes(namespaces=RouteNamespaces(source="All"))
_REDIRECTING = ("nginx", "haproxy")
"""Dialects whose controllers redirect hosts with a certificate to HTTPS unless told otherwise."""


def gateway_of(class_name: str) -> ObjectKey:
    """Return the key of the Gateway that a class means."""
    return NAMESPACE, _PREFIX + class_name


class _Read(msgspec.Struct, frozen=True):
    """An Ingress and what can be said of it alone."""

    key: ObjectKey
    ingress: Ingress
    of: OurClass
    wishes: Wishes
    hosts: tuple[str, ...]
    """Those of its rules, and its default backend's."""
    others: tuple[str, ...]
    """Those that annotations add."""


class _Made(msgspec.Struct, frozen=True):
    """An Ingress among the others."""

    read: _Read
    around: Around
    routes: Mapping[ObjectKey, HTTPRoute]
    policies: tuple[tuple[str, ObjectKey, IngressPolicy], ...]


class _Class:
    """What the Ingresses of one class say together."""

    def __init__(self, of: OurClass) -> None:
        self.of = of
        self.members: list[_Read] = []
        self.certified: set[str] = set()
        """Hosts of `spec.tls`, empty for all."""
        self.patterned: set[str] = set()
        self.hosts: set[str] = set()
        self.canaries: dict[Place, list[_Read]] = {}

    def add(self, each: _Read) -> None:
        self.members.append(each)
        for tls in each.ingress.spec.tls or ():
            if tls.secret_name:
                self.certified.update(host.lower() for host in tls.hosts or ("",))
        if each.wishes.canary is not None:
            for place, _ in places(each.key, each.ingress):
                self.canaries.setdefault(place, []).append(each)
            return
        self.hosts.update(each.hosts)
        if each.wishes.patterns:
            self.patterned.update(each.hosts)

    def around(self, each: _Read) -> Around:
        hosts = (*each.hosts, *each.others)
        return Around(
            gateway=gateway_of(self.of.name),
            redirects=self.of.dialect in _REDIRECTING,
            https_only=self.of.dialect == "traefik",
            secured=frozenset(host for host in hosts if self._is_certified(host)),
            patterned=frozenset(self.patterned.intersection(each.hosts)),
            taken=frozenset(self.hosts.intersection(each.others)),
            canaries=tuple(self._canaries(each)) if self.canaries and each.wishes.canary is None else (),
        )

    def _is_certified(self, host: str) -> bool:
        labels = host.split(".")
        wider = (".".join(("*", *labels[at:])) for at in range(1, len(labels)))
        return bool(self.certified) and any(each in self.certified for each in ("", host, *wider))

    def _canaries(self, each: _Read) -> Iterator[tuple[Place, CanaryPath]]:
        """Yield the canaries of an Ingress's paths: of several for one path the oldest."""
        for place, _ in places(each.key, each.ingress):
            found = min(self.canaries.get(place, ()), key=lambda one: _age(one.ingress), default=None)
            if found is None or found.wishes.canary is None or found.wishes.refusals:
                continue
            path = next(path for at, path in places(found.key, found.ingress) if at == place)
            yield place, CanaryPath(found.key, path.backend, found.wishes.canary)


class IngressReader:
    """Reads Ingresses, one snapshot after the other. What says the same stays the same object."""

    def __init__(self) -> None:
        self._read: tuple[object, object] = (None, None)
        self._known: dict[ObjectKey, _Made] = {}
        self._classes: Mapping[ObjectKey, IngressClass] = {}
        self.gateways: Mapping[ObjectKey, Gateway] = {}
        self.routes: Mapping[ObjectKey, HTTPRoute] = {}
        """(namespace, `NAME~HOST`) → what an Ingress wants of a host."""
        self.members: Mapping[ObjectKey, tuple[ObjectKey, ...]] = {}
        """Gateway → its Ingresses."""
        self.policies: dict[str, Mapping[ObjectKey, IngressPolicy]] = {kind: {} for kind in TABLES}
        """Kind → the policies that Ingresses mean."""
        self._joined: dict[str, tuple[object, object, Mapping[ObjectKey, object]]] = {}
        self.remarks: Mapping[ObjectKey, tuple[Diagnostic, ...]] = {}
        """Ingress → what cannot be honored of its annotations; only those of which there is something to say."""

    def __repr__(self) -> str:
        return f"<IngressReader ingresses={len(self._known)} routes={len(self.routes)}>"

    def update(self, classes: Mapping[ObjectKey, IngressClass], ingresses: Mapping[ObjectKey, Ingress]) -> None:
        """Take in a snapshot's Ingresses. Costs time proportional to those that changed, and a few looks at each of the others."""
        if self._read[0] is classes and self._read[1] is ingresses:
            return
        self._read = (classes, ingresses)
        self._classes = classes
        ours = our_classes(classes)
        default = next((name for name in sorted(ours) if ours[name].is_default), "")
        together: dict[str, _Class] = {}
        for key, ingress in ingresses.items():
            annotations = ingress.metadata.annotations or {}
            name = ingress.spec.ingress_class_name or annotations.get(LEGACY_CLASS) or default
            if name in ours:
                together.setdefault(name, _Class(ours[name])).add(self._reading(key, ingress, ours[name]))
        self._known = {
            each.key: self._making(each, found.around(each)) for found in together.values() for each in found.members
        }
        self.routes = {at: route for made in self._known.values() for at, route in made.routes.items()}
        self._take_policies()
        self.remarks = dict(self._remarks())
        self.members = {
            gateway_of(name): tuple(sorted(each.key for each in found.members)) for name, found in together.items()
        }
        gateways = {
            gateway: _gateway(gateway, sorted((self._known[key].read.ingress for key in keys), key=_age))
            for gateway, keys in self.members.items()
        }
        if gateways != self.gateways:
            self.gateways = gateways

    def _take_policies(self) -> None:
        found: dict[str, dict[ObjectKey, IngressPolicy]] = {}
        for made in self._known.values():
            for kind, key, policy in made.policies:
                found.setdefault(kind, {})[key] = policy
        for kind in TABLES:
            if self.policies[kind] != found.get(kind, {}):
                self.policies[kind] = found.get(kind, {})

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

    def wishes(self, key: ObjectKey) -> Wishes:
        """Return what the annotations of an Ingress of ours wish."""
        return self._known[key].read.wishes

    def routes_of(self, key: ObjectKey) -> Mapping[ObjectKey, HTTPRoute]:
        """Return the routes that an Ingress of ours means."""
        return self._known[key].routes

    def diagnostics(self) -> list[Diagnostic]:
        """Return what is wrong with classes, and what cannot be honored. Costs time proportional to that, and to the classes."""
        own = ingress_classes.diagnostics(self._classes)
        return own + [each for remarks in self.remarks.values() for each in remarks]

    def _remarks(self) -> Iterator[tuple[ObjectKey, tuple[Diagnostic, ...]]]:
        used = {canary.ingress for made in self._known.values() for _, canary in made.around.canaries}
        for key, made in self._known.items():
            wishes = made.read.wishes
            found = list(_remarks(key, wishes)) if wishes.refusals or wishes.notes else []
            if wishes.canary is not None and not wishes.refusals and key not in used:
                message = (
                    "no other Ingress of its namespace and class has one of its paths, or an older canary has them all"
                )
                fix = "give both the same host, path and pathType"
                found.append(
                    Diagnostic(object=reference("Ingress", *key), field="spec.rules", message=message, fix=fix)
                )
            if found:
                yield key, tuple(found)

    def _reading(self, key: ObjectKey, ingress: Ingress, of: OurClass) -> _Read:
        known = self._known.get(key)
        if known is not None and known.read.ingress is ingress and known.read.of == of:
            return known.read
        wishes = read(ingress.metadata.annotations or {}, of.dialect)
        return _Read(key, ingress, of, wishes, hosts_of(ingress), tuple(other_hosts(ingress, wishes)))

    def _making(self, each: _Read, around: Around) -> _Made:
        known = self._known.get(each.key)
        if known is not None and known.read is each and known.around == around:
            return known
        return _Made(
            each,
            around,
            dict(routes(each.key, each.ingress, each.wishes, around)),
            tuple(policies(each.key, each.ingress, each.wishes)),
        )


def _remarks(key: ObjectKey, wishes: Wishes) -> Iterator[Diagnostic]:
    name = reference("Ingress", *key)
    outcome = "the Ingress answers 500" if wishes.canary is None else "no request goes to this canary"
    for refused, remarks in ((True, wishes.refusals), (False, wishes.notes)):
        for each in remarks:
            message = f"{each.message}; {outcome}" if refused else each.message
            yield Diagnostic(
                object=name, field=f"metadata.annotations[{each.annotation}]", message=message, fix=each.fix
            )


def _age(ingress: Ingress) -> tuple[str, str, str]:
    metadata = ingress.metadata
    return metadata.creation_timestamp or "9999", metadata.namespace, metadata.name


def _gateway(key: ObjectKey, ingresses: list[Ingress]) -> Gateway:
    """Return the Gateway of some Ingresses, oldest first: of several certificates for a host the first counts."""
    listeners = {"": Listener(name="http", port=80, protocol="HTTP", allowed_routes=_ALL)}
    for ingress in ingresses:
        for tls in ingress.spec.tls or ():
            if not tls.secret_name:
                continue
            for host in tls.hosts or ("",):
                listeners.setdefault(host.lower() or "*", _tls(host, ingress.metadata.namespace, tls.secret_name))
    return Gateway(
        metadata=RouteMeta(namespace=key[0], name=key[1]),
        spec=GatewaySpec(gateway_class_name="", listeners=tuple(listeners.values())),
    )


def _tls(host: str, namespace: str, secret: str) -> Listener:
    return Listener(
        name="tls-" + hashlib.sha256(host.lower().encode()).hexdigest()[:16],
        port=443,
        protocol="HTTPS",
        hostname=host.lower() or None,
        tls=ListenerTls(certificate_refs=(ObjectRef(name=secret, namespace=namespace),)),
        allowed_routes=_ALL,
    )
