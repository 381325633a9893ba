"""Values against a schema: types, formats, bounds, and the schemas combined by anyOf, oneOf, allOf and not.

The words are the real server's. Of several alternatives that fail, the errors of the one that matched most are told. What an update leaves
as it was is not held against it (ratcheting, KEP-4008). Source: kube-openapi, pkg/validation/validate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.apiserver.cel.texts import pattern
from fairlead.apiserver.kinds.field_error import FieldError, not_supported, quote, required, too_long, too_many
from fairlead.apiserver.kinds.string_formats import FORMATS
from fairlead.apiserver.schema.lists import key_of
from fairlead.apiserver.schema.node import MISSING, Node

NOWHERE = "<nil>"
"""The field of errors that upstream gives no field."""

_NAMES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
_NATIVE_FORMATS = {int: "int64", float: "float64"}
_INT_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_LARGEST_FLOAT = 3.4028234663852886e38


@dataclass(slots=True)
class Outcome:
    """What a value's errors are, and how many checks it passed."""

    errors: list[FieldError]
    matched: int = 0

    def add(self, other: Outcome) -> None:
        """Take over everything of `other`."""
        self.errors += other.errors
        self.matched += other.matched


def check(value: Any, node: Node, old: Any = MISSING, *, prefix: str = "") -> list[FieldError]:
    """Return why `value` does not fit; with `old`, what is unchanged fits. `prefix` is where `value` stands in its object."""
    errors = _Walk(prefix).visit(value, node, "", old).errors
    return [] if errors and old is not MISSING and same(value, old) else errors


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal; numbers and booleans are kept apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def older_items(node: Node, old: Any) -> dict[str, Any] | None:
    """Return the items of an earlier list by key, None where items cannot be told apart."""
    if node.list_type != "map" or not isinstance(old, list):
        return None
    return {repr(key_of(item, node)): item for item in old if isinstance(item, dict)}


def older_item(known: dict[str, Any] | None, node: Node, item: Any) -> Any:
    """Return the earlier version of an item, MISSING if there is none."""
    return known.get(repr(key_of(item, node)), MISSING) if known is not None and isinstance(item, dict) else MISSING


