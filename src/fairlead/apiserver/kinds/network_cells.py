"""The rows of Services, endpoints, Ingresses and policies.

Source: the printers of the kube-apiserver.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fairlead.apiserver.kinds.ages import age
from fairlead.apiserver.kinds.workload_cells import NONE, format_labels, format_selector

Object = dict[str, Any]

_SHOWN = 3


def _some(items: list[str], separator: str = ",") -> str:
    text = separator.join(items[:_SHOWN])
    return f"{text} + {len(items) - _SHOWN} more..." if len(items) > _SHOWN else text


def service_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Service."""
    meta, spec = obj.get("metadata", {}), obj.get("spec", {})
    addresses = spec.get("clusterIPs") or [spec["clusterIP"]] if spec.get("clusterIP") else []
    return [
        meta.get("name", ""),
        spec.get("type", ""),
        addresses[0] if addresses else NONE,
        _external(obj),
        ",".join(_service_port(port) for port in spec.get("ports") or ()) or NONE,
        age(meta.get("creationTimestamp"), now),
        format_labels(spec.get("selector")),
    ]


def _service_port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node}/{port.get('protocol', '')}"


def _external(obj: Object) -> str:
    spec = obj.get("spec", {})
    listed = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            text = ",".join(x for x in (load_balancer(obj.get("status", {})), *listed) if x)
            return text or "<pending>"
        case "ClusterIP" | "NodePort":
            return ",".join(listed) or NONE
        case _:
            return "<unknown>"


def load_balancer(status: Object) -> str:
    """Return the addresses that a load balancer status names."""
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(item.get("ip") or item.get("hostname", "") for item in ingress)


def endpoints_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of Endpoints."""
    meta = obj.get("metadata", {})
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [item.get("ip", "") for item in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found += addresses
        for port in ports:
            found += [_with_port(address, port.get("port", 0)) for address in addresses]
    return [meta.get("name", ""), _some(found) or NONE, age(meta.get("creationTimestamp"), now)]


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def endpoint_slice_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of an EndpointSlice."""
    meta = obj.get("metadata", {})
    ports = [str(port.get("port", "*")) for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [
        meta.get("name", ""),
        obj.get("addressType", ""),
        _some(ports) or "<unset>",
        _some(addresses) or "<unset>",
        age(meta.get("creationTimestamp"), now),
    ]


def ingress_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of an Ingress."""
    meta, spec = obj.get("metadata", {}), obj.get("spec", {})
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    return [
        meta.get("name", ""),
        spec.get("ingressClassName") or NONE,
        _some(hosts) or "*",
        load_balancer(obj.get("status", {})),
        "80, 443" if spec.get("tls") else "80",
        age(meta.get("creationTimestamp"), now),
    ]


def ingress_class_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of an IngressClass."""
    meta, spec = obj.get("metadata", {}), obj.get("spec", {})
    parameters = spec.get("parameters")
    text = NONE
    if parameters is not None:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        text = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [meta.get("name", ""), spec.get("controller", ""), text, age(meta.get("creationTimestamp"), now)]


def network_policy_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a NetworkPolicy."""
    meta = obj.get("metadata", {})
    selector = format_selector(obj.get("spec", {}).get("podSelector"))
    return [meta.get("name", ""), selector, age(meta.get("creationTimestamp"), now)]


def ip_address_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of an IPAddress."""
    meta, parent = obj.get("metadata", {}), obj.get("spec", {}).get("parentRef") or {}
    resource = f"{parent.get('resource', '')}.{parent['group']}" if parent.get("group") else parent.get("resource", "")
    place = [part for part in (resource, parent.get("namespace"), parent.get("name")) if part]
    return [meta.get("name", ""), "/".join(place) or NONE, age(meta.get("creationTimestamp"), now)]


def service_cidr_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ServiceCIDR."""
    meta = obj.get("metadata", {})
    ranges = ",".join(obj.get("spec", {}).get("cidrs") or ())
    return [meta.get("name", ""), ranges, age(meta.get("creationTimestamp"), now)]
