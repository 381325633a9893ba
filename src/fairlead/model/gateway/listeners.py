"""Gateways of ours and their listeners: what each takes, and what is wrong with it. Source: Gateway.spec, ListenerConditionReason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from fairlead.api.certificate import Certificate
from fairlead.api.gateway import GROUP, Gateway, GatewayClass, Listener
from fairlead.model.gateway.grants import From, Grants
from fairlead.model.gateway.names import CONTROLLER, listener_name
from fairlead.model.gateway.values import is_host, is_hostname
from fairlead.world.events import ObjectKey

_KINDS: Mapping[str, tuple[str, ...]] = {"HTTP": ("HTTPRoute", "GRPCRoute"), "HTTPS": ("HTTPRoute", "GRPCRoute")}
"""Protocol → kinds of routes."""
_LAST_PORT = 65535


class Verdict(msgspec.Struct, frozen=True):
    """What a condition says: True exactly when `problem` is empty, then with the condition's own reason."""

    reason: str = ""
    problem: str = ""


ListenerKey: TypeAlias = tuple[ObjectKey, str]
"""Gateway and name."""


class BoundListener(msgspec.Struct, frozen=True, kw_only=True):
    """A listener and what became of it."""

    gateway: ObjectKey
    api: Listener
    kinds: tuple[str, ...] = ()
    certificates: tuple[ObjectKey, ...] = ()
    accepted: Verdict = Verdict()
    conflicted: Verdict = Verdict()
    resolved: Verdict = Verdict()

    @property
    def key(self) -> ListenerKey:
        """Return what tells it from all others."""
        return self.gateway, self.api.name

    @property
    def usable(self) -> bool:
        """Tell whether it can serve."""
        if self.accepted.problem or self.conflicted.problem:
            return False
        return self.api.protocol != "HTTPS" or bool(self.certificates)

    @property
    def hostname(self) -> str:
        """Return its host name in lower case, empty for all."""
        return (self.api.hostname or "").lower()

    @property
    def transport(self) -> str:
        """Return the protocol of its port: `TCP` or `UDP`."""
        return "UDP" if self.api.protocol == "UDP" else "TCP"

    @property
    def table(self) -> str:
        """Return the name of the table of hosts that its requests are looked up in."""
        base = listener_name(self.gateway, self.api.port, self.transport)
        # Connections with TLS are told apart by their server name before any request is read.
        return f"{base}/{self.api.name}" if self.api.protocol == "HTTPS" else base


class BoundGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A Gateway of ours."""

    key: ObjectKey
    api: Gateway
    listeners: tuple[BoundListener, ...]

    def on_port(self, port: int) -> tuple[BoundListener, ...]:
        """Return the usable listeners of a port."""
        return tuple(each for each in self.listeners if each.api.port == port and each.usable)


def our_gateways(
    classes: Mapping[ObjectKey, GatewayClass],
    gateways: Mapping[ObjectKey, Gateway],
    certificates: Mapping[ObjectKey, Certificate],
    grants: Grants,
) -> dict[ObjectKey, BoundGateway]:
    """Return the Gateways whose class names this controller."""
    ours = {name for (_, name), each in classes.items() if each.spec.controller_name == CONTROLLER}
    return {
        key: BoundGateway(key=key, api=gateway, listeners=_listeners(key, gateway, certificates, grants))
        for key, gateway in gateways.items()
        if gateway.spec.gateway_class_name in ours
    }


def ingress_gateways(
    gateways: Mapping[ObjectKey, Gateway], certificates: Mapping[ObjectKey, Certificate]
) -> dict[ObjectKey, BoundGateway]:
    """Return the Gateways that Ingresses mean: they take nothing else, and refer to what is the Ingresses' own."""
    found = {}
    for key, gateway in gateways.items():
        listeners = _listeners(key, gateway, certificates, _Consent())
        own = tuple(msgspec.structs.replace(each, kinds=("Ingress",)) for each in listeners)
        found[key] = BoundGateway(key=key, api=gateway, listeners=own)
    return found


class _Consent(Grants):
    def __init__(self) -> None:
        super().__init__({})

    def permit(self, source: From, group: str, kind: str, namespace: str, name: str) -> bool:
        return True