class _Walk:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def at(self, path: str) -> str:
        path = path.removeprefix(".")
        if not self.prefix:
            return path
        return f"{self.prefix}.{path}" if path else self.prefix

    def wrong(self, path: str, value: Any, text: str, type: str = "Invalid") -> FieldError:
        return FieldError(self.at(path), type, value, f"{path} in body {text}")

    def child(self, value: Any, node: Node, path: str, old: Any) -> Outcome:
        """Visit the value of a field or item: errors in what is unchanged do not count."""
        found = self.visit(value, node, path, old)
        if found.errors and old is not MISSING and same(value, old):
            found.errors = []
        return found

    def visit(self, value: Any, node: Node, path: str, old: Any) -> Outcome:
        found = self.of_type(value, node, path)
        if value is None:
            self.enum(value, node, path, found)
            return found
        if node.any_of or node.one_of or node.all_of or node.negated is not None:
            self.combined(value, node, path, old, found)
        # One match for every kind of check that applies to every value.
        found.matched += 4
        match value:
            case str():
                self.text(value, node, path, found)
            case bool():
                pass
            case int() | float():
                self.number(value, node, path, found)
            case list():
                self.items(value, node, path, old, found)
        self.enum(value, node, path, found)
        if isinstance(value, dict):
            self.fields(value, node, path, old, found)
        return found

    # Types.

    def of_type(self, value: Any, node: Node, path: str) -> Outcome:
        types, name = node.types, _NAMES[type(value)]
        if value is None:
            if types and not node.nullable:
                return self.mismatch(path, ",".join(types), "null")
            return Outcome([], 1)
        if not types and not node.format:
            return Outcome([])
        whole = name == "number" and "integer" in types and float(value).is_integer() and abs(value) < 2**53
        fits = name in types or whole or (name == "integer" and "number" in types)
        if node.format and name not in ("string", "array") and not fits:
            return self.mismatch(path, node.format, _NATIVE_FORMATS.get(type(value), ""))
        if node.format and name in ("string", "array") and not {"integer", "number"} & set(types):
            return Outcome([], 1)
        return Outcome([], 1) if fits else self.mismatch(path, ",".join(types), name)

    def mismatch(self, path: str, wanted: str, name: str) -> Outcome:
        return Outcome([self.wrong(path, name, f"must be of type {wanted}: {quote(name)}", "TypeInvalid")])

    # Scalars.

    def enum(self, value: Any, node: Node, path: str, found: Outcome) -> None:
        if node.enum is None or any(_matches_enum(value, one) for one in node.enum):
            return
        shown = "null" if value is None else value
        listed = [one if isinstance(one, str) else _json(one) for one in node.enum]
        found.errors.append(not_supported(self.at(path), shown, listed))

    def text(self, value: str, node: Node, path: str, found: Outcome) -> None:
        if node.max_length is not None and len(value) > node.max_length:
            found.errors.append(too_long(self.at(path), node.max_length))
        elif node.min_length is not None and len(value) < node.min_length:
            found.errors.append(self.wrong(path, value, f"should be at least {node.min_length} chars long"))
        elif node.pattern:
            try:
                fits, problem = pattern(node.pattern).search(value) is not None, ""
            except ValueError as error:
                fits, problem = False, f", but pattern is invalid: error parsing regexp: {error}"
            if not fits:
                found.errors.append(self.wrong(path, value, f"should match '{node.pattern}{problem}'"))
        check_format = FORMATS.get(node.format.replace("-", "")) if node.format else None
        if check_format is not None and not check_format(value):
            found.errors.append(
                self.wrong(path, value, f"must be of type {node.format}: {quote(value)}", "TypeInvalid")
            )

    def number(self, value: float, node: Node, path: str, found: Outcome) -> None:
        found.matched += 1
        if not _in_range(value, node):
            form = f"with format {node.format}" if node.format else "(default format)"
            text = f"Checked value must be of type {node.types[0]} {form} in {path}"
            found.errors.append(FieldError(NOWHERE, "Invalid", "", text))
        if node.multiple_of and not _divides(node.multiple_of, value):
            found.errors.append(self.wrong(path, value, f"should be a multiple of {_go(node.multiple_of)}"))
        high, low = node.maximum, node.minimum
        if high is not None and (value > high or (node.exclusive_maximum and value == high)):
            word = "less than" if node.exclusive_maximum else "less than or equal to"
            found.errors.append(self.wrong(path, value, f"should be {word} {_go(high)}"))
        if low is not None and (value < low or (node.exclusive_minimum and value == low)):
            word = "greater than" if node.exclusive_minimum else "greater than or equal to"
            found.errors.append(self.wrong(path, value, f"should be {word} {_go(low)}"))

    # Lists and objects.

    def items(self, value: list[Any], node: Node, path: str, old: Any, found: Outcome) -> None:
        found.matched += 1
        if node.items is not None:
            known = older_items(node, old)
            for position, item in enumerate(value):
                found.add(self.child(item, node.items, f"{path}[{position}]", older_item(known, node, item)))
        if node.min_items is not None and len(value) < node.min_items:
            found.errors.append(self.wrong(path, len(value), f"should have at least {node.min_items} items"))
        if node.max_items is not None and len(value) > node.max_items:
            found.errors.append(too_many(self.at(path), len(value), node.max_items))

    def fields(self, value: dict[str, Any], node: Node, path: str, old: Any, found: Outcome) -> None:
        if node.min_properties is not None and len(value) < node.min_properties:
            text = f"should have at least {node.min_properties} properties"
            found.errors.append(self.wrong(path, len(value), text))
        if node.max_properties is not None and len(value) > node.max_properties:
            found.errors.append(too_many(self.at(path), len(value), node.max_properties))
        before = old if isinstance(old, dict) else {}
        for key, inner in value.items():
            below = node.properties.get(key)
            if below is not None:
                # What the type of the object itself is has no earlier version: conversion made both equal.
                earlier = MISSING if not path and key in ("apiVersion", "kind") else before.get(key, MISSING)
                found.add(self.child(inner, below, f"{path}.{key}" if path else key, earlier))
            elif node.additional is not None:
                found.add(self.child(inner, node.additional, f"{path}.{key}", before.get(key, MISSING)))
            elif node.closed:
                found.errors.append(
                    FieldError(self.at(path), "Invalid", "", f"{path}.{key} in body is a forbidden property")
                )
        found.errors += [required(self.at(f"{path}.{key}")) for key in node.required if key not in value]

    # Combinations.

    def combined(self, value: Any, node: Node, path: str, old: Any, found: Outcome) -> None:
        if node.any_of:
            self.any_of(value, node, path, old, found)
        if node.one_of:
            self.one_of(value, node, path, old, found)
        if node.all_of:
            outcomes = [self.visit(value, each, path, old) for each in node.all_of]
            for outcome in outcomes:
                found.add(outcome)
            good = sum(not outcome.errors for outcome in outcomes)
            if good < len(outcomes):
                more = "" if good else ". None validated"
                found.errors.append(_nowhere(f"{quote(path)} must validate all the schemas (allOf){more}"))
        if node.negated is not None and not self.visit(value, node.negated, path, old).errors:
            found.errors.append(_nowhere(f"{quote(path)} must not validate the schema (not)"))

    def any_of(self, value: Any, node: Node, path: str, old: Any, found: Outcome) -> None:
        best: Outcome | None = None
        for each in node.any_of:
            outcome = self.visit(value, each, path, old)
            if not outcome.errors:
                found.add(outcome)
                return
            if best is None or outcome.matched > best.matched:
                best = outcome
        found.errors.append(_nowhere(f"{quote(path)} must validate at least one schema (anyOf)"))
        if best is not None:
            found.add(best)

    def one_of(self, value: Any, node: Node, path: str, old: Any, found: Outcome) -> None:
        outcomes = [self.visit(value, each, path, old) for each in node.one_of]
        good = [outcome for outcome in outcomes if not outcome.errors]
        if len(good) == 1:
            found.add(good[0])
            return
        text = f"Found {len(good)} valid alternatives" if good else "Found none valid"
        found.errors.append(_nowhere(f"{quote(path)} must validate one and only one schema (oneOf). {text}"))
        if not good:
            found.add(max(outcomes, key=lambda outcome: outcome.matched))


def _nowhere(text: str) -> FieldError:
    return FieldError(NOWHERE, "Invalid", "", text)


def _matches_enum(value: Any, one: Any) -> bool:
    if isinstance(value, int | float) and isinstance(one, int | float):
        return isinstance(value, bool) is isinstance(one, bool) and value == one
    return same(value, one)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _in_range(value: float, node: Node) -> bool:
    match node.types:
        case ("integer",):
            low, high = _INT_BOUNDS.get(node.format, _INT_BOUNDS["int64"])
            return low <= value <= high and float(value).is_integer()
        case ("number",):
            return node.format != "float" or abs(value) <= _LARGEST_FLOAT
        case _:
            return True


def _divides(factor: float, value: float) -> bool:
    quotient = value / factor
    return math.isfinite(quotient) and abs(quotient - round(quotient)) < 1e-9


def _go(value: float) -> str:
    """Return a bound as Go prints a float64."""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e21 else repr(number)
