"""What a reference to a backend leads to: a port of a Service as a cluster of the proxy, or why it leads nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from fairlead.api.endpointslice import EndpointSlice
from fairlead.api.gateway import GROUP, BackendRef
from fairlead.api.httproute import ExtensionRef
from fairlead.api.routeextension import RouteExtension
from fairlead.api.service import Service, ServicePort
from fairlead.base.addresses import is_ipv6
from fairlead.model.endpoints import choose
from fairlead.model.gateway.attachment import Reading
from fairlead.model.gateway.extended import NamedPortRef
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.listeners import BoundGateway, Verdict
from fairlead.model.gateway.names import kind_name
from fairlead.plan.endpoint import Endpoint
from fairlead.plan.gateway.cluster import BackendTls, GatewayCluster
from fairlead.plan.gateway.traffic import Traffic
from fairlead.plan.gateway.trust import GatewayTrust
from fairlead.world.events import ObjectKey

_PROTOCOLS: Mapping[str | None, str] = {
    None: "http1",
    "http": "http1",
    "kubernetes.io/ws": "http1",
    "kubernetes.io/h2c": "h2c",
}
"""`appProtocol` (KEP-3726) → protocol of the cluster; what is unknown is tried as HTTP/1.1."""

_NEVER_PLAIN = frozenset(("https", "kubernetes.io/wss"))
"""Values of `appProtocol` that mean TLS, which needs to know whom to believe."""

FindTls = Callable[[ObjectKey, str], Reading | None]
"""(Service, name of the port) → what its BackendTLSPolicy says, None without one."""


def _no_policy(_service: ObjectKey, _port: str) -> None:
    return None


_SPOKEN: Mapping[str, str] = {"GRPCRoute": "h2c", "TLSRoute": "tcp", "TCPRoute": "tcp", "UDPRoute": "udp"}
"""Kind of route → protocol of its clusters, whatever the ports say."""


_AS_IT_IS = frozenset(("tcp", "udp"))


class Target(msgspec.Struct, frozen=True):
    """A port of a Service and how it is spoken to."""

    service: ObjectKey
    port: int
    protocol: str
    tls: BackendTls | None = None
    trust: GatewayTrust | None = None
    """The row that `tls` names."""
    again: Target | None = None
    """Where connections go whose TLS the proxy has ended, if that is another one."""
    closed: bool = False
    """Whether such connections go nowhere, as a policy cannot be honored."""
    client: ObjectKey | None = None
    """The Gateway that is known to the backend by a certificate of its own."""
    decides: bool = False
    """Whether it is asked about requests by HTTP."""

    @property
    def name(self) -> str:
        """Return the name of its cluster."""
        suffix = "" if self.protocol == "http1" else f"/{self.protocol}"
        suffix += "/tls" if self.protocol in _AS_IT_IS and self.tls is not None else ""
        suffix += f"/from/{self.client[0]}/{self.client[1]}" if self.client is not None else ""
        suffix += "/decides" if self.decides else ""
        return f"{self.service[0]}/{self.service[1]}/{self.port}{suffix}"

    def behind(self, gateway: BoundGateway) -> Target:
        """Return how a Gateway speaks to it."""
        if self.tls is None or gateway.client is None:
            return self
        tls = msgspec.structs.replace(self.tls, certificate="/".join(gateway.client))
        return msgspec.structs.replace(self, tls=tls, client=gateway.key)

    def row(self, traffic: Traffic) -> GatewayCluster:
        """Return its cluster."""
        return GatewayCluster(
            name=self.name, protocol=self.protocol, tls=self.tls, traffic=traffic, decides=self.decides
        )

    def port_name(self, service: Service | None) -> str:
        """Return how the Service calls the port, empty where it has no name."""
        port = _port(self, service)
        return port.name or "" if port is not None else ""


class Backends:
    """Resolves the references of one route's rules."""

    def __init__(
        self,
        kind: str,
        namespace: str,
        services: Mapping[ObjectKey, Service],
        grants: Grants,
        extensions: Mapping[ObjectKey, RouteExtension] = MappingProxyType({}),
        *,
        group: str = GROUP,
        tls: FindTls = _no_policy,
    ) -> None:
        self._tls = tls
        self._kind = kind
        self._group = group
        self._protocol = _SPOKEN.get(kind, "")
        self._namespace = namespace
        self._services = services
        self._grants = grants
        self._extensions = extensions
        self.extended: set[ObjectKey] = set()
        """All RouteExtensions that were looked up, whether or not they exist."""
        self.targets: dict[str, Target] = {}
        """Name → all clusters that were needed."""
        self.asked: set[ObjectKey] = set()
        """All Services that were looked up, whether or not they exist."""
        self.verdict = Verdict()
        """The first thing that was wrong."""

    def resolve(self, ref: BackendRef, field: str, *, protocol: str = "") -> Target | None:
        """Return where a reference leads, None when nowhere: then `verdict` says why.

        `protocol` is how the backend is spoken to, whatever its port says.
        """
        where = (ref.namespace or self._namespace, ref.name)
        if (ref.group, ref.kind) not in (("", "Service"), ("core", "Service")):
            self._refuse(
                "InvalidKind", f"{field}: {kind_name(ref.group, ref.kind)} is no kind of backend; use a Service"
            )
            return None
        if not self._grants.permit((self._group, self._kind, self._namespace), "", "Service", *where):
            self._refuse("RefNotPermitted", f"{field}: no ReferenceGrant in namespace {where[0]} permits it")
            return None
        self.asked.add(where)
        service = self._services.get(where)
        if service is None:
            self._refuse("BackendNotFound", f"{field}: there is no Service {where[0]}/{where[1]} with endpoints")
            return None
        if service.spec.type == "ExternalName":
            words = f"Service {where[0]}/{where[1]} is of type ExternalName, which has no endpoints; name another"
            self._refuse("BackendNotFound", f"{field}: {words}")
            return None
        transport = "UDP" if self._kind == "UDPRoute" else "TCP"
        name, wanted = (ref.port_name, ref.protocol) if isinstance(ref, NamedPortRef) else ("", "")
        ports = [each for each in service.spec.ports or () if (each.protocol or "TCP") == transport]
        port = next((each for each in ports if each.port == ref.port or (name and each.name == name)), None)
        if port is None:
            words = "port" if transport == "TCP" else f"{transport} port"
            problem = f"{field}: Service {where[0]}/{where[1]} has no {words} {name or ref.port}"
            self._refuse("BackendNotFound", problem)
            return None
        protocol = protocol or wanted or self._protocol or _PROTOCOLS.get(port.app_protocol, "http1")
        if protocol in _AS_IT_IS:
            return self._handed_on(where, port, protocol)
        reading = self._tls(where, port.name or "")
        encrypted = isinstance(ref, NamedPortRef) and ref.encrypted
        if reading is None and (encrypted or port.app_protocol in _NEVER_PLAIN):
            who = "backend-protocol" if encrypted else f"appProtocol {port.app_protocol}"
            words = f"{who} needs a BackendTLSPolicy for Service {where[0]}/{where[1]}"
            self._refuse("UnsupportedProtocol", f"{field}: {words}")
            return None
        if reading is not None and reading.value is None:
            # The reference is good; why nothing may go there is said of the policy.
            return None
        tls, trust = reading.value if reading is not None else (None, None)
        target = Target(where, port.port, protocol, tls, trust)
        self.targets[target.name] = target
        return target

    def _handed_on(self, where: ObjectKey, port: ServicePort, protocol: str) -> Target:
        """Return a target of connections, which its BackendTLSPolicy concerns where the proxy has ended the clients' own TLS."""
        reading = self._tls(where, port.name or "") if self._kind == "TLSRoute" else None
        again: Target | None = None
        if reading is not None and reading.value is not None:
            tls, trust = reading.value
            again = Target(where, port.port, protocol, tls, trust)
            self.targets[again.name] = again
        target = Target(where, port.port, protocol, again=again, closed=reading is not None and again is None)
        self.targets[target.name] = target
        return target

    def extension(self, ref: ExtensionRef, field: str) -> RouteExtension | None:
        """Return what a filter refers to, None when nothing that is known: then `verdict` says why."""
        if (ref.group, ref.kind) != ("fairlead.dev", "RouteExtension"):
            self._refuse(
                "InvalidKind",
                f"{field}: {kind_name(ref.group, ref.kind)} is no kind of extension; use a RouteExtension",
            )
            return None
        where = (self._namespace, ref.name)
        self.extended.add(where)
        found = self._extensions.get(where)
        if found is None:
            self._refuse("BackendNotFound", f"{field}: there is no RouteExtension {where[0]}/{where[1]}")
        return found

    def _refuse(self, reason: str, problem: str) -> None:
        if not self.verdict.problem:
            self.verdict = Verdict(reason, problem)


def host_of(target: Target) -> str:
    """Return how a Service is called in requests of the proxy's own."""
    return f"{target.service[1]}.{target.service[0]}.svc"


def endpoints_of(
    target: Target, service: Service | None, slices: tuple[EndpointSlice, ...], *, node: str, zone: str
) -> tuple[Endpoint, ...]:
    """Return who serves a target, seen from a node. Costs time proportional to the Service's endpoints.

    Of a Service of both families the first counts, so that no pod stands there twice.
    """
    port = _port(target, service)
    if service is None or port is None:
        return ()
    families: list[bool] = list(dict.fromkeys(is_ipv6(each) for each in service.cluster_ips)) or [False, True]
    for ipv6 in families:
        own = [each for each in slices if each.address_type == ("IPv6" if ipv6 else "IPv4")]
        found = choose(port, own, node=node, zone=zone).everywhere
        if found:
            return found
    return ()


def _port(target: Target, service: Service | None) -> ServicePort | None:
    if service is None:
        return None
    transport = "UDP" if target.protocol == "udp" else "TCP"
    ports = service.spec.ports or ()
    return next((each for each in ports if each.port == target.port and (each.protocol or "TCP") == transport), None)