def _listeners(
    key: ObjectKey, gateway: Gateway, certificates: Mapping[ObjectKey, Certificate], grants: Grants
) -> tuple[BoundListener, ...]:
    found = [_read(key, each, certificates, grants) for each in gateway.spec.listeners]
    return tuple(msgspec.structs.replace(each, conflicted=_conflict(each, found)) for each in found)


def _read(
    key: ObjectKey, listener: Listener, certificates: Mapping[ObjectKey, Certificate], grants: Grants
) -> BoundListener:
    supported = _KINDS.get(listener.protocol)
    if supported is None:
        problem = f"protocol {listener.protocol} is not supported; supported are {', '.join(sorted(_KINDS))}"
        return BoundListener(gateway=key, api=listener, accepted=Verdict("UnsupportedProtocol", problem))
    if problem := _wrong(listener):
        return BoundListener(gateway=key, api=listener, accepted=Verdict("UnsupportedValue", problem))
    allowed = listener.allowed_routes.kinds
    kinds = supported
    resolved = Verdict()
    if allowed is not None:
        wanted = [each.kind for each in allowed if each.group == GROUP]
        kinds = tuple(each for each in supported if each in wanted)
        unknown = sorted({each.kind for each in allowed if each.group != GROUP or each.kind not in supported})
        if unknown:
            problem = f"allowedRoutes.kinds: {', '.join(unknown)} cannot attach to protocol {listener.protocol}"
            resolved = Verdict("InvalidRouteKinds", problem)
    usable: tuple[ObjectKey, ...] = ()
    if listener.protocol == "HTTPS":
        usable, complaint = _certificates(key, listener, certificates, grants)
        resolved = complaint if complaint.problem else resolved
    return BoundListener(gateway=key, api=listener, kinds=kinds, certificates=usable, resolved=resolved)


def _wrong(listener: Listener) -> str:
    """Return what no schema would allow."""
    if not 1 <= listener.port <= _LAST_PORT:
        return f"port: {listener.port} is not between 1 and {_LAST_PORT}"
    if not is_host(listener.name):
        return f"name: {listener.name[:64]!r} is no DNS name"
    if listener.hostname and not is_hostname(listener.hostname):
        return f"hostname: {listener.hostname[:64]!r} is neither a host name nor *. and one"
    return ""


def _certificates(
    key: ObjectKey, listener: Listener, certificates: Mapping[ObjectKey, Certificate], grants: Grants
) -> tuple[tuple[ObjectKey, ...], Verdict]:
    refs = (listener.tls.certificate_refs if listener.tls else None) or ()
    if listener.tls is None or listener.tls.mode != "Terminate" or not refs:
        return (), Verdict("InvalidCertificateRef", "a listener of protocol HTTPS needs tls.certificateRefs")
    usable: list[ObjectKey] = []
    verdict = Verdict()
    for at, ref in enumerate(refs):
        field = f"tls.certificateRefs[{at}]"
        where = (ref.namespace or key[0], ref.name)
        found = certificates.get(where)
        if (ref.group, ref.kind) != ("", "Secret"):
            verdict = Verdict("InvalidCertificateRef", f"{field}: {ref.group}/{ref.kind} is no kind of certificate")
        elif not grants.permit((GROUP, "Gateway", key[0]), "", "Secret", *where):
            verdict = Verdict("RefNotPermitted", f"{field}: no ReferenceGrant in namespace {where[0]} permits it")
        elif found is None:
            problem = f"{field}: there is no Secret {where[0]}/{where[1]} of type kubernetes.io/tls"
            verdict = Verdict("InvalidCertificateRef", problem)
        elif found.problem:
            verdict = Verdict("InvalidCertificateRef", f"{field}: Secret {where[0]}/{where[1]}: {found.problem}")
        else:
            usable.append(where)
    return tuple(usable), verdict


def _conflict(listener: BoundListener, others: Iterable[BoundListener]) -> Verdict:
    """Return what is wrong between a listener and others of its port: all that are in conflict lose."""
    if listener.accepted.problem:
        return Verdict()
    for other in others:
        if other.api is listener.api or other.api.port != listener.api.port or other.accepted.problem:
            continue
        if other.api.protocol != listener.api.protocol:
            problem = f"listener {other.api.name} has port {other.api.port} for protocol {other.api.protocol}"
            return Verdict("ProtocolConflict", problem)
        if other.hostname == listener.hostname:
            return Verdict("HostnameConflict", f"listener {other.api.name} has the same port and host name")
    return Verdict()
