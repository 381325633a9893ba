"""The rules of pods and pod templates, and what of a pod may change.

Source: kube-apiserver core validation (ValidatePodSpec, ValidatePodUpdate).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import check_one_of, go_strings
from fairlead.apiserver.kinds.container_rules import check_containers, check_ids
from fairlead.apiserver.kinds.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required
from fairlead.apiserver.kinds.metadata_rules import validate_annotations, validate_labels
from fairlead.apiserver.kinds.scheduling_rules import check_affinity, check_tolerations, check_topology_spread
from fairlead.apiserver.kinds.volume_rules import check_volumes

Object = dict[str, Any]

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")


def check_pod(obj: Object) -> list[FieldError]:
    """Check a Pod to create."""
    return check_pod_spec(obj.get("spec", {}), "spec")


def check_pod_template(template: Object, field: str) -> list[FieldError]:
    """Check the template of a workload."""
    errors = check_template_metadata(template, field)
    if template.get("spec", {}).get("ephemeralContainers"):
        errors.append(
            forbidden(f"{field}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    return errors + check_pod_spec(template.get("spec", {}), f"{field}.spec")


def check_template_metadata(template: Object, field: str) -> list[FieldError]:
    """Check the labels and annotations of a template alone."""
    meta = template.get("metadata", {})
    errors = validate_labels(meta.get("labels", {}), f"{field}.metadata.labels")
    return errors + validate_annotations(meta.get("annotations", {}), f"{field}.metadata.annotations")


def check_pod_spec(spec: Object, field: str) -> list[FieldError]:
    """Check a pod spec; `field` is its path."""
    volumes, errors = check_volumes(spec.get("volumes", []), f"{field}.volumes")
    errors += check_containers(spec, field, volumes)
    errors += check_one_of(spec.get("restartPolicy"), f"{field}.restartPolicy", _RESTART_POLICIES)
    errors += check_one_of(spec.get("dnsPolicy"), f"{field}.dnsPolicy", _DNS_POLICIES)
    errors += validate_labels(spec.get("nodeSelector", {}), f"{field}.nodeSelector")
    errors += _security(spec, field)
    errors += [
        required(f"{field}.imagePullSecrets[{index}].name")
        for index, reference in enumerate(spec.get("imagePullSecrets", ()))
        if not reference.get("name")
    ]
    errors += check_affinity(spec.get("affinity") or {}, f"{field}.affinity")
    errors += _dns_config(spec, field)
    errors += _readiness_gates(spec.get("readinessGates", ()), f"{field}.readinessGates")
    errors += check_topology_spread(spec.get("topologySpreadConstraints", ()), f"{field}.topologySpreadConstraints")
    for name, rule in (
        ("serviceAccountName", formats.dns_subdomain),
        ("nodeName", formats.dns_subdomain),
        ("hostname", formats.dns_label),
        ("subdomain", formats.dns_label),
        ("priorityClassName", formats.dns_subdomain),
        ("runtimeClassName", formats.dns_subdomain),
    ):
        if value := spec.get(name):
            errors += [invalid(f"{field}.{name}", value, text) for text in rule(value)]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        errors.append(
            invalid(f"{field}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    errors += check_tolerations(spec.get("tolerations", ()), f"{field}.tolerations")
    return errors + _host_aliases(spec.get("hostAliases", ()), f"{field}.hostAliases")


def _security(spec: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.get("hostNetwork"):
        for kind in ("containers", "initContainers"):
            for index, container in enumerate(spec.get(kind) or ()):
                for number, port in enumerate(container.get("ports", ())):
                    if port.get("hostPort", 0) not in (0, port.get("containerPort")):
                        where = f"{field}.{kind}[{index}].ports[{number}].containerPort"
                        text = "must match `hostPort` when `hostNetwork` is true"
                        errors.append(invalid(where, port.get("containerPort", 0), text))
    context = spec.get("securityContext") or {}
    errors += check_ids(context, f"{field}.securityContext")
    seen: set[str] = set()
    for index, setting in enumerate(context.get("sysctls", ())):
        name = setting.get("name", "")
        where = f"{field}.securityContext.sysctls[{index}].name"
        if not name:
            errors.append(required(where))
        elif name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    return errors


def _dns_config(spec: Object, field: str) -> list[FieldError]:
    config = spec.get("dnsConfig")
    where = f"{field}.dnsConfig"
    errors: list[FieldError] = []
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{where}.nameservers", text)]
    if config is None:
        return errors
    servers, searches = config.get("nameservers", []), config.get("searches", [])
    if len(servers) > 3:
        errors.append(invalid(f"{where}.nameservers", go_strings(servers), "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        errors += [invalid(f"{where}.nameservers[{index}]", server, text) for text in formats.ip(server)]
    if len(searches) > 32:
        errors.append(invalid(f"{where}.searches", go_strings(searches), "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        text = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(invalid(f"{where}.searches", go_strings(searches), text))
    for index, search in enumerate(searches):
        if search == ".":
            continue
        errors += [
            invalid(f"{where}.searches[{index}]", search, text)
            for text in formats.dns_subdomain(search.removesuffix("."))
        ]
    for index, option in enumerate(config.get("options", ())):
        if not option.get("name"):
            errors.append(required(f"{where}.options[{index}]", "must not be empty"))
    return errors


def _readiness_gates(gates: Any, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, gate in enumerate(gates):
        name = gate.get("conditionType", "")
        errors += [invalid(f"{field}[{index}].conditionType", name, text) for text in formats.qualified_name(name)]
    return errors


def _host_aliases(aliases: Any, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, alias in enumerate(aliases):
        errors += [
            invalid(f"{field}[{index}].ip", alias.get("ip", ""), text) for text in formats.ip(alias.get("ip", ""))
        ]
        for number, name in enumerate(alias.get("hostnames", ())):
            where = f"{field}[{index}].hostnames[{number}]"
            errors += [invalid(where, name, text) for text in formats.dns_subdomain(name)]
    return errors


_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse any change but those of images, the active deadline, more tolerations and removed scheduling gates."""
    spec, before = dict(new.get("spec", {})), dict(old.get("spec", {}))
    errors: list[FieldError] = []
    for kind in ("containers", "initContainers"):
        one, two = spec.get(kind) or [], before.get(kind) or []
        if len(one) != len(two):
            return [forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
        for index, container in enumerate(one):
            image = container.get("image", "")
            if not image:
                errors.append(required(f"spec.{kind}[{index}].image"))
            elif image != image.strip():
                errors.append(
                    invalid(f"spec.{kind}[{index}].image", image, "must not have leading or trailing whitespace")
                )
        spec[kind] = [item | {"image": ""} for item in one]
        before[kind] = [item | {"image": ""} for item in two]
    errors += _deadline_change(spec, before)
    errors += _toleration_change(spec, before)
    errors += _gate_change(spec, before)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        before["terminationGracePeriodSeconds"] = 1
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        spec.pop(name, None)
        before.pop(name, None)
    if spec != before:
        errors.append(forbidden("spec", f"{_UPDATE_TEXT}\n{_difference(spec, before)}"))
    return errors


def check_ephemeral_update(new: Object, old: Object) -> list[FieldError]:
    """Check an update of the ephemeral containers: they may be added, neither changed nor taken away."""
    spec = new.get("spec", {})
    errors = check_pod_spec(spec, "spec")
    wanted = {item.get("name"): item for item in spec.get("ephemeralContainers", ())}
    for before in old.get("spec", {}).get("ephemeralContainers", ()):
        after = wanted.get(before["name"])
        if after != before:
            verb = "removed" if after is None else "changed"
            text = f'existing ephemeral containers "{before["name"]}" may not be {verb}'
            errors.append(forbidden("spec.ephemeralContainers", text))
    return errors


def _deadline_change(spec: Object, before: Object) -> list[FieldError]:
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    where = "spec.activeDeadlineSeconds"
    if new is not None and not 1 <= new < 2**31:
        return [invalid(where, new, "must be between 1 and 2147483647, inclusive")]
    if old is not None and new is not None and new > old:
        return [invalid(where, new, "must be less than or equal to previous value")]
    if old is not None and new is None:
        return [invalid(where, None, "must not update from a positive integer to nil value")]
    return []


def _toleration_change(spec: Object, before: Object) -> list[FieldError]:
    def identity(toleration: Object) -> Object:
        return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}

    kept = [identity(item) for item in spec.get("tolerations", ())]
    if all(identity(item) in kept for item in before.get("tolerations", ())):
        return check_tolerations(spec.get("tolerations", ()), "spec.tolerations")
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _gate_change(spec: Object, before: Object) -> list[FieldError]:
    known = [gate.get("name") for gate in before.get("schedulingGates", ())]
    return [
        forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'",
        )
        for index, gate in enumerate(spec.get("schedulingGates", ()))
        if gate.get("name") not in known
    ]


def _difference(new: Object, old: Object) -> str:
    lines = []
    for name in sorted(new.keys() | old.keys()):
        if new.get(name) != old.get(name):
            lines += [
                f"{sign} {name}: {msgspec.json.encode(part[name]).decode()}"
                for sign, part in (("-", old), ("+", new))
                if name in part
            ]
    return "\n".join(lines) + "\n"


def check_binding_target(target: Object) -> list[FieldError]:
    """Check the target of a pod Binding."""
    errors: list[FieldError] = []
    if target.get("kind", "") not in ("", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        errors.append(required("target.name"))
    return errors
