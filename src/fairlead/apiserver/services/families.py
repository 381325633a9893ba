"""Which IP families a Service has, from what its author said and what it had before.

Source: KEP-563 and the Service registry of the kube-apiserver (initIPFamilyFields, normalizeClusterIPs, dropTypeDependentFields). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

Spec = dict[str, Any]

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def family_of(address: str) -> str:
    """Return IPv4 or IPv6."""
    return f"IPv{ip_address(address).version}"


def has_cluster_ip(spec: Spec) -> bool:
    """Tell whether a Service of this kind gets cluster addresses."""
    return spec.get("type") != "ExternalName" and not is_headless(spec)


def is_headless(spec: Spec) -> bool:
    """Tell whether the author asked for no cluster address."""
    return spec.get("clusterIP") == "None" or "None" in (spec.get("clusterIPs") or ())


def normalize(spec: Spec, before: Spec | None) -> None:
    """Make clusterIP and clusterIPs agree, as far as the author left one of them out."""
    ip, ips = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if before is None:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    old_ip, old_ips = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if ip != old_ip:
        if not ip and ips == old_ips:
            spec.pop("clusterIPs", None)
        elif ip and (not ips or ips == old_ips):
            spec["clusterIPs"] = [ip]
    elif not ips and ip:
        spec["clusterIPs"] = [ip]


def drop_of_other_type(spec: Spec, before: Spec) -> None:
    """Remove what only the former type of a Service needs, unless the author changed it on purpose."""
    if spec.get("type") == "ExternalName" and before.get("type") != "ExternalName":
        if spec.get("clusterIP") == before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if spec.get(key) == before.get(key):
                spec.pop(key, None)
    if before.get("type") in _WITH_NODE_PORTS and spec.get("type") not in _WITH_NODE_PORTS:
        old = {_port_key(port): port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") and old.get(_port_key(port)) == port["nodePort"]:
                del port["nodePort"]
        if not spec.get("externalIPs") and spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
            spec.pop("externalTrafficPolicy", None)
    had_health_port = needs_health_port(before) and not needs_health_port(spec)
    if had_health_port and spec.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(key) == before.get(key):
                spec.pop(key, None)


def needs_health_port(spec: Spec) -> bool:
    """Tell whether load balancers ask this Service's nodes for their health."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def needs_node_ports(spec: Spec) -> bool:
    """Tell whether a Service of this kind gets node ports."""
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def settle(spec: Spec, before: Spec | None, offered: Sequence[str]) -> str | None:
    """Fill in ipFamilyPolicy and ipFamilies; `offered` are the cluster's families, the default first.

    Returns what is wrong with the author's wish, or None.
    """
    if spec.get("type") == "ExternalName":
        return None
    ips = [ip for ip in spec.get("clusterIPs") or () if ip != "None"]
    families: list[str] = list(spec.get("ipFamilies") or ())
    policy = spec.get("ipFamilyPolicy")
    if before is not None and policy == "SingleStack" and before.get("ipFamilyPolicy") not in (None, "SingleStack"):
        # Going back to one family drops the second address unless the author changed the lists.
        if families == before.get("ipFamilies"):
            families = families[:1]
        if spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIPs"] = (spec.get("clusterIPs") or [])[:1]
            ips = ips[:1]
    for ip in ips[len(families) :]:
        families.append(family_of(ip))
    selectorless = is_headless(spec) and not spec.get("selector")
    if policy is None:
        policy = "RequireDualStack" if len(ips) == 2 or len(families) == 2 or selectorless else "SingleStack"
    if not families:
        families = [offered[0]]
    if policy != "SingleStack" and len(families) == 1:
        other = "IPv6" if families[0] == "IPv4" else "IPv4"
        if other in offered or selectorless:
            families.append(other)
    spec["ipFamilyPolicy"], spec["ipFamilies"] = policy, families
    if selectorless:
        return None
    if policy == "RequireDualStack" and len(offered) < 2:
        return 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
    for position, family in enumerate(families):
        if family not in offered:
            return f'spec.ipFamilies[{position}]: Invalid value: "{family}": not configured on this cluster'
    if policy == "SingleStack" and len(families) == 2:
        return (
            'spec.ipFamilyPolicy: Invalid value: "SingleStack": '
            "must be RequireDualStack or PreferDualStack when multiple IP families are specified"
        )
    return None


def _port_key(port: Spec) -> tuple[Any, ...]:
    return port.get("name"), port.get("protocol"), port.get("port")
