"""What configurations of webhooks, policies and their bindings must be.

Source: admissionregistration.k8s.io/v1 and its validation. Expressions are compiled here, so that a faulty one is refused when it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.field_error import OMITTED, FieldError, not_supported

Object = dict[str, Any]

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_ACTIONS = ("Audit", "Deny", "Warn")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_POLICIES = ("Fail", "Ignore")


def check_webhooks(obj: Object) -> list[FieldError]:
    """Return why a webhook configuration of either sort may not be stored."""
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        name = webhook.get("name") or ""
        if not name:
            errors.append(FieldError(f"{path}.name", "Required", OMITTED, ""))
        elif name.count(".") < 2:
            detail = "should be a domain with at least three segments separated by dots"
            errors.append(FieldError(f"{path}.name", "Invalid", name, detail))
        if name in names:
            errors.append(FieldError(f"{path}.name", "Duplicate", name))
        names.add(name)
        errors += _client(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
        effects = webhook.get("sideEffects")
        if effects is None:
            errors.append(
                FieldError(f"{path}.sideEffects", "Required", OMITTED, 'must specify one of "None", "NoneOnDryRun"')
            )
        elif effects not in _SIDE_EFFECTS:
            errors.append(not_supported(f"{path}.sideEffects", effects, _SIDE_EFFECTS))
        versions = webhook.get("admissionReviewVersions") or []
        if not versions:
            detail = "must specify one of v1, v1beta1"
            errors.append(FieldError(f"{path}.admissionReviewVersions", "Required", OMITTED, detail))
        elif "v1" not in versions:
            detail = "must include at least one of v1"
            errors.append(FieldError(f"{path}.admissionReviewVersions", "Invalid", versions, detail))
        seconds = webhook.get("timeoutSeconds")
        if seconds is not None and not 1 <= seconds <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            errors.append(FieldError(f"{path}.timeoutSeconds", "Invalid", seconds, detail))
        errors += _policy(webhook.get("failurePolicy"), f"{path}.failurePolicy")
        errors += _rules(webhook.get("rules") or (), f"{path}.rules")
        errors += _conditions(webhook.get("matchConditions") or (), f"{path}.matchConditions", ())
    return errors


def check_policy(obj: Object) -> list[FieldError]:
    """Return why a ValidatingAdmissionPolicy may not be stored."""
    spec = obj.get("spec") or {}
    errors = _policy(spec.get("failurePolicy"), "spec.failurePolicy")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(FieldError("spec.matchConstraints", "Required", OMITTED, ""))
    elif not constraints.get("resourceRules"):
        errors.append(FieldError("spec.matchConstraints.resourceRules", "Required", OMITTED, ""))
    else:
        errors += _rules(constraints["resourceRules"], "spec.matchConstraints.resourceRules")
    known = ("params", "namespaceObject")
    errors += _conditions(spec.get("matchConditions") or (), "spec.matchConditions", known)
    for index, variable in enumerate(spec.get("variables") or ()):
        path = f"spec.variables[{index}]"
        if not str(variable.get("name") or "").isidentifier():
            detail = "name is not a valid CEL identifier"
            errors.append(FieldError(f"{path}.name", "Invalid", variable.get("name") or "", detail))
        errors += _expression(variable.get("expression"), f"{path}.expression", (*known, "variables"))
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        detail = "validations or auditAnnotations must contain at least one item"
        errors.append(FieldError("spec.validations", "Required", OMITTED, detail))
    for index, validation in enumerate(validations):
        path = f"spec.validations[{index}]"
        errors += _expression(validation.get("expression"), f"{path}.expression", (*known, "variables"))
        if validation.get("messageExpression"):
            errors += _expression(validation["messageExpression"], f"{path}.messageExpression", (*known, "variables"))
    for index, annotation in enumerate(annotations):
        path = f"spec.auditAnnotations[{index}]"
        errors += _expression(annotation.get("valueExpression"), f"{path}.valueExpression", (*known, "variables"))
    return errors


def check_policy_binding(obj: Object) -> list[FieldError]:
    """Return why a ValidatingAdmissionPolicyBinding may not be stored."""
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    if not spec.get("policyName"):
        errors.append(FieldError("spec.policyName", "Required", OMITTED, ""))
    actions = spec.get("validationActions") or []
    if not actions:
        errors.append(
            FieldError("spec.validationActions", "Required", OMITTED, "at least one validation action is required")
        )
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(not_supported(f"spec.validationActions[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            errors.append(FieldError(f"spec.validationActions[{index}]", "Duplicate", action))
    if {"Deny", "Warn"} <= set(actions):
        detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
        errors.append(FieldError("spec.validationActions", "Invalid", actions, detail))
    ref = spec.get("paramRef")
    if ref is not None:
        if bool(ref.get("name")) == (ref.get("selector") is not None):
            detail = (
                "one of name or selector must be specified"
                if not ref.get("name")
                else "name and selector are mutually exclusive"
            )
            kind = "Required" if not ref.get("name") else "Forbidden"
            errors.append(FieldError("spec.paramRef.name", kind, OMITTED, detail))
        action = ref.get("parameterNotFoundAction")
        if action not in ("Allow", "Deny"):
            errors.append(not_supported("spec.paramRef.parameterNotFoundAction", action, ("Allow", "Deny")))
    return errors


def _client(client: Object, path: str) -> list[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [FieldError(path, "Required", OMITTED, "exactly one of url or service is required")]
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "https":
            detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
            return [FieldError(f"{path}.url", "Invalid", url, detail)]
        if not parts.hostname:
            detail = "host must be specified; desired format: https://host[/path]"
            return [FieldError(f"{path}.url", "Invalid", url, detail)]
        if parts.username or parts.query or parts.fragment:
            detail = "user information, query parameters and fragments are not permitted in the URL"
            return [FieldError(f"{path}.url", "Invalid", url, detail)]
        return []
    service = service or {}
    errors = [
        FieldError(f"{path}.service.{key}", "Required", OMITTED, f"service {key} is required")
        for key in ("name", "namespace")
        if not service.get(key)
    ]
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        errors.append(FieldError(f"{path}.service.port", "Invalid", port, detail))
    return errors


def _policy(value: object, path: str) -> list[FieldError]:
    return [] if value in _POLICIES else [not_supported(path, value, _POLICIES)]


def _rules(rules: Iterable[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        for key in ("operations", "apiGroups", "apiVersions", "resources"):
            values = rule.get(key) or []
            if not values:
                errors.append(FieldError(f"{path}[{index}].{key}", "Required", OMITTED, ""))
            elif "*" in values and len(values) > 1 and key != "resources":
                detail = "if '*' is present, must not specify other " + {
                    "operations": "operations",
                    "apiGroups": "API groups",
                }.get(key, "API versions")
                errors.append(FieldError(f"{path}[{index}].{key}", "Invalid", values, detail))
        for place, operation in enumerate(rule.get("operations") or ()):
            if operation not in _OPERATIONS:
                errors.append(not_supported(f"{path}[{index}].operations[{place}]", operation, _OPERATIONS))
    return errors


def _conditions(listed: Sequence[Object], path: str, more: tuple[str, ...]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, one in enumerate(listed):
        if not one.get("name"):
            errors.append(FieldError(f"{path}[{index}].name", "Required", OMITTED, ""))
        elif problems := formats.qualified_name(one["name"]):
            errors += [FieldError(f"{path}[{index}].name", "Invalid", one["name"], problem) for problem in problems]
        errors += _expression(one.get("expression"), f"{path}[{index}].expression", more)
    return errors


def _expression(text: object, path: str, more: tuple[str, ...]) -> list[FieldError]:
    from fairlead.apiserver.dynamic.expressions import OF_REQUESTS, expression

    if not isinstance(text, str) or not text.strip():
        return [FieldError(path, "Required", OMITTED, "")]
    compiled = expression(text, (*OF_REQUESTS, *more))
    if compiled.program is None:
        return [FieldError(path, "Invalid", text, f"compilation failed: {compiled.problem}")]
    return []
