"""core/v1 Service, as far as the network reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.api.meta import ObjectMeta

INGRESS_PREFIXES = (
    "traefik.ingress.kubernetes.io/",
    "haproxy.org/",
    "haproxy.com/",
    "haproxy-ingress.github.io/",
    "ingress.kubernetes.io/",
)
"""Of annotations by which controllers of Ingresses are told something about a Service."""
_AFFINITY_S = 10800


class ServiceMeta(ObjectMeta, frozen=True, kw_only=True, rename="camel", gc=False):
    """Metadata of a Service, with those of its annotations alone that say something about requests."""

    annotations: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.annotations:
            kept = {name: value for name, value in self.annotations.items() if name.startswith(INGRESS_PREFIXES)}
            msgspec.structs.force_setattr(self, "annotations", kept or None)


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.ports`."""

    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None
    app_protocol: str | None = None


class ClientIPConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How long a client keeps its endpoint."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec.sessionAffinityConfig`."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ports: tuple[ServicePort, ...] | None = None
    external_name: str | None = msgspec.field(default=None, name="externalName")
    publish_not_ready_addresses: bool | None = msgspec.field(default=None, name="publishNotReadyAddresses")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    internal_traffic_policy: str | None = msgspec.field(default=None, name="internalTrafficPolicy")
    external_traffic_policy: str | None = msgspec.field(default=None, name="externalTrafficPolicy")
    session_affinity: str | None = msgspec.field(default=None, name="sessionAffinity")
    session_affinity_config: SessionAffinityConfig | None = msgspec.field(default=None, name="sessionAffinityConfig")
    load_balancer_source_ranges: tuple[str, ...] | None = msgspec.field(default=None, name="loadBalancerSourceRanges")
    health_check_node_port: int | None = msgspec.field(default=None, name="healthCheckNodePort")


class Ingress(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One address of a load balancer."""

    ip: str | None = None
    ip_mode: str | None = None


class LoadBalancerStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`status.loadBalancer`."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`status` of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A service."""

    metadata: ServiceMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """Return the virtual addresses: none for headless services, ExternalName and those without an address yet."""
        if self.spec.type == "ExternalName":
            return ()
        addresses = self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())
        return tuple(each for each in addresses if each and each != "None")

    @property
    def load_balancer_ips(self) -> tuple[str, ...]:
        """Return the addresses of load balancers that hand packets on as they are (`ipMode` VIP, KEP-1860)."""
        if self.spec.type != "LoadBalancer" or self.status.load_balancer is None:
            return ()
        return tuple(
            each.ip for each in self.status.load_balancer.ingress or () if each.ip and each.ip_mode in (None, "VIP")
        )

    @property
    def affinity_s(self) -> int:
        """Return for how many seconds a client keeps its endpoint; 0 without session affinity. The default is three hours."""
        if self.spec.session_affinity != "ClientIP":
            return 0
        config = self.spec.session_affinity_config
        given = config.client_ip.timeout_seconds if config and config.client_ip else None
        return _AFFINITY_S if given is None else given

    @property
    def headless(self) -> bool:
        """Tell whether the service has, by its author's will, no virtual address."""
        return self.spec.type != "ExternalName" and (
            self.spec.cluster_ip == "None" or bool(self.spec.cluster_ips and self.spec.cluster_ips[0] == "None")
        )
