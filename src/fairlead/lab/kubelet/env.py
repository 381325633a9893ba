"""The environment of a container: its env and envFrom, the downward API, and the variables of Services. Pure.

Sources: core/v1 EnvVar and EnvFromSource, KEP-1846 expansion syntax $(VAR), and the kubelet for order and wording of errors.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairlead.base import quantity
from fairlead.lab.kubelet.pod import Container, EnvSource, FieldReference, Json, KeyReference, Pod, ResourceReference

Objects: TypeAlias = Mapping[str, Json]
"""Name → ConfigMap or Secret of the pod's namespace."""

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_DIVISORS = {"cpu": "1", "memory": "1", "ephemeral-storage": "1"}


class ConfigError(Exception):
    """Something that the container's configuration refers to is missing; it may yet appear (CreateContainerConfigError)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container's environment is made of besides the pod."""

    node: str
    services: Sequence[Json] = ()
    """Services of the pod's namespace, and default/kubernetes."""
    config_maps: Objects = field(default_factory=dict)
    secrets: Objects = field(default_factory=dict)
    tokens: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """(audience, seconds of life) → token of the pod's account."""
    pod_ips: Sequence[str] = ()
    host_ips: Sequence[str] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """The node's, which stands in for limits that are not set."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value and $$ by $; what is unknown stays as written."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return variables.get(name, match.group(0))

    return _REFERENCE.sub(value, text) if "$" in text else text


def container_env(pod: Pod, container: Container, around: Surroundings) -> dict[str, str]:
    """Return the variables in the kubelet's order of precedence; raises ConfigError."""
    services = service_variables(pod, around.services)
    found: dict[str, str] = {}
    for source in container.env_from or ():
        if source.config_map_ref:
            reference, kind, objects = source.config_map_ref, "configmap", around.config_maps
        elif source.secret_ref:
            reference, kind, objects = source.secret_ref, "secret", around.secrets
        else:
            continue
        obj = objects.get(reference.name)
        if obj is None:
            if not reference.optional:
                raise ConfigError(f'{kind} "{reference.name}" not found')
            continue
        for key, value in texts(obj).items():
            name = (source.prefix or "") + key
            if name and "=" not in name:
                found[name] = value
    for variable in container.env or ():
        if variable.value_from is not None:
            resolved = _value_from(pod, container, variable.value_from, around)
            if resolved is None:
                continue
            found[variable.name] = resolved
        else:
            found[variable.name] = expand(variable.value or "", services | found)
    return {name: value for name, value in services.items() if name not in found} | found


def texts(obj: Json) -> dict[str, str]:
    """Return the data of a ConfigMap or Secret as text; bytes that are not UTF-8 are replaced."""
    return {key: value.decode(errors="replace") for key, value in contents(obj).items() if b"\0" not in value}


def contents(obj: Json) -> dict[str, bytes]:
    """Return the data of a ConfigMap or Secret."""
    data = obj.get("data") or {}
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in data.items()}
    found = {key: str(value).encode() for key, value in data.items()}
    return found | {key: base64.b64decode(value or "") for key, value in (obj.get("binaryData") or {}).items()}


def service_variables(pod: Pod, services: Sequence[Json]) -> dict[str, str]:
    """Return the variables by which containers find Services: those of its namespace, and always default/kubernetes."""
    found: dict[str, str] = {}
    links = pod.spec.enable_service_links is not False
    # As upstream: a Service `kubernetes` of the pod's own namespace wins over that of `default`.
    chosen: dict[str, Json] = {}
    for service in services:
        metadata = service["metadata"]
        own = metadata.get("namespace") == pod.metadata.namespace
        master = metadata["name"] == "kubernetes" and metadata.get("namespace") == "default"
        if (own and links) or (master and metadata["name"] not in chosen):
            chosen[metadata["name"]] = service
    for name, service in sorted(chosen.items()):
        spec = service.get("spec") or {}
        address, ports = spec.get("clusterIP"), spec.get("ports") or []
        if not address or address == "None" or not ports:
            continue
        prefix = name.upper().replace("-", "_")
        found[f"{prefix}_SERVICE_HOST"] = address
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        for index, port in enumerate(ports):
            number, protocol = port["port"], port.get("protocol", "TCP")
            link = f"{prefix}_PORT_{number}_{protocol}"
            host = f"[{address}]" if ":" in address else address
            url = f"{protocol.lower()}://{host}:{number}"
            if index == 0:
                found[f"{prefix}_PORT"] = url
            found |= {
                link: url,
                f"{link}_PROTO": protocol.lower(),
                f"{link}_PORT": str(number),
                f"{link}_ADDR": address,
            }
    return found


