"""The rules of Services.

Source: kube-apiserver core validation (ValidateService, ValidateServiceUpdate), in its order of checks.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import PROTOCOLS, check_one_of, check_port, go_strings
from fairlead.apiserver.kinds.field_error import (
    FieldError,
    GoLiteral,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
)
from fairlead.apiserver.kinds.metadata_rules import validate_labels

Object = dict[str, Any]

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def check_service(obj: Object) -> list[FieldError]:
    """Check a Service."""
    spec = obj.get("spec", {})
    kind = spec.get("type", "")
    cluster_ips = _cluster_ips(spec)
    headless = kind != "ExternalName" and cluster_ips[:1] == ["None"]
    ports = spec.get("ports", [])
    errors: list[FieldError] = []
    if kind != "ExternalName" and not ports and not headless:
        errors.append(required("spec.ports"))
    if kind == "ExternalName":
        errors += _external_name(spec, cluster_ips)
    errors += _ports(ports, headless)
    errors += validate_labels(spec.get("selector", {}), "spec.selector")
    errors += check_one_of(spec.get("sessionAffinity"), "spec.sessionAffinity", ("ClientIP", "None"))
    errors += _affinity_timeout(spec)
    if kind != "ExternalName":
        errors += _check_cluster_ips(spec, cluster_ips)
    for index, address in enumerate(spec.get("externalIPs", ())):
        errors += _non_special_ip(address, f"spec.externalIPs[{index}]")
    errors += check_one_of(kind, "spec.type", _TYPES)
    errors += _repeated_ports(ports)
    errors += _node_ports(kind, ports)
    errors += _load_balancer(spec, kind)
    return errors + _traffic_policies(spec, kind)


def _cluster_ips(spec: Object) -> list[str]:
    if spec.get("clusterIPs"):
        return list(spec["clusterIPs"])
    return [spec["clusterIP"]] if spec.get("clusterIP") else []


def _external_name(spec: Object, cluster_ips: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if cluster_ips:
        errors.append(forbidden("spec.clusterIPs", "may not be set for ExternalName services"))
    name = spec.get("externalName", "")
    if not name:
        return [*errors, required("spec.externalName")]
    return errors + [invalid("spec.externalName", name, text) for text in formats.dns_subdomain(name.removesuffix("."))]


def _ports(ports: list[Object], headless: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name:
            if len(ports) > 1:
                errors.append(required(f"{where}.name"))
        else:
            errors += [invalid(f"{where}.name", name, text) for text in formats.dns_label(name)]
            if name in names:
                errors.append(duplicate(f"{where}.name", name))
            names.add(name)
        errors += check_port(port.get("port", 0), f"{where}.port")
        errors += check_one_of(port.get("protocol"), f"{where}.protocol", PROTOCOLS)
        errors += check_port(port.get("targetPort", 0), f"{where}.targetPort")
        if protocol := port.get("appProtocol"):
            errors += [invalid(f"{where}.appProtocol", protocol, text) for text in formats.qualified_name(protocol)]
    return errors


def _affinity_timeout(spec: Object) -> list[FieldError]:
    timeout = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and timeout is not None and not 0 < timeout <= 86400:
        text = "must be greater than 0 and less than 86400"
        return [invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout, text)]
    return []


def _check_cluster_ips(spec: Object, addresses: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.get("clusterIPs") and spec.get("clusterIP", spec["clusterIPs"][0]) != spec["clusterIPs"][0]:
        errors.append(invalid("spec.clusterIPs", go_strings(addresses), "first value must match `clusterIP`"))
    if len(addresses) > 2:
        text = "may only hold up to 2 values"
        errors.append(invalid("spec.clusterIPs", go_strings(addresses), text))
    for index, address in enumerate(addresses):
        if address == "None":
            if index:
                errors.append(
                    invalid(
                        f"spec.clusterIPs[{index}]",
                        address,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    )
                )
            continue
        errors += [invalid(f"spec.clusterIPs[{index}]", address, text) for text in formats.ip(address)]
    if spec.get("type") in ("NodePort", "LoadBalancer") and addresses[:1] == ["None"]:
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services"))
    parsed = [formats.parse_ip(address) for address in addresses]
    if len(parsed) == 2 and None not in parsed and len({address.version for address in parsed if address}) == 1:
        text = "may specify no more than one IP for each IP family"
        errors.append(invalid("spec.clusterIPs", go_strings(addresses), text))
    return errors


def _non_special_ip(value: str, field: str) -> list[FieldError]:
    address = formats.parse_ip(value)
    if address is None:
        return [invalid(field, value, "must be a valid IP address")]
    errors = []
    if address.is_unspecified:
        errors.append(invalid(field, value, f"may not be unspecified ({value})"))
    if address.is_loopback:
        text = (
            "may not be in the loopback range (127.0.0.0/8)"
            if address.version == 4
            else "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        )
        errors.append(invalid(field, value, text))
    if address.is_link_local:
        errors.append(invalid(field, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if address.is_multicast and (value.startswith("224.0.0.") or value.lower().startswith("ff02:")):
        errors.append(invalid(field, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
    return errors


def _repeated_ports(ports: list[Object]) -> list[FieldError]:
    seen: set[tuple[Any, Any]] = set()
    errors = []
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            errors.append(duplicate(f"spec.ports[{index}]", _go_port(port)))
        seen.add(key)
    return errors


def _go_port(port: Object) -> GoLiteral:
    return GoLiteral(
        f'core.ServicePort{{Name:"", Protocol:{quote(port.get("protocol", ""))}, AppProtocol:(*string)(nil), '
        f'Port:{port.get("port", 0)}, TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:""}}, NodePort:0}}'
    )


def _node_ports(kind: str, ports: list[Object]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        number = port.get("nodePort", 0)
        if not number:
            continue
        where = f"spec.ports[{index}].nodePort"
        if kind in ("ClusterIP", "ExternalName"):
            errors.append(forbidden(where, f"may not be used when `type` is '{kind}'"))
        key = (port.get("protocol"), number)
        if key in seen:
            errors.append(duplicate(where, number))
        seen.add(key)
    return errors


def _load_balancer(spec: Object, kind: str) -> list[FieldError]:
    errors: list[FieldError] = []
    ranges = spec.get("loadBalancerSourceRanges", [])
    where = "spec.LoadBalancerSourceRanges"
    if ranges and kind != "LoadBalancer":
        errors.append(forbidden(where, "may only be used when `type` is 'LoadBalancer'"))
    if any(formats.parse_cidr(item.strip()) is None for item in ranges):
        text = "must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24 "
        errors.append(invalid(where, f"[{' '.join(ranges)}]", text))
    if kind != "LoadBalancer":
        errors += [
            forbidden(f"spec.{name}", "may only be used when `type` is 'LoadBalancer'")
            for name in ("loadBalancerClass", "allocateLoadBalancerNodePorts")
            if spec.get(name) is not None
        ]
    return errors


def _traffic_policies(spec: Object, kind: str) -> list[FieldError]:
    errors: list[FieldError] = []
    external = spec.get("externalTrafficPolicy", "")
    if external:
        if kind not in ("NodePort", "LoadBalancer") and not (kind == "ClusterIP" and spec.get("externalIPs")):
            text = "ExternalTrafficPolicy can only be set on NodePort and LoadBalancer service"
            errors.append(invalid("spec.externalTrafficPolicy", external, text))
        elif external not in ("Cluster", "Local"):
            errors.append(not_supported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    check_node_port = spec.get("healthCheckNodePort", 0)
    if check_node_port < 0:
        text = "HealthCheckNodePort must be empty or non-negative"
        errors.append(invalid("spec.healthCheckNodePort", check_node_port, text))
    elif check_node_port and not (kind == "LoadBalancer" and external == "Local"):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", check_node_port, text))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in ("Cluster", "Local"):
        errors.append(not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    return errors


def check_service_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse a changed primary address or family, then check the whole Service."""
    spec, before = new.get("spec", {}), old.get("spec", {})
    errors: list[FieldError] = []
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        addresses, known = _cluster_ips(spec), _cluster_ips(before)
        if known and addresses[:1] != known[:1]:
            errors.append(invalid("spec.clusterIPs[0]", go_strings(addresses), "may not change once set"))
        families, known_families = spec.get("ipFamilies", []), before.get("ipFamilies", [])
        if known_families and families[:1] != known_families[:1]:
            errors.append(invalid("spec.ipFamilies[0]", families[0] if families else "", "may not change once set"))
    return errors + check_service(new)
