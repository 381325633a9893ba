"""The listeners of a class of Ingresses as a Gateway, and ListenerSets for those that it has no room for. Pure.

A Gateway has 64 listeners at most, and so has a ListenerSet (GEP-1713); a route attaches to the listeners of the objects that it names alone, so
what it names depends on where the listeners of its hosts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from fairlead.api.gateway import GROUP, Listener
from fairlead.model.gateway.hosts import intersection
from fairlead.world.events import ObjectKey

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")
Name: TypeAlias = Callable[[str, str, str], str]
"""(Namespace, kind, wanted name) → a name that no other object of the kind has."""
API = f"{GROUP}/v1"
_MOST_LISTENERS = 64
"""Of one object."""
_MOST_GRANTED = 16


class _Part(msgspec.Struct, frozen=True):
    """An object that has listeners."""

    kind: str
    name: str
    listeners: Sequence[Listener]


class Doors:
    """Where the requests of one class come in."""

    def __init__(self, key: ObjectKey, listeners: Sequence[Listener], name: Name) -> None:
        self._key = key
        self._name = name
        first, *others = batches(listeners, _MOST_LISTENERS)
        more = [_Part("ListenerSet", name(key[0], "ListenerSet", f"{key[1]}-hosts"), each) for each in others]
        self._parts = [_Part("Gateway", key[1], first), *more]

    def __repr__(self) -> str:
        return f"<Doors {'/'.join(self._key)} parts={len(self._parts)}>"

    def objects(self, gateway_class: str, namespaces: Sequence[str]) -> Iterator[Json]:
        """Yield the Gateway and its ListenerSets, to which routes of some namespaces may attach, and the grants for certificates of others."""
        allowed: Json = {"namespaces": {"from": "Same"}}
        if list(namespaces) != [self._key[0]]:
            names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
            allowed = {"namespaces": {"from": "Selector", "selector": {"matchExpressions": [names]}}}
        for part in self._parts:
            spec: Json = {"listeners": [{**self._listener(each), "allowedRoutes": allowed} for each in part.listeners]}
            if part.kind == "ListenerSet":
                spec = {"parentRef": {"name": self._key[1]}, **spec}
            else:
                spec = {"gatewayClassName": gateway_class, **spec}
                if len(self._parts) > 1:
                    spec["allowedListeners"] = {"namespaces": {"from": "Same"}}
            yield {**head(part.kind, (self._key[0], part.name)), "spec": spec}
        for kind in dict.fromkeys(part.kind for part in self._parts):
            yield from self._grants(
                kind, [each for part in self._parts if part.kind == kind for each in part.listeners]
            )

    def parents(self, namespace: str, hostnames: Iterable[str] | None, port: int | None) -> list[Json]:
        """Return what a route of a namespace names so that it has all listeners of its hosts, on one port or on all."""
        found = [part for part in self._parts if any(_serves(each, hostnames, port) for each in part.listeners)]
        return [self._parent(part, namespace, port) for part in found or self._parts[:1]]

    def _parent(self, part: _Part, namespace: str, port: int | None) -> Json:
        found: Json = {} if part.kind == "Gateway" else {"group": GROUP, "kind": part.kind}
        found["name"] = part.name
        if namespace != self._key[0]:
            found["namespace"] = self._key[0]
        if port is not None:
            found["port"] = port
        return found

    def _listener(self, each: Listener) -> Json:
        found: Json = {"name": _listener_name(each), "port": each.port, "protocol": each.protocol}
        if each.hostname:
            found["hostname"] = each.hostname
        if each.tls is not None:
            refs = [
                {"name": ref.name, **({} if ref.namespace in (None, self._key[0]) else {"namespace": ref.namespace})}
                for ref in each.tls.certificate_refs or ()
            ]
            found["tls"] = {"mode": each.tls.mode, **({"certificateRefs": refs} if refs else {})}
        return found

    def _grants(self, kind: str, listeners: Iterable[Listener]) -> Iterator[Json]:
        secrets: dict[str, set[str]] = {}
        for each in listeners:
            for ref in (each.tls.certificate_refs if each.tls is not None else None) or ():
                if ref.namespace not in (None, self._key[0]):
                    secrets.setdefault(ref.namespace or "", set()).add(ref.name)
        source = {"group": GROUP, "kind": kind, "namespace": self._key[0]}
        for namespace in sorted(secrets):
            for some in batches(sorted(secrets[namespace]), _MOST_GRANTED):
                name = self._name(namespace, "ReferenceGrant", f"{self._key[1]}-certificates")
                to = [{"group": "", "kind": "Secret", "name": each} for each in some]
                yield {**head("ReferenceGrant", (namespace, name)), "spec": {"from": [source], "to": to}}


def batches(found: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield a sequence in parts of a size."""
    for at in range(0, len(found), most):
        yield found[at : at + most]


def head(kind: str, key: ObjectKey, api: str = API) -> Json:
    """Return what every object begins with."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": key[1], "namespace": key[0]}}


def host_name(host: str) -> str:
    """Return a host as part of an object's name."""
    return host.replace("*", "wildcard")


def _serves(listener: Listener, hostnames: Iterable[str] | None, port: int | None) -> bool:
    return port in (None, listener.port) and bool(intersection(listener.hostname or "", hostnames))


def _listener_name(listener: Listener) -> str:
    if listener.protocol == "HTTP":
        return "http"
    if listener.protocol == "TLS":
        return f"tls-{host_name(listener.hostname or '')}"
    return f"https-{host_name(listener.hostname)}" if listener.hostname else "https"