def field_value(pod: Pod, path: str, around: Surroundings) -> str:
    """Return what a fieldRef selects; raises ConfigError for a field that cannot be selected."""
    metadata = pod.metadata
    if match := _SUBSCRIPT.fullmatch(path):
        return ((metadata.labels if match[1] == "labels" else metadata.annotations) or {}).get(match[2], "")
    match path:
        case "metadata.name":
            return metadata.name
        case "metadata.namespace":
            return metadata.namespace
        case "metadata.uid":
            return metadata.uid
        case "metadata.labels":
            return _pairs(metadata.labels)
        case "metadata.annotations":
            return _pairs(metadata.annotations)
        case "spec.nodeName":
            return around.node
        case "spec.serviceAccountName":
            return pod.spec.service_account_name or "default"
        case "status.hostIP":
            return around.host_ips[0] if around.host_ips else ""
        case "status.hostIPs":
            return ",".join(around.host_ips)
        case "status.podIP":
            return around.pod_ips[0] if around.pod_ips else ""
        case "status.podIPs":
            return ",".join(around.pod_ips)
    raise ConfigError(f"unsupported fieldPath: {path}")


def resource_value(pod: Pod, container: Container, reference: ResourceReference, around: Surroundings) -> str:
    """Return what a resourceFieldRef selects, in units of its divisor and rounded up; raises ConfigError."""
    target = pod.container(reference.container_name) if reference.container_name else container
    if target is None:
        raise ConfigError(f"container {reference.container_name} not found")
    kind, _, resource = reference.resource.partition(".")
    resources = target.resources
    amount: str | int | float | None
    if kind == "limits":
        amount = (resources.limits or {}).get(resource) if resources else None
        amount = around.allocatable.get(resource, "0") if amount is None else amount
    elif kind == "requests":
        amount = (resources.requests or {}).get(resource, "0") if resources else "0"
    else:
        raise ConfigError(f"unsupported container resource : {reference.resource}")
    divisor = reference.divisor if reference.divisor not in (None, "", "0", 0) else _DIVISORS.get(resource, "1")
    try:
        return str(quantity.ceil(amount, divisor or "1"))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _value_from(pod: Pod, container: Container, source: EnvSource, around: Surroundings) -> str | None:
    if source.field_ref:
        return _field(pod, source.field_ref, around)
    if source.resource_field_ref:
        return resource_value(pod, container, source.resource_field_ref, around)
    if source.config_map_key_ref:
        return _key(pod, source.config_map_key_ref, around.config_maps, "configmap", "ConfigMap")
    if source.secret_key_ref:
        return _key(pod, source.secret_key_ref, around.secrets, "secret", "Secret")
    return ""


def _field(pod: Pod, reference: FieldReference, around: Surroundings) -> str:
    return field_value(pod, reference.field_path, around)


def _key(pod: Pod, reference: KeyReference, objects: Objects, noun: str, kind: str) -> str | None:
    obj = objects.get(reference.name)
    if obj is None:
        if reference.optional:
            return None
        raise ConfigError(f'{noun} "{reference.name}" not found')
    value = contents(obj).get(reference.key)
    if value is None:
        if reference.optional:
            return None
        raise ConfigError(f"couldn't find key {reference.key} in {kind} {pod.metadata.namespace}/{reference.name}")
    return value.decode(errors="replace")


def _pairs(values: Mapping[str, str] | None) -> str:
    """Return labels or annotations as the downward API prints them: sorted lines of key and Go-quoted value."""
    return "\n".join(f"{key}={_quote(value)}" for key, value in sorted((values or {}).items()))


def _quote(value: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(letter, letter) for letter in value) + '"'
