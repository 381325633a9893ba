"""Small worlds for tests of the model: nodes of the lab's shape, services, slices, attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.api.endpointslice import SERVICE_NAME, Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from fairlead.api.meta import ObjectMeta
from fairlead.api.node import Node, NodeAddress, NodeSpec, NodeStatus
from fairlead.api.service import Service, ServicePort, ServiceSpec
from fairlead.base.interfaces import Interface
from fairlead.world.attachment import Attachment

ETH0 = Interface(name="eth0", mtu=1500, addresses=("10.10.0.11/20", "fd10:10::b/64"))


def node(name: str, *addresses: str, pod_cidrs: Sequence[str] | None = None) -> Node:
    number = name[-1]
    cidrs = (f"10.244.{number}.0/24", f"fd10:244:0:{number}::/64") if pod_cidrs is None else tuple(pod_cidrs)
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidrs=cidrs),
        status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", each) for each in addresses)),
    )


N1 = node("n1", "10.10.0.11", "fd10:10::b")
N2 = node("n2", "10.10.0.12", "fd10:10::c")
N3 = node("n3", "10.10.16.13", "fd10:10:0:1::d")
NODES = {each.metadata.name: each for each in (N1, N2, N3)}


def attachment(number: int, **changes: object) -> Attachment:
    fields: dict[str, object] = {
        "container_id": f"c{number}",
        "ifname": "eth0",
        "netns": f"/run/netns/pod-{number}",
        "host_ifname": f"fl{number:012x}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "addresses": (f"10.244.1.{number}", f"fd10:244:0:1::{number:x}"),
        "pod_namespace": "default",
        "pod_name": f"pod-{number}",
    }
    return Attachment(**(fields | changes))  # type: ignore[arg-type]


def service(
    name: str,
    *cluster_ips: str,
    ports: Sequence[ServicePort] = (ServicePort(port=80),),
    labels: Mapping[str, str] | None = None,
    type: str = "ClusterIP",
    external_name: str | None = None,
) -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace="default", labels=labels),
        spec=ServiceSpec(
            type=type,
            cluster_ip=cluster_ips[0] if cluster_ips else None,
            cluster_ips=cluster_ips or None,
            ports=tuple(ports),
            external_name=external_name,
        ),
    )


def endpoint(
    address: str,
    ready: bool | None = True,
    *,
    serving: bool | None = None,
    terminating: bool | None = None,
    hostname: str | None = None,
) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    return Endpoint(addresses=(address,), conditions=conditions, hostname=hostname)


def endpoint_slice(
    name: str,
    of: str,
    *endpoints: Endpoint,
    ports: Sequence[EndpointPort] = (EndpointPort(port=8080),),
    family: str = "IPv4",
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="default", labels={SERVICE_NAME: of}),
        address_type=family,
        endpoints=endpoints,
        ports=tuple(ports),
    )
