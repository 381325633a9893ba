"""The rules of where a pod may run: affinity, tolerations, topology spread.

Source: kube-apiserver core validation.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.common_rules import check_label_selector
from fairlead.apiserver.kinds.field_error import (
    FieldError,
    GoLiteral,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)

Object = dict[str, Any]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def check_affinity(affinity: Object, field: str) -> list[FieldError]:
    """Check node affinity, pod affinity and pod anti-affinity."""
    errors: list[FieldError] = []
    node = affinity.get("nodeAffinity") or {}
    hard = node.get(_REQUIRED)
    if hard is not None:
        errors += check_node_selector(hard, f"{field}.nodeAffinity.{_REQUIRED}")
    for index, term in enumerate(node.get(_PREFERRED, ())):
        where = f"{field}.nodeAffinity.{_PREFERRED}[{index}]"
        errors += _weight(term, where)
        errors += _node_term(term.get("preference", {}), f"{where}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        rule = affinity.get(kind) or {}
        for index, term in enumerate(rule.get(_REQUIRED, ())):
            errors += _pod_term(term, f"{field}.{kind}.{_REQUIRED}[{index}]")
        for index, term in enumerate(rule.get(_PREFERRED, ())):
            where = f"{field}.{kind}.{_PREFERRED}[{index}]"
            errors += _weight(term, where)
            errors += _pod_term(term.get("podAffinityTerm", {}), f"{where}.podAffinityTerm")
    return errors


def _weight(term: Object, field: str) -> list[FieldError]:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{field}.weight", weight, "must be in the range 1-100")]


def check_node_selector(selector: Object, field: str) -> list[FieldError]:
    """Check a NodeSelector, which needs at least one term."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{field}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        error for index, term in enumerate(terms) for error in _node_term(term, f"{field}.nodeSelectorTerms[{index}]")
    ]


def _node_term(term: Object, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, expression in enumerate(term.get("matchExpressions", ())):
        where = f"{field}.matchExpressions[{index}]"
        operator, values = expression.get("operator", ""), expression.get("values", ())
        if operator in ("In", "NotIn"):
            if not values:
                errors.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden(f"{where}.values", text))
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                errors.append(
                    required(f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
                )
        else:
            errors.append(invalid(f"{where}.operator", operator, "not a valid selector operator"))
        key = expression.get("key", "")
        errors += [invalid(f"{where}.key", key, text) for text in formats.qualified_name(key)]
    return errors


def _pod_term(term: Object, field: str) -> list[FieldError]:
    errors = check_label_selector(term.get("labelSelector"), f"{field}.labelSelector")
    errors += check_label_selector(term.get("namespaceSelector"), f"{field}.namespaceSelector")
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{field}.topologyKey", "can not be empty"))
    return errors + [invalid(f"{field}.topologyKey", key, text) for text in formats.qualified_name(key)]


def check_tolerations(tolerations: Any, field: str) -> list[FieldError]:
    """Check tolerations."""
    errors: list[FieldError] = []
    for index, toleration in enumerate(tolerations):
        where = f"{field}[{index}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        if key:
            errors += [invalid(f"{where}.key", key, text) for text in formats.qualified_name(key)]
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{where}.operator", operator, text))
        effect = toleration.get("effect", "")
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            errors.append(
                invalid(f"{where}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        value = toleration.get("value", "")
        if operator in ("", "Equal"):
            errors += [invalid(f"{where}.operator", value, text) for text in formats.label_value(value)]
        elif operator == "Exists":
            if value:
                errors.append(invalid(f"{where}.operator", value, "value must be empty when `operator` is 'Exists'"))
        else:
            errors.append(not_supported(f"{where}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in _EFFECTS:
            errors.append(not_supported(f"{where}.effect", effect, _EFFECTS))
    return errors


def check_topology_spread(constraints: Any, field: str) -> list[FieldError]:
    """Check topology spread constraints."""
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        where = f"{field}[{index}]"
        skew = constraint.get("maxSkew", 0)
        if skew <= 0:
            errors.append(invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        key, action = constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if not key:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        else:
            errors += [invalid(f"{where}.topologyKey", key, text) for text in formats.qualified_name(key)]
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            errors.append(not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
        if (key, action) in seen:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", GoLiteral(f"{{{key}, {action}}}")))
        seen.add((key, action))
        errors += check_label_selector(constraint.get("labelSelector"), f"{where}.labelSelector")
    return errors
