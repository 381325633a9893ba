"""Checks that many kinds share: label selectors, ports by number or name, percentages, integers that may not be negative.

Source: apimachinery `meta/v1/validation` and kube-apiserver core validation.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.field_error import (
    FieldError,
    GoLiteral,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
)
from fairlead.apiserver.kinds.metadata_rules import validate_labels

Object = dict[str, Any]

PROTOCOLS = ("SCTP", "TCP", "UDP")
NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"


def check_not_negative(obj: Object, field: str, *names: str) -> list[FieldError]:
    """Refuse negative values of the integer fields `names` of `obj`."""
    return [
        invalid(f"{field}.{name}", obj[name], NOT_NEGATIVE)
        for name in names
        if obj.get(name) is not None and obj[name] < 0
    ]


def check_port(value: int | str, field: str) -> list[FieldError]:
    """Check a port given by number or name."""
    texts = formats.port_number(value) if isinstance(value, int) else formats.port_name(value)
    return [invalid(field, value, text) for text in texts]


def check_one_of(value: str | None, field: str, supported: tuple[str, ...]) -> list[FieldError]:
    """Refuse a missing value (Required) and one outside of `supported`."""
    if not value:
        return [required(field)]
    return [] if value in supported else [not_supported(field, value, supported)]


def check_label_selector(selector: Object | None, field: str) -> list[FieldError]:
    """Check a metav1.LabelSelector."""
    if not selector:
        return []
    errors = validate_labels(selector.get("matchLabels", {}), f"{field}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions", ())):
        errors += _expression(expression, f"{field}.matchExpressions[{index}]")
    return errors


def _expression(expression: Object, field: str) -> list[FieldError]:
    operator, values = expression.get("operator", ""), expression.get("values", [])
    errors = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            errors.append(
                forbidden(f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        errors.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    key = expression.get("key", "")
    errors += [invalid(f"{field}.key", key, text) for text in formats.qualified_name(key)]
    for index, value in enumerate(values):
        errors += [invalid(f"{field}.values[{index}]", value, text) for text in formats.label_value(value)]
    return errors


def check_int_or_percent(value: int | str | None, field: str) -> list[FieldError]:
    """Check an amount of pods: a number that is not negative, or a percentage."""
    if value is None:
        return []
    if isinstance(value, str):
        return [invalid(field, value, text) for text in formats.percent(value)]
    return [invalid(field, value, NOT_NEGATIVE)] if value < 0 else []


def check_at_most_all(value: int | str | None, field: str) -> list[FieldError]:
    """Refuse a percentage above 100 %."""
    if isinstance(value, str) and value[:-1].isdecimal() and value.endswith("%") and int(value[:-1]) > 100:
        return [invalid(field, value, "must not be greater than 100%")]
    return []


def amount_is_zero(value: int | str | None) -> bool:
    """Tell whether a number or percentage is nothing at all."""
    return value in (None, 0, "0%")


def immutable(new: Any, old: Any, field: str, shown: Any = None) -> list[FieldError]:
    """Refuse any difference; `shown` is the value to print when it is not `new`."""
    return [] if new == old else [invalid(field, new if shown is None else shown, IMMUTABLE)]


def go_string_map(values: dict[str, str]) -> GoLiteral:
    """Return how Go prints a map of strings."""
    return GoLiteral(
        "map[string]string{" + ", ".join(f"{quote(k)}:{quote(v)}" for k, v in sorted(values.items())) + "}"
    )


def go_strings(values: list[str]) -> GoLiteral:
    """Return how Go prints a slice of strings."""
    return GoLiteral("[]string{" + ", ".join(map(quote, values)) + "}")


def go_selector(selector: Object | None) -> GoLiteral:
    """Return how Go prints a LabelSelector."""
    if selector is None:
        return GoLiteral("nil")
    labels = go_string_map(selector["matchLabels"]).text if selector.get("matchLabels") else "map[string]string(nil)"
    listed = ", ".join(
        f"v1.LabelSelectorRequirement{{Key:{quote(item.get('key', ''))}, Operator:{quote(item.get('operator', ''))}, "
        f"Values:{go_strings(item['values']).text if item.get('values') else '[]string(nil)'}}}"
        for item in selector.get("matchExpressions", ())
    )
    expressions = f"{{{listed}}}" if listed else "(nil)"
    return GoLiteral(
        f"v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:[]v1.LabelSelectorRequirement{expressions}}}"
    )
