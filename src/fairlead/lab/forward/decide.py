"""Where the forwarded ports of the host lead, as configuration of the proxy that forwards. Pure.

A connection to the host's port for 80 goes to port 80 of the oldest Gateway that has one, and of a class of Ingresses only where no Gateway
has; likewise for 443.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

_OF_INGRESSES = "fairlead-gateway-ingress-"
_TYPES = "type.googleapis.com/envoy"


def targets(services: Iterable[Mapping[str, Any]], ports: Iterable[int]) -> dict[int, str]:
    """Return port → address of the Gateway that has it; `services` are those of Gateways."""
    found: dict[int, str] = {}
    oldest = sorted(services, key=_order)
    wanted = set(ports)
    for service in oldest:
        ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        addresses = [each["ip"] for each in ingress if each.get("ip")]
        for port in service["spec"].get("ports") or ():
            if addresses and port["port"] in wanted and port.get("protocol", "TCP") == "TCP":
                found.setdefault(port["port"], addresses[0])
    return found


def _order(service: Mapping[str, Any]) -> tuple[bool, str, str]:
    metadata = service["metadata"]
    name: str = metadata["name"]
    return name.startswith(_OF_INGRESSES), metadata.get("creationTimestamp", ""), name


def endpoints(address: str | None, port: int) -> Json:
    """Return where a port leads now; None: nowhere."""
    where = [{"lb_endpoints": [{"endpoint": {"address": _address(address, port)}}]}] if address is not None else []
    kind = f"{_TYPES}.config.endpoint.v3.ClusterLoadAssignment"
    return {"resources": [{"@type": kind, "cluster_name": name(port), "endpoints": where}]}


def bootstrap(listens: Mapping[int, int], netns: str, folder: str) -> Json:
    """Return the proxy's configuration: `listens` maps ports of the host's loopback in namespace `netns` to ports of Gateways.

    It reads the `endpoints` of each port from a file of the port's `name` in `folder` whenever that is replaced: one for each, as the
    proxy takes no file that holds more than what it asks for.
    """
    return {
        "node": {"id": "forward", "cluster": "fairlead"},
        "static_resources": {
            "listeners": [
                {
                    "name": name(port),
                    "address": _address("127.0.0.1", own, network_namespace_filepath=netns),
                    "filter_chains": [{"filters": [_filter(port)]}],
                }
                for own, port in listens.items()
            ],
            "clusters": [
                {
                    "name": name(port),
                    "type": "EDS",
                    "connect_timeout": "5s",
                    "eds_cluster_config": {"eds_config": _source(folder, port)},
                }
                for port in listens.values()
            ],
        },
    }


def _filter(port: int) -> Json:
    proxy = f"{_TYPES}.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": proxy, "stat_prefix": name(port), "cluster": name(port)}
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def _source(folder: str, port: int) -> Json:
    where = {"path": f"{folder}/{name(port)}.json", "watched_directory": {"path": folder}}
    return {"path_config_source": where, "resource_api_version": "V3"}


def _address(address: str, port: int, **more: str) -> Json:
    return {"socket_address": {"address": address, "port_value": port, **more}}


def name(port: int) -> str:
    """Return what a port's listener and cluster are called."""
    return f"port-{port}"
