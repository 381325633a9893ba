"""Ingresses as the Gateways and routes that they mean: one Gateway for each class of ours, one route for each host of an Ingress.

Source: networking.k8s.io/v1. What both APIs say is said once, by the code for Gateways; here is only what differs: a star stands for one
label, a port may be named, and the default backend takes what no rule wants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from fairlead.api.gateway import (
    AllowedRoutes,
    Gateway,
    GatewaySpec,
    Listener,
    ListenerTls,
    ObjectRef,
    ParentRef,
    RouteMeta,
    RouteNamespaces,
)
from fairlead.api.httproute import HTTPMatch, HTTPRoute, HTTPRouteSpec, HTTPRule, NamedMatch, PathMatch
from fairlead.api.ingress import DEFAULT_CLASS, LEGACY_CLASS, Ingress, IngressBackend, IngressClass, IngressPath
from fairlead.model.gateway.backends import NamedPortRef
from fairlead.model.gateway.routes import PART
from fairlead.world.events import ObjectKey

CONTROLLER = "fairlead.dev/ingress-controller"
"""`spec.controller` of IngressClasses that are ours."""
NAMESPACE = "kube-system"
"""Where the Services of classes are."""
_PREFIX = "ingress-"
_ALL = AllowedRoutes(namespaces=RouteNamespaces(source="All"))
_PATHS = {"Exact": "Exact", "Prefix": "PathPrefix", "ImplementationSpecific": "PathPrefix"}


def gateway_of(class_name: str) -> ObjectKey:
    """Return the key of the Gateway that a class means."""
    return NAMESPACE, _PREFIX + class_name


class IngressReader:
    """Reads Ingresses, one snapshot after the other. What says the same stays the same object."""

    def __init__(self) -> None:
        self._read: tuple[object, object] = (None, None)
        self._known: dict[ObjectKey, tuple[Ingress, str, dict[ObjectKey, HTTPRoute]]] = {}
        self.gateways: Mapping[ObjectKey, Gateway] = {}
        self.routes: Mapping[ObjectKey, HTTPRoute] = {}
        """(namespace, `NAME~HOST`) → what an Ingress wants of a host."""
        self.members: Mapping[ObjectKey, tuple[ObjectKey, ...]] = {}
        """Gateway → its Ingresses."""

    def update(self, classes: Mapping[ObjectKey, IngressClass], ingresses: Mapping[ObjectKey, Ingress]) -> None:
        """Take in a snapshot's Ingresses. Costs time proportional to those that changed, and one look at each of the others."""
        if self._read[0] is classes and self._read[1] is ingresses:
            return
        self._read = (classes, ingresses)
        ours = {name: each for (_, name), each in classes.items() if each.spec.controller == CONTROLLER}
        default = next((name for name in sorted(ours) if _annotation(ours[name].metadata, DEFAULT_CLASS) == "true"), "")
        known: dict[ObjectKey, tuple[Ingress, str, dict[ObjectKey, HTTPRoute]]] = {}
        members: dict[ObjectKey, list[ObjectKey]] = {}
        for key, ingress in ingresses.items():
            name = ingress.spec.ingress_class_name or _annotation(ingress.metadata, LEGACY_CLASS) or default
            if name not in ours:
                continue
            before = self._known.get(key)
            same = before is not None and before[0] is ingress and before[1] == name
            known[key] = before if same and before is not None else (ingress, name, dict(_routes(key, ingress, name)))
            members.setdefault(gateway_of(name), []).append(key)
        self._known = known
        self.routes = {at: route for _, _, routes in known.values() for at, route in routes.items()}
        self.members = {gateway: tuple(sorted(keys)) for gateway, keys in members.items()}
        gateways = {
            gateway: _gateway(gateway, sorted((known[key][0] for key in keys), key=_age))
            for gateway, keys in self.members.items()
        }
        if gateways != self.gateways:
            self.gateways = gateways


def _age(ingress: Ingress) -> tuple[str, str, str]:
    metadata = ingress.metadata
    return metadata.creation_timestamp or "9999", metadata.namespace, metadata.name


def _annotation(metadata: RouteMeta, name: str) -> str:
    return (metadata.annotations or {}).get(name, "")


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


def _routes(key: ObjectKey, ingress: Ingress, class_name: str) -> Iterator[tuple[ObjectKey, HTTPRoute]]:
    namespace, name = gateway_of(class_name)
    parents = (ParentRef(namespace=namespace, name=name),)
    by_host: dict[str, list[HTTPRule]] = {}
    for rule in ingress.spec.rules or ():
        host = (rule.host or "").lower()
        rules = by_host.setdefault(host, [])
        rules += [_rule(each, host) for each in (rule.http.paths if rule.http else ())]
    last = ingress.spec.default_backend
    if last is not None:
        by_host.setdefault("", [])
        for host, rules in by_host.items():
            rules.append(_rule(IngressPath(backend=last, path="/", path_type="Prefix"), host))
    for host, rules in by_host.items():
        spec = HTTPRouteSpec(parent_refs=parents, hostnames=(host,) if host else None, rules=tuple(rules))
        yield (key[0], f"{key[1]}{PART}{host or '*'}"), HTTPRoute(metadata=ingress.metadata, spec=spec)


def _rule(path: IngressPath, host: str) -> HTTPRule:
    kind = _PATHS.get(path.path_type, "PathPrefix")
    match = HTTPMatch(path=PathMatch(type=kind, value=path.path or "/"), headers=_one_label(host))
    return HTTPRule(matches=(match,), backend_refs=_backend(path.backend))


def _one_label(host: str) -> tuple[NamedMatch, ...] | None:
    """Return what keeps a wildcard to hosts with one label in place of the star (IngressRule.host)."""
    if not host.startswith("*."):
        return None
    pattern = f"(?i)[^.]+{re.escape(host[1:])}(:[0-9]+)?"
    return (NamedMatch(name=":authority", type="RegularExpression", value=pattern),)


def _backend(backend: IngressBackend) -> tuple[NamedPortRef, ...]:
    service = backend.service
    if service is None:
        return ()
    return (NamedPortRef(name=service.name, port=service.port.number, port_name=service.port.name or ""),)
