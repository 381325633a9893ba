"""The rules of containers: names, ports, environment, mounts, probes, hooks, resources.

Source: kube-apiserver core validation (validateContainers and what it calls), in its order of checks.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import PROTOCOLS, check_not_negative, check_one_of, check_port
from fairlead.apiserver.kinds.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required
from fairlead.base import quantity

Object = dict[str, Any]

_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def check_containers(spec: Object, field: str, volumes: set[str]) -> list[FieldError]:
    """Check all containers of a pod spec; `volumes` are the names that mounts may use."""
    regular = spec.get("containers") or []
    errors: list[FieldError] = [] if regular else [required(f"{field}.containers")]
    names: set[str] = set()
    for index, container in enumerate(regular):
        where = f"{field}.containers[{index}]"
        errors += _container(container, where, names, volumes)
        if container.get("restartPolicy"):
            errors.append(forbidden(f"{where}.restartPolicy", "may not be set for non-init containers"))
    errors += _host_port_conflicts(regular, f"{field}.containers")
    for index, container in enumerate(spec.get("initContainers", ())):
        where = f"{field}.initContainers[{index}]"
        errors += _container(container, where, names, volumes)
        errors += _init_container(container, where)
    for index, container in enumerate(spec.get("ephemeralContainers", ())):
        errors += _ephemeral_container(container, f"{field}.ephemeralContainers[{index}]", names, volumes)
    return errors


def _init_container(container: Object, field: str) -> list[FieldError]:
    policy = container.get("restartPolicy")
    errors = []
    if policy is not None and policy != "Always":
        errors.append(not_supported(f"{field}.restartPolicy", policy, ("Always",)))
    if policy != "Always":
        errors += [
            forbidden(f"{field}.{name}", "may not be set for init containers without restartPolicy=Always")
            for name in ("lifecycle", *_PROBES)
            if container.get(name) is not None
        ]
    return errors


def _ephemeral_container(container: Object, field: str, names: set[str], volumes: set[str]) -> list[FieldError]:
    errors = _container(container, field, names, volumes)
    errors += [
        forbidden(f"{field}.{name}", "cannot be set for an Ephemeral Container")
        for name in ("ports", "lifecycle", *_PROBES)
        if container.get(name)
    ]
    return errors


def _container(container: Object, field: str, names: set[str], volumes: set[str]) -> list[FieldError]:
    name = container.get("name", "")
    errors: list[FieldError] = []
    if not name:
        errors.append(required(f"{field}.name"))
    else:
        texts = formats.dns_label(name)
        errors += [invalid(f"{field}.name", name, text) for text in texts]
        if name in names:
            errors.append(duplicate(f"{field}.name", name))
        names.add(name)
    image = container.get("image", "")
    if not image:
        errors.append(required(f"{field}.image"))
    elif image != image.strip():
        errors.append(invalid(f"{field}.image", image, "must not have leading or trailing whitespace"))
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            errors += _handler(handler, f"{field}.lifecycle.{hook}", ("exec", "httpGet", "tcpSocket", "sleep"))
    for probe in _PROBES:
        if container.get(probe) is not None:
            errors += _probe(container[probe], f"{field}.{probe}", probe)
    errors += check_one_of(
        container.get("terminationMessagePolicy"),
        f"{field}.terminationMessagePolicy",
        ("FallbackToLogsOnError", "File"),
    )
    errors += _ports(container.get("ports", ()), f"{field}.ports")
    errors += _env(container.get("env", ()), f"{field}.env")
    errors += _env_from(container.get("envFrom", ()), f"{field}.envFrom")
    errors += _mounts(container.get("volumeMounts", ()), f"{field}.volumeMounts", volumes)
    errors += check_one_of(
        container.get("imagePullPolicy"), f"{field}.imagePullPolicy", ("Always", "IfNotPresent", "Never")
    )
    errors += check_resources(container.get("resources", {}), f"{field}.resources")
    return errors + _security(container.get("securityContext") or {}, f"{field}.securityContext")


def _ports(ports: Any, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{field}[{index}]"
        if name := port.get("name"):
            texts = formats.port_name(name)
            errors += [invalid(f"{where}.name", name, text) for text in texts]
            if not texts:
                if name in names:
                    errors.append(duplicate(f"{where}.name", name))
                names.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            errors.append(required(f"{where}.containerPort"))
        else:
            errors += check_port(number, f"{where}.containerPort")
        if host_port := port.get("hostPort"):
            errors += check_port(host_port, f"{where}.hostPort")
        errors += check_one_of(port.get("protocol"), f"{where}.protocol", PROTOCOLS)
    return errors


def _host_port_conflicts(containers: list[Object], field: str) -> list[FieldError]:
    errors = []
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports", ())):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in taken:
                errors.append(duplicate(f"{field}[{index}].ports[{number}].hostPort", key))
            taken.add(key)
    return errors


def _env(variables: Any, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(variables):
        where = f"{field}[{index}]"
        name = variable.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += [invalid(f"{where}.name", name, text) for text in formats.env_name(name)]
        source = variable.get("valueFrom")
        if source is not None:
            errors += _env_source(source, bool(variable.get("value")), f"{where}.valueFrom")
    return errors


def _env_source(source: Object, has_value: bool, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if (reference := source.get("fieldRef")) is not None:
        path = reference.get("fieldPath", "")
        base, bracket, _ = path.partition("['")
        if not path:
            errors.append(required(f"{field}.fieldRef.fieldPath"))
        elif bracket and base in ("metadata.annotations", "metadata.labels"):
            pass
        elif path not in _FIELD_PATHS:
            text = f"error converting fieldPath: field label not supported: {path}"
            errors.append(invalid(f"{field}.fieldRef.fieldPath", path, text))
    if (resource := source.get("resourceFieldRef")) is not None and not resource.get("resource"):
        errors.append(required(f"{field}.resourceFieldRef.resource"))
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if (reference := source.get(kind)) is not None:
            errors += _key_reference(reference, f"{field}.{kind}")
    if not source:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid(field, "", text))
    elif has_value:
        errors.append(invalid(field, "", "may not be specified when `value` is not empty"))
    elif len(source) > 1:
        errors.append(invalid(field, "", "may not have more than one field specified at a time"))
    return errors


def _key_reference(reference: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = [] if reference.get("name") else [required(f"{field}.name")]
    key = reference.get("key", "")
    if not key:
        return [*errors, required(f"{field}.key")]
    return errors + [invalid(f"{field}.key", key, text) for text in formats.config_key(key)]


def _env_from(sources: Any, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, source in enumerate(sources):
        where = f"{field}[{index}]"
        if prefix := source.get("prefix"):
            errors += [invalid(f"{where}.prefix", prefix, text) for text in formats.env_name(prefix)]
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        errors += [required(f"{where}.{kind}.name") for kind in kinds if not source[kind].get("name")]
        if not kinds:
            errors.append(invalid(where, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            errors.append(invalid(where, "", "may not have more than one field specified at a time"))
    return errors


def _mounts(mounts: Any, field: str, volumes: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{field}[{index}]"
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in volumes:
            errors.append(FieldError(f"{where}.name", "NotFound", name))
        if not path:
            errors.append(required(f"{where}.mountPath"))
        if path in paths:
            errors.append(invalid(f"{where}.mountPath", path, "must be unique"))
        paths.add(path)
        if mount.get("subPath") and mount.get("subPathExpr"):
            errors.append(
                invalid(f"{where}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            )
        for kind in ("subPath", "subPathExpr"):
            if value := mount.get(kind):
                errors += check_local_path(value, f"{where}.{kind}")
    return errors


def check_local_path(path: str, field: str) -> list[FieldError]:
    """Refuse a path that is absolute or climbs out by `..`."""
    errors = [invalid(field, path, "must be a relative path")] if path.startswith("/") else []
    if ".." in path.split("/"):
        errors.append(invalid(field, path, "must not contain '..'"))
    return errors


def _probe(probe: Object, field: str, kind: str) -> list[FieldError]:
    errors = _handler(probe, field, ("exec", "httpGet", "tcpSocket", "grpc"))
    errors += check_not_negative(
        probe, field, "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"
    )
    grace = probe.get("terminationGracePeriodSeconds")
    if kind == "readinessProbe":
        if grace is not None:
            errors.append(
                invalid(f"{field}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
            )
    else:
        if grace is not None and grace <= 0:
            errors.append(invalid(f"{field}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
        if probe.get("successThreshold", 1) != 1:
            errors.append(invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


def _handler(handler: Object, field: str, kinds: tuple[str, ...]) -> list[FieldError]:
    errors: list[FieldError] = []
    found = [kind for kind in kinds if handler.get(kind) is not None]
    if not found:
        return [required(field, "must specify a handler type")]
    errors += [forbidden(f"{field}.{kind}", "may not specify more than 1 handler type") for kind in found[1:]]
    kind = found[0]
    action, where = handler[kind], f"{field}.{kind}"
    match kind:
        case "exec":
            if not action.get("command"):
                errors.append(required(f"{where}.command"))
        case "httpGet":
            if not action.get("path"):
                errors.append(required(f"{where}.path"))
            errors += check_port(action.get("port", 0), f"{where}.port")
            if action.get("scheme") not in ("HTTP", "HTTPS"):
                errors.append(not_supported(f"{where}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS")))
            for index, header in enumerate(action.get("httpHeaders", ())):
                name = header.get("name", "")
                errors += [invalid(f"{where}.httpHeaders[{index}]", name, text) for text in formats.http_header(name)]
        case "tcpSocket":
            errors += check_port(action.get("port", 0), f"{where}.port")
        case "grpc":
            errors += check_port(action.get("port", 0), f"{where}.port")
        case "sleep":
            if action.get("seconds", 0) < 0:
                errors.append(invalid(f"{where}.seconds", action["seconds"], "must be greater than or equal to 0"))
    return errors


def check_resources(resources: Object, field: str) -> list[FieldError]:
    """Check limits and requests, and that no request exceeds its limit."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    errors: list[FieldError] = []
    for name, amount in limits.items():
        errors += _amount(name, amount, f"{field}.limits[{name}]", f"{field}.limits")
    for name, amount in requests.items():
        errors += _amount(name, amount, f"{field}.requests[{name}]", f"{field}.requests")
        limit = limits.get(name)
        if limit is not None and quantity.parse(amount) > quantity.parse(limit):
            errors.append(
                invalid(f"{field}.requests", quantity.canonical(amount), f"must be less than or equal to {name} limit")
            )
    return errors


def _amount(name: str, amount: str | int | float, field: str, parent: str) -> list[FieldError]:
    errors = [invalid(parent, name, text) for text in formats.qualified_name(name)]
    if not errors and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        errors.append(invalid(parent, name, "must be a standard resource type or fully qualified"))
        errors.append(invalid(parent, name, "must be a standard resource for containers"))
    if quantity.parse(amount) < 0:
        errors.append(invalid(field, quantity.canonical(amount), "must be greater than or equal to 0"))
    return errors


def _security(context: Object, field: str) -> list[FieldError]:
    errors = check_ids(context, field)
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(invalid(f"{field}.allowPrivilegeEscalation", False, text))
    return errors


def check_ids(context: Object, field: str) -> list[FieldError]:
    """Check the user and group numbers of a security context."""
    return [
        invalid(f"{field}.{name}", context[name], "must be between 0 and 2147483647, inclusive")
        for name in ("runAsUser", "runAsGroup", "fsGroup")
        if context.get(name) is not None and not 0 <= context[name] < 2**31
    ]
