"""Listeners of Gateways: what each takes, and what is wrong with it. Source: Gateway.spec, ListenerConditionReason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fairlead.api.certificate import Certificate
from fairlead.api.gateway import GROUP, Gateway, Listener, ObjectRef
from fairlead.api.listenerset import ListenerSet
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway.grants import From, Grants
from fairlead.model.gateway.names import kind_name, listener_name
from fairlead.model.gateway.trust import Trust
from fairlead.model.gateway.values import is_host, is_hostname
from fairlead.world.events import ObjectKey

_KINDS: Mapping[str, tuple[str, ...]] = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
    "TCP": ("TCPRoute",),
    "UDP": ("UDPRoute",),
}
"""Protocol → kinds of routes."""
_LAST_PORT = 65535


class Verdict(msgspec.Struct, frozen=True):
    """What a condition says: True exactly when `problem` is empty, then with the condition's own reason."""

    reason: str = ""
    problem: str = ""


ListenerKey: TypeAlias = tuple[str, ObjectKey, str]
"""Kind and key of the object in which it stands, and its name there."""


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """How clients of a listener are known by certificates."""

    trust: Trust
    optional: bool = False
    """Whether those that show none are let in all the same."""
    untrusted: bool = False
    """Whether those with one that is not believed are, too."""
    depth: int | None = None
    """How many authorities may stand between; None: as many as the proxy allows."""

    @property
    def nobody(self) -> bool:
        """Tell whether none is let in, as it cannot be told which certificates are revoked."""
        return bool(self.trust.revocation.problem) and not self.optional


class BoundListener(msgspec.Struct, frozen=True, kw_only=True):
    """A listener and what became of it."""

    gateway: ObjectKey
    api: Listener
    listener_set: ObjectKey | None = None
    """Whose it is; None: the Gateway's own."""
    kinds: tuple[str, ...] = ()
    certificates: tuple[ObjectKey, ...] = ()
    clients: Clients | None = None
    """None: no certificates are asked for."""
    overlapping: bool = False
    """Whether some server name is this one's and another's of its port: a client may use a connection of one for the other."""
    accepted: Verdict = Verdict()
    conflicted: Verdict = Verdict()
    resolved: Verdict = Verdict()

    @property
    def key(self) -> ListenerKey:
        """Return what tells it from all others."""
        return *self.owner, self.api.name

    @property
    def usable(self) -> bool:
        """Tell whether it can serve."""
        if self.accepted.problem or self.conflicted.problem:
            return False
        return not self.terminates or bool(self.certificates)

    @property
    def reads_server_names(self) -> bool:
        """Tell whether its connections are told from those of others of its port by the server name of TLS."""
        return self.api.protocol in ("HTTPS", "TLS")

    @property
    def terminates(self) -> bool:
        """Tell whether TLS ends here."""
        return self.reads_server_names and (self.api.tls is None or self.api.tls.mode == "Terminate")

    @property
    def problem(self) -> str:
        """Return what is wrong with it first of all; empty when nothing is."""
        return next((each.problem for each in (self.accepted, self.conflicted, self.resolved) if each.problem), "")

    @property
    def owner(self) -> tuple[str, ObjectKey]:
        """Return kind and key of the object in which it stands."""
        return ("ListenerSet", self.listener_set) if self.listener_set is not None else ("Gateway", self.gateway)

    @property
    def namespace(self) -> str:
        """Return the namespace in which it stands."""
        return self.owner[1][0]

    @property
    def port(self) -> int:
        """Return the port that clients use."""
        return self.api.port

    @property
    def protocol(self) -> str:
        """Return what clients speak."""
        return self.api.protocol

    @property
    def hostname(self) -> str:
        """Return its host name in lower case, empty for all."""
        return "" if self.api.protocol in ("TCP", "UDP") else (self.api.hostname or "").lower()

    @property
    def transport(self) -> str:
        """Return the protocol of its port: `TCP` or `UDP`."""
        return "UDP" if self.api.protocol == "UDP" else "TCP"

    @property
    def table(self) -> str:
        """Return the name of the table of hosts that its requests are looked up in; all listeners of a port share it."""
        return listener_name(self.gateway, self.api.port, self.transport)

    @property
    def chain(self) -> str:
        """Return the name of what takes its connections: with TLS they are told apart by their server name, else they are not."""
        if not self.reads_server_names:
            return self.table
        return "/".join((self.table, *(self.listener_set or ()), self.api.name))


class BoundSet(msgspec.Struct, frozen=True, kw_only=True):
    """A ListenerSet of a Gateway of ours."""

    key: ObjectKey
    api: ListenerSet
    gateway: ObjectKey
    allowed: Verdict = Verdict()
    listeners: tuple[BoundListener, ...] = ()
    """Empty when it is not allowed."""

    @property
    def attached(self) -> bool:
        """Tell whether anything of it can serve."""
        return any(each.usable for each in self.listeners)


class BoundGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A Gateway of ours."""

    key: ObjectKey
    api: Gateway
    own: tuple[BoundListener, ...]
    """Those of its own spec."""
    sets: tuple[BoundSet, ...] = ()
    """ListenerSets that name it, the one that goes first first."""
    refused: Verdict = Verdict()
    """Why none of it serves."""
    client: ObjectKey | None = None
    """The certificate by which it is known to backends (`spec.tls.backend`)."""
    client_resolved: Verdict | None = None
    """What became of the reference to it; None: there is none."""
    proxy: str = ""
    """Name of the proxy that serves it alone; empty: the shared one does."""
    unplaced: Verdict = Verdict()
    """Why nodes have no proxy for it."""

    @property
    def age(self) -> tuple[str, str]:
        """Return what orders Gateways: the oldest goes first, then the first by name."""
        return self.api.metadata.creation_timestamp or "9999", "/".join(self.key)

    @property
    def listeners(self) -> tuple[BoundListener, ...]:
        """Return its own listeners and those of its ListenerSets, in the order of their precedence."""
        return (*self.own, *(listener for each in self.sets for listener in each.listeners))

    def on_port(self, port: int, transport: str = "TCP") -> tuple[BoundListener, ...]:
        """Return the usable listeners of a port."""
        return tuple(
            each for each in self.listeners if each.api.port == port and each.transport == transport and each.usable
        )


class References(msgspec.Struct, frozen=True):
    """What listeners refer to, and who may refer to what."""

    certificates: Mapping[ObjectKey, Certificate]
    bundles: Mapping[ObjectKey, TrustMaterial]
    grants: Grants


def read(
    gateway: ObjectKey, listener: Listener, references: References, listener_set: ObjectKey | None = None
) -> BoundListener:
    """Return what becomes of a listener, whatever stands beside it."""
    bare = BoundListener(gateway=gateway, listener_set=listener_set, api=listener)
    supported = _KINDS.get(listener.protocol)
    if supported is None:
        problem = f"protocol {listener.protocol} is not supported; supported are {', '.join(sorted(_KINDS))}"
        return msgspec.structs.replace(bare, accepted=Verdict("UnsupportedProtocol", problem))
    if problem := _wrong(listener):
        return msgspec.structs.replace(bare, accepted=Verdict("UnsupportedValue", problem))
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
    if listener.protocol == "HTTPS" or (listener.protocol == "TLS" and not _passes_through(listener)):
        usable, complaint = _certificates(bare, references)
        resolved = complaint if complaint.problem else resolved
    return msgspec.structs.replace(bare, kinds=kinds, certificates=usable, resolved=resolved)


def _wrong(listener: Listener) -> str:
    """Return what no schema would allow."""
    if not 1 <= listener.port <= _LAST_PORT:
        return f"port: {listener.port} is not between 1 and {_LAST_PORT}"
    if not is_host(listener.name):
        return f"name: {listener.name[:64]!r} is no DNS name"
    if listener.hostname and not is_hostname(listener.hostname):
        return f"hostname: {listener.hostname[:64]!r} is neither a host name nor *. and one"
    if listener.tls is not None and listener.tls.mode not in ("Terminate", "Passthrough"):
        return f"tls.mode: {listener.tls.mode[:64]!r} is neither Terminate nor Passthrough"
    return ""


def _passes_through(listener: Listener) -> bool:
    return listener.tls is not None and listener.tls.mode == "Passthrough"


def _certificates(listener: BoundListener, references: References) -> tuple[tuple[ObjectKey, ...], Verdict]:
    tls = listener.api.tls
    refs = (tls.certificate_refs if tls else None) or ()
    if _passes_through(listener.api) or not refs:
        problem = f"a listener of protocol {listener.protocol} that terminates TLS needs tls.certificateRefs"
        return (), Verdict("InvalidCertificateRef", problem)
    kind, (namespace, _) = listener.owner
    usable: list[ObjectKey] = []
    verdict = Verdict()
    for at, ref in enumerate(refs):
        field = f"tls.certificateRefs[{at}]"
        where, found = _certificate(ref, field, (GROUP, kind, namespace), references, "InvalidCertificateRef")
        if not found.problem:
            usable.append(where)
        elif not verdict.problem:
            verdict = found
    return tuple(usable), verdict


def client_certificate(
    key: ObjectKey, gateway: Gateway, references: References
) -> tuple[ObjectKey | None, Verdict | None]:
    """Return the Secret by which a Gateway is known to backends, and what became of the reference to it; None without one."""
    ref = gateway.spec.tls.backend.client_certificate_ref if gateway.spec.tls and gateway.spec.tls.backend else None
    if ref is None:
        return None, None
    field = "spec.tls.backend.clientCertificateRef"
    where, verdict = _certificate(ref, field, (GROUP, "Gateway", key[0]), references, "InvalidClientCertificateRef")
    return None if verdict.problem else where, verdict


def _certificate(
    ref: ObjectRef, field: str, source: From, references: References, invalid: str
) -> tuple[ObjectKey, Verdict]:
    """Return which Secret a reference means and why it cannot be used; `invalid` is the reason for what is wrong with it."""
    where = (ref.namespace or source[2], ref.name)
    found = references.certificates.get(where)
    if (ref.group, ref.kind) != ("", "Secret"):
        return where, Verdict(
            invalid, f"{field}: {kind_name(ref.group, ref.kind)} is no kind of certificate; use a Secret"
        )
    if not references.grants.permit(source, "", "Secret", *where):
        return where, Verdict("RefNotPermitted", f"{field}: no ReferenceGrant in namespace {where[0]} permits it")
    if found is None:
        return where, Verdict(invalid, f"{field}: there is no Secret {where[0]}/{where[1]} of type kubernetes.io/tls")
    if found.problem:
        return where, Verdict(invalid, f"{field}: Secret {where[0]}/{where[1]}: {found.problem}")
    return where, Verdict()
