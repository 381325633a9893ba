"""core/v1 Service, as far as the network reads it."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.ports`."""

    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None
    app_protocol: str | None = None


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ports: tuple[ServicePort, ...] | None = None
    external_name: str | None = msgspec.field(default=None, name="externalName")
    publish_not_ready_addresses: bool | None = msgspec.field(default=None, name="publishNotReadyAddresses")


class Service(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A service."""

    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """Return the virtual addresses: none for headless services, ExternalName and those without an address yet."""
        if self.spec.type == "ExternalName":
            return ()
        addresses = self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())
        return tuple(each for each in addresses if each and each != "None")

    @property
    def headless(self) -> bool:
        """Tell whether the service has, by its author's will, no virtual address."""
        return self.spec.type != "ExternalName" and (
            self.spec.cluster_ip == "None" or bool(self.spec.cluster_ips and self.spec.cluster_ips[0] == "None")
        )
