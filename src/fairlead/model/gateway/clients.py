"""ClientTrafficPolicies as what the proxy does, and which of them holds for which listener. Pure.

A port that is spoken to without TLS has one chain for all its listeners, and what is done before a connection is read is done for all of a
port. There the listener that goes first decides; another's policy that says something else is told so and holds nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from fairlead.api.clienttraffic import (
    ClientConnections,
    ClientTls,
    ClientTrafficPolicy,
    ClientTrafficPolicySpec,
    ForwardedFor,
)
from fairlead.api.gateway import GROUP
from fairlead.model.gateway import http3
from fairlead.model.gateway.attachment import Attachments, Place, PolicyKind, Reading
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, ListenerKey, Verdict
from fairlead.model.gateway.trust import Revocation, revocation
from fairlead.model.gateway.values import duration, number, prefixes
from fairlead.plan.gateway.client import ClientTraffic, KeepAlive, Socket
from fairlead.plan.gateway.route import GatewayRoute, Redirect
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

CHALLENGES = "/.well-known/acme-challenge"
"""Where authorities look whether a host is its owner's (RFC 8555, 8.3): without TLS, as there may be no certificate yet."""
CIPHERS = frozenset(
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
)
_VERSIONS = ("1.2", "1.3")
_ALPN = ("h2", "http/1.1")
_MOST_CIDRS = 64
_MOST_KEEPALIVE_MS = 32_767_000
_LISTS = "spec.tls.clientValidation.crl"


class ClientPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy means."""

    traffic: ClientTraffic = ClientTraffic()
    socket: Socket = Socket()
    redirect: Redirect | None = None
    external: str = "Local"
    revocation: Revocation = Revocation()
    http3: bool = False


def read(policy: ClientTrafficPolicy, snapshot: Snapshot) -> Reading:
    """Return what a policy means as a `ClientPolicy`; what is wrong with a part of it makes all of it invalid.

    Of one that names lists of revoked certificates and is not valid is left that nobody's certificate is believed.
    """
    lists = policy.spec.revocation
    revoked = Revocation()
    try:
        if lists is not None:
            revoked = revocation(lists, policy.metadata.namespace, _LISTS, snapshot.trust_material)
        found = msgspec.structs.replace(_policy(policy.spec), revocation=revoked)
    except ValueError as error:
        closed = ClientPolicy(revocation=Revocation(problem=str(error))) if lists is not None else None
        return Reading(closed, accepted=Verdict("Invalid", str(error)))
    if lists is None:
        return Reading(found)
    return Reading(found, resolved=Verdict("RefNotResolved", revoked.problem) if revoked.problem else Verdict())


_OF_REQUESTS: Mapping[str, tuple[str, ...]] = {
    "forwardedFor": ("trusted_hops", "trusted_cidrs"),
    "headers": ("headers_kib", "headers_count", "underscores"),
    "timeouts": ("headers_ms", "request_ms", "idle_ms", "stream_idle_ms", "connection_ms"),
    "paths": ("merge_slashes", "escaped_slashes"),
    "connections.maxRequests": ("requests",),
    "tls.alpnProtocols": ("alpn",),
}
"""Field of a spec → fields of a `ClientTraffic`."""


def unheld(value: ClientPolicy, transport: str) -> frozenset[str]:
    """Return the fields that say nothing: about connections what is about requests, about datagrams all of them."""
    default = ClientPolicy()
    found = {
        said
        for said, names in _OF_REQUESTS.items()
        if any(getattr(value.traffic, name) != getattr(default.traffic, name) for name in names)
    }
    if value.redirect is not None:
        found.add("httpsRedirect")
    if value.http3:
        found.add("http3")
    if transport == "UDP":
        others: dict[str, object] = {
            "proxyProtocol": value.socket.proxy_protocol,
            "connections.keepAlive": value.socket.keep_alive,
        }
        others |= {"connections.max": value.traffic.connections, "tls": value.traffic.ciphers or value.traffic.tls_max}
        found |= {said for said, wanted in others.items() if wanted}
    return frozenset(found)


KIND = PolicyKind(
    kind="ClientTrafficPolicy",
    table="client_traffic_policies",
    targets=frozenset(((GROUP, "Gateway"), (GROUP, "ListenerSet"))),
    read=read,
    reads=("trust_material",),
    unheld=unheld,
)


def _policy(spec: ClientTrafficPolicySpec) -> ClientPolicy:
    external = spec.external_traffic_policy
    if external is not None:
        _one_of(external, ("Local", "Cluster"), "spec.externalTrafficPolicy")
        if any(each.kind != "Gateway" or each.section_name for each in spec.target_refs):
            raise ValueError("spec.externalTrafficPolicy: goes with whole Gateways alone, whose Service it is about")
    socket = Socket()
    if spec.proxy_protocol is not None:
        mode = _one_of(spec.proxy_protocol.mode, ("Required", "Optional"), "spec.proxyProtocol.mode")
        socket = Socket(proxy_protocol=mode.lower())
    if spec.connections is not None:
        socket = msgspec.structs.replace(socket, keep_alive=_keep_alive(spec.connections))
    redirect = None
    if (wanted := spec.https_redirect) is not None:
        if wanted.status_code not in (301, 302, 307, 308):
            raise ValueError("spec.httpsRedirect.statusCode: must be 301, 302, 307 or 308")
        port = number(wanted.port, 1, 65535, "spec.httpsRedirect.port")
        # The scheme's own port is left unsaid.
        redirect = Redirect(status=wanted.status_code, scheme="https", port=port if port != 443 else 0)
    traffic = _traffic(spec)
    if spec.http3 is not None and traffic.tls_max == "1.2":
        raise ValueError("spec.http3: needs TLS 1.3, which spec.tls.maxVersion excludes (RFC 9001, 4.2)")
    return ClientPolicy(
        traffic=traffic,
        socket=socket,
        redirect=redirect,
        external=external or "Local",
        http3=spec.http3 is not None,
    )


def _traffic(spec: ClientTrafficPolicySpec) -> ClientTraffic:
    said: dict[str, object] = {}
    if spec.forwarded_for is not None:
        said |= _forwarded_for(spec.forwarded_for)
    if spec.tls is not None:
        said |= _tls(spec.tls)
    if (headers := spec.headers) is not None:
        said["underscores"] = _one_of(
            headers.underscores, ("Drop", "Allow", "Reject"), "spec.headers.underscores"
        ).lower()
        if headers.max_kib is not None:
            said["headers_kib"] = number(headers.max_kib, 1, 8192, "spec.headers.maxKiB")
        if headers.max_count is not None:
            said["headers_count"] = number(headers.max_count, 1, 10_000, "spec.headers.maxCount")
    if (timeouts := spec.timeouts) is not None:
        for field, text, name in (
            ("headers_ms", timeouts.request_headers, "requestHeaders"),
            ("request_ms", timeouts.request, "request"),
            ("idle_ms", timeouts.idle, "idle"),
            ("stream_idle_ms", timeouts.stream_idle, "streamIdle"),
            ("connection_ms", timeouts.connection, "connection"),
        ):
            if text is not None:
                said[field] = duration(text, f"spec.timeouts.{name}")
    if (connections := spec.connections) is not None:
        if connections.max is not None:
            said["connections"] = number(connections.max, 1, 10_000_000, "spec.connections.max")
        if connections.max_requests is not None:
            said["requests"] = number(connections.max_requests, 1, 10_000_000, "spec.connections.maxRequests")
    if (paths := spec.paths) is not None:
        choices = ("Redirect", "Decode", "Keep", "Reject")
        said["escaped_slashes"] = _one_of(paths.escaped_slashes, choices, "spec.paths.escapedSlashes").lower()
        said["merge_slashes"] = paths.merge_slashes
        if not paths.merge_slashes and said["escaped_slashes"] == "redirect":
            # A path that begins with two slashes is another host to those who follow a redirect.
            said["escaped_slashes"] = "reject"
    return msgspec.structs.replace(ClientTraffic(), **said)


def _forwarded_for(wanted: ForwardedFor) -> dict[str, object]:
    field = "spec.forwardedFor"
    if (wanted.trusted_hops is None) == (wanted.trusted_cidrs is None):
        raise ValueError(f"{field}: needs either trustedHops or trustedCIDRs")
    if wanted.trusted_hops is not None:
        return {"trusted_hops": number(wanted.trusted_hops, 1, 16, f"{field}.trustedHops")}
    cidrs = wanted.trusted_cidrs or ()
    number(len(cidrs), 1, _MOST_CIDRS, f"{field}.trustedCIDRs: their number")
    return {"trusted_cidrs": prefixes(cidrs, f"{field}.trustedCIDRs")}


def _tls(wanted: ClientTls) -> dict[str, object]:
    said: dict[str, object] = {}
    least = _one_of(wanted.min_version or _VERSIONS[0], _VERSIONS, "spec.tls.minVersion")
    most = _one_of(wanted.max_version or _VERSIONS[-1], _VERSIONS, "spec.tls.maxVersion")
    if most < least:
        raise ValueError(f"spec.tls.maxVersion: {most} is below minVersion {least}")
    said |= {"tls_min": least, "tls_max": most if wanted.max_version is not None else ""}
    if wanted.cipher_suites is not None:
        for each in wanted.cipher_suites:
            _one_of(each, sorted(CIPHERS), "spec.tls.cipherSuites")
        said["ciphers"] = tuple(dict.fromkeys(wanted.cipher_suites))
    if wanted.alpn_protocols is not None:
        for each in wanted.alpn_protocols:
            _one_of(each, _ALPN, "spec.tls.alpnProtocols")
        said["alpn"] = tuple(dict.fromkeys(wanted.alpn_protocols))
    return said


def _keep_alive(wanted: ClientConnections) -> KeepAlive | None:
    each, field = wanted.keep_alive, "spec.connections.keepAlive"
    if each is None:
        return None
    return KeepAlive(
        probes=number(each.probes, 1, 127, f"{field}.probes"),
        idle_s=duration(each.idle, f"{field}.idle", least_ms=1000, most_ms=_MOST_KEEPALIVE_MS) // 1000,
        interval_s=duration(each.interval, f"{field}.interval", least_ms=1000, most_ms=_MOST_KEEPALIVE_MS) // 1000,
    )


def _one_of(value: str, choices: Iterable[str], field: str) -> str:
    if value not in choices:
        raise ValueError(f"{field}: {value[:64]!r} is not supported; use {', '.join(choices)}")
    return value


def is_challenge(route: GatewayRoute) -> bool:
    """Tell whether a route answers who looks whether a host is its owner's, and nothing else."""
    return route.path_kind in ("exact", "prefix") and (
        route.path == CHALLENGES or route.path.startswith(f"{CHALLENGES}/")
    )


