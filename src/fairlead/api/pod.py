"""core/v1 Pod and Namespace, as far as the network reads them.

Everything else of a pod (volumes, probes, conditions) is dropped while decoding: a cluster's pods are many and change often, and a
change that the network does not read makes an equal value.
"""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta


class ContainerPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A declared port of a container."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The ports of a container; `restart_policy` is `Always` for a sidecar among the init containers."""

    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str = ""


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a Pod."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIP(msgspec.Struct, frozen=True, gc=False):
    """One of `status.podIPs`."""

    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`status` of a Pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")


class Pod(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pod: where it is, what it is labeled, its addresses and the names of its ports."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_finished(self) -> bool:
        """Tell whether the pod has ended for good, so that its addresses may be another's."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return `status.podIPs`, or the single older field."""
        several = tuple(each.ip for each in self.status.pod_ips or () if each.ip)
        return several or ((self.status.pod_ip,) if self.status.pod_ip else ())

    @property
    def ports(self) -> tuple[ContainerPort, ...]:
        """Return the named ports of containers, then of sidecars: of two with one name and protocol the first counts."""
        sidecars = (each for each in self.spec.init_containers or () if each.restart_policy == "Always")
        return tuple(
            port for each in (*(self.spec.containers or ()), *sidecars) for port in each.ports or () if port.name
        )


class Namespace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A namespace: its labels."""

    metadata: ObjectMeta
