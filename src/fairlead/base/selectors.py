"""Label selectors: what they mean, once, for every layer that selects.

Semantics are those of the Kubernetes API (metav1.LabelSelector and the query parameter `labelSelector`): requirements are
joined by AND, `NotIn` and `!=` also match objects without the key, an empty selector matches everything. A missing selector is the caller's
business: its meaning differs by field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class SelectorError(ValueError):
    """A selector that cannot be understood; the message names the part."""


class Requirement(msgspec.Struct, frozen=True, order=True):
    """One condition on one label key. `values` are sorted and distinct; empty for Exists and DoesNotExist."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether `labels` satisfy this requirement."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return value is not None and _compare(value, self.operator, self.values)


class LabelSelector(msgspec.Struct, frozen=True, cache_hash=True):
    """Requirements joined by AND; without any it matches every object."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Tell whether an object with `labels` (None: no labels) is selected."""
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """Return the query-parameter form, as kubectl prints it."""
        return ",".join(map(_format, self.requirements))


EVERYTHING = LabelSelector()


def from_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """Return the selector of an equality map, as in Service.spec.selector."""
    return LabelSelector(tuple(sorted(Requirement(key, "In", (value,)) for key, value in (labels or {}).items())))


def from_object(selector: Mapping[str, Any]) -> LabelSelector:
    """Return the selector of a metav1.LabelSelector object; raises SelectorError."""
    equalities = from_labels(selector.get("matchLabels")).requirements
    expressions = (
        requirement(expression["key"], expression["operator"], expression.get("values") or ())
        for expression in selector.get("matchExpressions") or ()
    )
    return LabelSelector(tuple(sorted((*equalities, *expressions))))


def requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """Return one checked requirement; raises SelectorError for an operator and values that do not go together."""
    if operator in ("Exists", "DoesNotExist"):
        if values:
            raise SelectorError(f"values must be empty for operator {operator!r} of key {key!r}")
    elif operator in ("In", "NotIn"):
        if not values:
            raise SelectorError(f"values must not be empty for operator {operator!r} of key {key!r}")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1 or not _is_integer(values[0]):
            raise SelectorError(f"operator {operator!r} of key {key!r} needs one integer")
    else:
        raise SelectorError(f"{operator!r} is not a valid label selector operator")
    return Requirement(key, operator, tuple(sorted(set(values))))  # type: ignore[arg-type]


_KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_COMPARISON = re.compile(rf"\s*({_KEY})\s*(==|=|!=|>|<)\s*({_VALUE})\s*")
_EXISTENCE = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_NAMES: Mapping[str, Operator] = {
    "in": "In",
    "notin": "NotIn",
    "=": "In",
    "==": "In",
    "!=": "NotIn",
    ">": "Gt",
    "<": "Lt",
}


def parse(text: str) -> LabelSelector:
    """Return the selector that `text` says in kubectl's syntax (`a=b,c!=d,e in (f,g),!h`); raises SelectorError."""
    return LabelSelector(tuple(sorted(_parse_one(part) for part in _split(text))))


def _split(text: str) -> list[str]:
    parts = re.split(r",(?![^()]*\))", text)
    return [] if parts == [""] or not text.strip() else parts


def _parse_one(part: str) -> Requirement:
    if found := _SET.fullmatch(part):
        key, operator, values = found.groups()
        members = [value.strip() for value in values.split(",")]
        for value in members:
            if not re.fullmatch(_VALUE, value):
                raise SelectorError(f"invalid label value {value!r} in {part!r}")
        return requirement(key, _NAMES[operator], members)
    if found := _COMPARISON.fullmatch(part):
        key, operator, value = found.groups()
        return requirement(key, _NAMES[operator], [value])
    if found := _EXISTENCE.fullmatch(part):
        absent, key = found.groups()
        return requirement(key, "DoesNotExist" if absent else "Exists", ())
    raise SelectorError(f"unable to parse requirement: {part!r}")


def _format(part: Requirement) -> str:
    match part.operator:
        case "In" | "NotIn" if len(part.values) == 1:
            return f"{part.key}{'=' if part.operator == 'In' else '!='}{part.values[0]}"
        case "In" | "NotIn":
            return f"{part.key} {part.operator.lower()} ({','.join(part.values)})"
        case "Exists":
            return part.key
        case "DoesNotExist":
            return f"!{part.key}"
        case "Gt" | "Lt":
            return f"{part.key}{'>' if part.operator == 'Gt' else '<'}{part.values[0]}"


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text) is not None


def _compare(value: str, operator: str, bounds: Sequence[str]) -> bool:
    if not _is_integer(value):
        return False
    return int(value) > int(bounds[0]) if operator == "Gt" else int(value) < int(bounds[0])