class ClientPolicies:
    """What holds for each listener of some Gateways."""

    def __init__(
        self, gateways: Iterable[BoundGateway], attachments: Attachments, over_quic: Collection[ObjectKey] = ()
    ) -> None:
        """`over_quic` are Gateways whose listeners serve HTTP/3 where no policy is attached: what Ingresses mean has no policies."""
        self._attachments = attachments
        self._over_quic = over_quic
        self._of: dict[ListenerKey, ClientPolicy] = {}
        self._named: dict[ListenerKey, ObjectKey] = {}
        self._http3: dict[ListenerKey, Verdict] = {}
        self.overruled: dict[ObjectKey, str] = {}
        """Policies that hold nowhere, as others go first, and why."""
        for gateway in gateways:
            ports: dict[int, list[BoundListener]] = {}
            for each in gateway.listeners:
                if each.usable and each.transport == "TCP":
                    ports.setdefault(each.port, []).append(each)
            datagrams = {each.port for each in gateway.listeners if each.usable and each.transport == "UDP"}
            for listeners in ports.values():
                self._settle(listeners, datagrams)

    def of(self, listener: BoundListener) -> ClientPolicy:
        """Return what holds for a listener."""
        return self._of.get(listener.key, ClientPolicy())

    def redirect(self, listener: BoundListener) -> GatewayRoute | None:
        """Return where a listener sends all requests but those of `CHALLENGES`; None: nowhere."""
        found = self.of(listener).redirect
        if found is None or listener.protocol != "HTTP":
            return None
        origin = f"{KIND.kind}/{'/'.join(self._named[listener.key])}"
        return GatewayRoute(path_kind="prefix", path="/", redirect=found, origin=origin)

    def http3(self, listener: BoundListener) -> Verdict | None:
        """Return whether a listener serves HTTP/3 as well; None where nobody wishes that."""
        return self._http3.get(listener.key)

    def over_quic(self, gateway: BoundGateway) -> tuple[BoundListener, ...]:
        """Return the listeners of a Gateway that serve HTTP/3 as well."""
        verdicts = ((each, self.http3(each)) for each in gateway.listeners)
        return tuple(each for each, verdict in verdicts if verdict is not None and not verdict.problem)

    def external(self, gateway: ObjectKey) -> str:
        """Return the `externalTrafficPolicy` of a Gateway's Service."""
        reading = self._attachments.applying(Place(GROUP, "Gateway", *gateway))
        return reading.value.external if reading is not None and isinstance(reading.value, ClientPolicy) else "Local"

    def _settle(self, listeners: list[BoundListener], datagrams: Collection[int]) -> None:
        """Find what holds for the listeners of a port, the one that goes first first."""
        first = listeners[0]
        lead = self._wanted(first) or ClientPolicy()
        for each in listeners:
            wanted = self._wanted(each)
            own = wanted or ClientPolicy(http3=each.gateway in self._over_quic)
            # Without TLS all connections of the port are the first listener's.
            # Certificates are asked for by each listener with TLS apart: what of them is not good holds in any case.
            held = msgspec.structs.replace(own, socket=lead.socket, external=lead.external)
            if each.protocol == "HTTP":
                held = msgspec.structs.replace(held, traffic=lead.traffic)
            if wanted is not None and (held.traffic, held.socket) != (own.traffic, own.socket):
                self.overruled[self._named[each.key]] = (
                    f"listener {each.api.name}: another listener of port {each.port} goes first, and what this says goes for all of them"
                )
                held = msgspec.structs.replace(held, redirect=None, http3=False)
                if each.protocol != "HTTP":
                    held = msgspec.structs.replace(held, traffic=ClientTraffic())
            self._of[each.key] = held
            if held.http3 and (verdict := http3.verdict(each, held.socket, datagrams)) is not None:
                self._http3[each.key] = verdict

    def _wanted(self, listener: BoundListener) -> ClientPolicy | None:
        kind, (namespace, name) = listener.owner
        place = Place(GROUP, kind, namespace, name)
        reading = self._attachments.applying(place, listener.api.name)
        deciding = self._attachments.deciding(place, listener.api.name)
        if reading is None or deciding is None or not isinstance(reading.value, ClientPolicy):
            return None
        self._named[listener.key] = deciding
        return reading.value
