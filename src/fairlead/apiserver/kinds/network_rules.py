"""The rules of network policies, Ingresses and endpoints.

Source: kube-apiserver networking.k8s.io, discovery.k8s.io and core validation.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import PROTOCOLS, check_label_selector, check_port, immutable
from fairlead.apiserver.kinds.field_error import (
    OMITTED,
    FieldError,
    GoLiteral,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    too_many,
)

Object = dict[str, Any]


def check_network_policy(obj: Object) -> list[FieldError]:
    """Check a NetworkPolicy."""
    spec = obj.get("spec", {})
    errors = check_label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports", ())):
                errors += _policy_port(port, f"{where}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers, ())):
                errors += _policy_peer(peer, f"{where}.{peers}[{number}]")
    types = spec.get("policyTypes", [])
    if len(types) > 2:
        shown = GoLiteral("[]networking.PolicyType{" + ", ".join(map(quote, types)) + "}")
        return [*errors, invalid("spec.policyTypes", shown, "may not specify more than two policyTypes")]
    return errors + [
        not_supported(f"spec.policyTypes[{index}]", item, ("Ingress", "Egress"))
        for index, item in enumerate(types)
        if item not in ("Ingress", "Egress")
    ]


def _policy_port(port: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    protocol = port.get("protocol")
    if protocol is not None and protocol not in PROTOCOLS:
        errors.append(not_supported(f"{field}.protocol", protocol, ("TCP", "UDP", "SCTP")))
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        errors += check_port(number, f"{field}.port")
        if end is not None:
            if isinstance(number, str):
                errors.append(invalid(f"{field}.endPort", end, "may not be specified when `port` is non-numeric"))
            else:
                if end < number:
                    errors.append(invalid(f"{field}.endPort", end, "must be greater than or equal to `port`"))
                errors += check_port(end, f"{field}.endPort")
    elif end is not None:
        errors.append(invalid(f"{field}.endPort", end, "may not be specified when `port` is not specified"))
    return errors


def _policy_peer(peer: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("podSelector", "namespaceSelector"):
        if peer.get(name) is not None:
            errors += check_label_selector(peer[name], f"{field}.{name}")
    block = peer.get("ipBlock")
    if block is not None:
        errors += _ip_block(block, f"{field}.ipBlock")
    count = sum(peer.get(name) is not None for name in ("podSelector", "namespaceSelector", "ipBlock"))
    if not count:
        errors.append(required(field, "must specify a peer"))
    elif block is not None and count > 1:
        errors.append(forbidden(field, "may not specify both ipBlock and another peer"))
    return errors


def _ip_block(block: Object, field: str) -> list[FieldError]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{field}.cidr")]
    network = formats.parse_cidr(cidr)
    if network is None:
        return [invalid(f"{field}.cidr", cidr, "not a valid CIDR")]
    errors = []
    for index, text in enumerate(block.get("except", ())):
        where = f"{field}.except[{index}]"
        inner = formats.parse_cidr(text)
        if inner is None:
            errors.append(invalid(where, text, "not a valid CIDR"))
        elif (
            inner.version != network.version
            or inner.prefixlen <= network.prefixlen
            or inner.network_address not in network
        ):
            errors.append(invalid(where, text, "must be a strict subset of `cidr`"))
    return errors


def check_ingress(obj: Object) -> list[FieldError]:
    """Check an Ingress."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    rules, backend = spec.get("rules", []), spec.get("defaultBackend")
    if not rules and backend is None:
        shown = GoLiteral("[]networking.IngressRule{}")
        errors.append(invalid("spec", shown, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        errors += _ingress_rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls", ())):
        for number, host in enumerate(tls.get("hosts", ())):
            rule_of = formats.wildcard_subdomain if "*" in host else formats.dns_subdomain
            errors += [invalid(f"spec.tls[{index}].hosts[{number}]", host, text) for text in rule_of(host)]
    if (name := spec.get("ingressClassName")) is not None:
        errors += [invalid("spec.ingressClassName", name, text) for text in formats.dns_subdomain(name)]
        if obj.get("metadata", {}).get("annotations", {}).get("kubernetes.io/ingress.class"):
            text = "can not be set when the class field is also set"
            where = "metadata.annotations[kubernetes.io/ingress.class]"
            errors.append(invalid(where, obj["metadata"]["annotations"]["kubernetes.io/ingress.class"], text))
    return errors


def _ingress_rule(rule: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if host := rule.get("host"):
        if formats.parse_ip(host) is not None:
            errors.append(invalid(f"{field}.host", host, "must be a DNS name, not an IP address"))
        rule_of = formats.wildcard_subdomain if "*" in host else formats.dns_subdomain
        errors += [invalid(f"{field}.host", host, text) for text in rule_of(host)]
    http = rule.get("http")
    if http is None:
        return errors
    paths = http.get("paths") or []
    if not paths:
        errors.append(required(f"{field}.http.paths"))
    for index, path in enumerate(paths):
        errors += _ingress_path(path, f"{field}.http.paths[{index}]")
    return errors


_FORBIDDEN_IN_PATH = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_AT_END = ("/..", "/.")


def _ingress_path(path: Object, field: str) -> list[FieldError]:
    kind, text = path.get("pathType"), path.get("path", "")
    errors: list[FieldError] = []
    match kind:
        case None:
            errors.append(required(f"{field}.pathType", "pathType must be specified"))
        case "Exact" | "Prefix":
            if not text.startswith("/"):
                errors.append(invalid(f"{field}.path", text, "must be an absolute path"))
            else:
                errors += [
                    invalid(f"{field}.path", text, f"must not contain '{part}'")
                    for part in _FORBIDDEN_IN_PATH
                    if part in text
                ]
                errors += [
                    invalid(f"{field}.path", text, f"cannot end with '{part}'")
                    for part in _FORBIDDEN_AT_END
                    if text.endswith(part)
                ]
        case "ImplementationSpecific":
            if text and not text.startswith("/"):
                errors.append(invalid(f"{field}.path", text, "must be an absolute path"))
        case _:
            supported = ("Exact", "ImplementationSpecific", "Prefix")
            errors.append(not_supported(f"{field}.pathType", kind, supported))
    return errors + _backend(path.get("backend", {}), f"{field}.backend")


def _backend(backend: Object, field: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and service is not None:
        return [invalid(field, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{field}.resource.{name}") for name in ("kind", "name") if not resource.get(name)]
    if service is None:
        return [invalid(field, "", "resource or service backend is required")]
    errors: list[FieldError] = []
    name = service.get("name", "")
    if not name:
        errors.append(required(f"{field}.service.name"))
    else:
        errors += [invalid(f"{field}.service.name", name, text) for text in formats.dns_1035_label(name)]
    port = service.get("port", {})
    port_name, number = port.get("name", ""), port.get("number", 0)
    if port_name and number:
        errors.append(invalid(field, "", "cannot set both port name & port number"))
    elif port_name:
        errors += [invalid(f"{field}.service.port.name", port_name, text) for text in formats.port_name(port_name)]
    elif number:
        errors += [invalid(f"{field}.service.port.number", number, text) for text in formats.port_number(number)]
    else:
        errors.append(required(field, "port name or number is required"))
    return errors


def check_ingress_class(obj: Object) -> list[FieldError]:
    """Check an IngressClass."""
    spec = obj.get("spec", {})
    controller = spec.get("controller", "")
    errors: list[FieldError] = []
    if not controller:
        errors.append(required("spec.controller"))
    else:
        if len(controller) > 250:
            errors.append(FieldError("spec.controller", "TooLong", OMITTED, "may not be more than 250 bytes"))
        domain, slash, path = controller.partition("/")
        if not slash or not path:
            text = 'must be a domain-prefixed path (such as "acme.io/foo")'
            errors.append(invalid("spec.controller", controller, text))
        else:
            errors += [invalid("spec.controller", domain, text) for text in formats.dns_subdomain(domain)]
    parameters = spec.get("parameters")
    if parameters is not None:
        errors += [required(f"spec.parameters.{name}") for name in ("kind", "name") if not parameters.get(name)]
        scope = parameters.get("scope")
        if scope not in ("Cluster", "Namespace"):
            errors.append(not_supported("spec.parameters.scope", scope, ("Cluster", "Namespace")))
        elif scope == "Namespace" and not parameters.get("namespace"):
            text = "`parameters.scope` is set to 'Namespace'"
            errors.append(required("spec.parameters.namespace", text))
        elif scope == "Cluster" and parameters.get("namespace") is not None:
            text = "`parameters.scope` is set to 'Cluster'"
            errors.append(forbidden("spec.parameters.namespace", text))
    return errors


def check_ingress_class_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed IngressClass; the controller stays."""
    controller, before = new.get("spec", {}).get("controller"), old.get("spec", {}).get("controller")
    return check_ingress_class(new) + immutable(controller, before, "spec.controller")


_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")


def check_endpoint_slice(obj: Object) -> list[FieldError]:
    """Check an EndpointSlice."""
    kind = obj.get("addressType", "")
    errors: list[FieldError] = []
    known = kind in _ADDRESS_TYPES
    if not kind:
        errors.append(required("addressType"))
    elif not known:
        errors.append(not_supported("addressType", kind, _ADDRESS_TYPES))
    errors += _endpoints(obj.get("endpoints") or [], kind if known else "")
    return errors + _slice_ports(obj.get("ports") or [])


def check_endpoint_slice_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed EndpointSlice; the address type stays."""
    return check_endpoint_slice(new) + immutable(new.get("addressType"), old.get("addressType"), "addressType")


def _endpoints(endpoints: list[Object], kind: str) -> list[FieldError]:
    if len(endpoints) > 1000:
        return [too_many("endpoints", len(endpoints), 1000)]
    errors: list[FieldError] = []
    for index, endpoint in enumerate(endpoints):
        where = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            errors.append(required(f"{where}.addresses", "must contain at least 1 address"))
        elif len(addresses) > 100:
            errors.append(too_many(f"{where}.addresses", len(addresses), 100))
        for number, address in enumerate(addresses):
            errors += _slice_address(address, kind, f"{where}.addresses[{number}]")
        if (name := endpoint.get("nodeName")) is not None:
            errors += [invalid(f"{where}.nodeName", name, text) for text in formats.dns_subdomain(name)]
        if (host := endpoint.get("hostname")) is not None:
            errors += [invalid(f"{where}.hostname", host, text) for text in formats.dns_label(host)]
    return errors


def _slice_address(address: str, kind: str, field: str) -> list[FieldError]:
    match kind:
        case "IPv4" | "IPv6":
            parsed = formats.parse_ip(address)
            if parsed is None or f"IPv{parsed.version}" != kind:
                return [invalid(field, address, f"must be a valid {kind} address")]
        case "FQDN":
            return [invalid(field, address, text) for text in formats.fully_qualified_name(address)]
    return []


def _slice_ports(ports: list[Object]) -> list[FieldError]:
    if len(ports) > 20000:
        return [too_many("ports", len(ports), 20000)]
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"ports[{index}]"
        name = port.get("name", "")
        if name:
            errors += [invalid(f"{where}.name", name, text) for text in formats.dns_label(name)]
        if name in names:
            errors.append(duplicate(f"{where}.name", name))
        names.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(required(f"{where}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{where}.protocol", protocol, PROTOCOLS))
        if application := port.get("appProtocol"):
            errors += [
                invalid(f"{where}.appProtocol", application, text) for text in formats.qualified_name(application)
            ]
    return errors


def check_endpoints(obj: Object) -> list[FieldError]:
    """Check Endpoints."""
    errors: list[FieldError] = []
    for index, subset in enumerate(obj.get("subsets", ())):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(where, "must specify `addresses` or `notReadyAddresses`"))
        for kind in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(kind, ())):
                errors += _endpoint_address(address, f"{where}.{kind}[{number}]")
        ports = subset.get("ports", ())
        for number, port in enumerate(ports):
            place = f"{where}.ports[{number}]"
            if len(ports) > 1 and not port.get("name"):
                errors.append(required(f"{place}.name"))
            elif port.get("name"):
                errors += [invalid(f"{place}.name", port["name"], text) for text in formats.dns_label(port["name"])]
            errors += check_port(port.get("port", 0), f"{place}.port")
            if port.get("protocol") not in PROTOCOLS:
                errors.append(not_supported(f"{place}.protocol", port.get("protocol", ""), PROTOCOLS))
    return errors


def _endpoint_address(address: Object, field: str) -> list[FieldError]:
    value = address.get("ip", "")
    errors = [invalid(f"{field}.ip", value, text) for text in formats.ip(value)]
    parsed = formats.parse_ip(value)
    if parsed is not None and parsed.is_loopback:
        errors.append(invalid(f"{field}.ip", value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if host := address.get("hostname"):
        errors += [invalid(f"{field}.hostname", host, text) for text in formats.dns_label(host)]
    return errors
