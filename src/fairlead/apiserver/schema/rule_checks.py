"""The rules of a definition, checked when it is written: they compile, fit their schema, and cannot cost more than an object may.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel (compilation, costs), pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fairlead.apiserver.cel.checker import BOOL, DOUBLE, DYN, INT, Checker, Type
from fairlead.apiserver.cel.parser import ParseError
from fairlead.apiserver.cel.program import CompileError, Program
from fairlead.apiserver.kinds.field_error import FieldError, GoLiteral, forbidden, invalid
from fairlead.apiserver.schema.field_paths import FieldPathError, resolve
from fairlead.apiserver.schema.keywords import Ruled
from fairlead.apiserver.schema.rules import VARIABLES

Json = dict[str, Any]

RULE_LIMIT = 10_000_000
"""The largest estimated cost of one rule for one object."""
DEFINITION_LIMIT = 100_000_000
"""The largest estimated cost of all rules of one version."""
_REQUEST_BYTES = 3 * 1024 * 1024
_TEXT_SIZES = {"duration": 32, "date": 10, "date-time": 35}
_TIMES = {
    "duration": "google.protobuf.Duration",
    "date": "google.protobuf.Timestamp",
    "date-time": "google.protobuf.Timestamp",
    "byte": "bytes",
}


def check(schema: Json, path: str, ruled: Iterable[Ruled]) -> list[FieldError]:
    """Return what is wrong with the rules of the schemas in `ruled`, which are parts of `schema` at `path`."""
    found: list[FieldError] = []
    total = 0.0
    dearest: list[tuple[float, str]] = []
    for one in ruled:
        declared = declare(one.schema, is_resource=one.schema is schema)
        times = _occurrences(one.place.above, one.schema)
        for position, rule in enumerate(one.schema["x-kubernetes-validations"]):
            where = f"{one.path}.x-kubernetes-validations[{position}]"
            for part, cost in _check_rule(rule, declared, one, where, found):
                whole = cost * times
                if whole > RULE_LIMIT:
                    name = "estimated rule cost" if part == "rule" else "estimated messageExpression cost"
                    found.append(forbidden(f"{where}.{part}", _too_dear(name, whole, RULE_LIMIT)))
                total += whole
                dearest.append((whole, f"{where}.{part}"))
    if total > DEFINITION_LIMIT:
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found += [forbidden(where, text) for _, where in sorted(dearest, reverse=True)[:4]]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden(path, _too_dear(name, total, DEFINITION_LIMIT)))
    return found


def _check_rule(
    rule: Json, declared: Type, ruled: Ruled, where: str, found: list[FieldError]
) -> Iterator[tuple[str, float]]:
    """Add to `found` what is wrong with one rule; yield the costs of its expressions."""
    shown = GoLiteral("apiextensions.ValidationRule{...}")
    old = Type("optional_type", element=declared) if rule.get("optionalOldSelf") else declared
    types = {"self": declared, "oldSelf": old}
    try:
        program, result, cost = _compile(rule["rule"].strip(), types)
    except (ParseError, CompileError) as error:
        found.append(invalid(f"{where}.rule", shown, f"compilation failed: {error}"))
        return
    if result.kind not in ("bool", "dyn"):
        found.append(invalid(f"{where}.rule", shown, "cel expression must evaluate to a bool"))
    yield "rule", cost
    if "oldSelf" in program.names:
        if ruled.place.uncorrelated:
            text = (
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {ruled.place.uncorrelated}"
            )
            found.append(invalid(f"{where}.rule", rule["rule"], text))
    elif rule.get("optionalOldSelf") is not None:
        text = "may not be set if oldSelf is not used in rule"
        found.append(invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], text))
    if rule.get("fieldPath"):
        try:
            resolve(rule["fieldPath"].strip(), ruled.schema)
        except FieldPathError:
            found.append(invalid(f"{where}.fieldPath", rule["fieldPath"], "must be a valid path"))
    if rule.get("messageExpression"):
        try:
            _, result, cost = _compile(rule["messageExpression"].strip(), types)
        except (ParseError, CompileError) as error:
            text = f"messageExpression compilation failed: {error}"
            found.append(invalid(f"{where}.messageExpression", shown, text))
            return
        if result.kind not in ("string", "dyn"):
            found.append(invalid(f"{where}.messageExpression", shown, "messageExpression must evaluate to a string"))
        yield "messageExpression", cost


def _compile(text: str, types: dict[str, Type]) -> tuple[Program, Type, float]:
    program = Program(text, VARIABLES)
    return program, *Checker(text, types).check(program.tree)


def _too_dear(name: str, cost: float, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength "
        "where arrays, maps, and strings are declared)"
    )


# Types of schemas.


def declare(schema: Json, *, is_resource: bool) -> Type:
    """Return the type that rules see a value of `schema` in."""
    if schema.get("x-kubernetes-int-or-string"):
        return Type("dyn", _text_size(schema))
    if is_resource or schema.get("x-kubernetes-embedded-resource"):
        schema = _with_metadata(schema)
    match schema.get("type"):
        case "object":
            return _object(schema)
        case "array":
            items = schema.get("items") or {}
            size = schema.get("maxItems")
            size = (_REQUEST_BYTES - 2) // (_smallest(items) + 1) if size is None else size
            return Type("list", max(size, 0), declare(items, is_resource=False))
        case "string":
            return Type(_TIMES.get(schema.get("format") or "", "string"), _text_size(schema))
        case "boolean":
            return BOOL
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case _:
            return DYN


def _object(schema: Json) -> Type:
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        size = schema.get("maxProperties")
        size = (_REQUEST_BYTES - 2) // (_smallest(additional) + 6) if size is None else size
        return Type("map", max(size, 0), declare(additional, is_resource=False))
    known: dict[str, Type] = {}

    def fields() -> dict[str, Type]:
        if not known:
            properties = schema.get("properties") or {}
            # Fields without a type are not known to rules.
            known.update(
                {
                    name: declare(below, is_resource=False)
                    for name, below in properties.items()
                    if below.get("type") or below.get("x-kubernetes-int-or-string")
                }
            )
        return known

    return Type("object", fields=fields)


_METADATA: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253},
        "generateName": {"type": "string", "maxLength": 252},
    },
}


def _with_metadata(schema: Json) -> Json:
    text = {"type": "string"}
    more = {"apiVersion": text, "kind": text, "metadata": _METADATA}
    return schema | {"properties": (schema.get("properties") or {}) | more}


def _text_size(schema: Json) -> int:
    """Return the most bytes of a text."""
    if schema.get("format") in _TEXT_SIZES:
        return _TEXT_SIZES[schema["format"]]
    if schema.get("maxLength") is not None:
        return max(int(schema["maxLength"]), 0) * 4
    if schema.get("enum"):
        return max((len(one.encode()) for one in schema["enum"] if isinstance(one, str)), default=0)
    return _REQUEST_BYTES - 2


def _smallest(schema: Json) -> int:
    """Return the fewest bytes that a value takes in a request."""
    match schema.get("type"):
        case "object":
            properties = schema.get("properties") or {}
            needed = [name for name in schema.get("required") or () if name in properties]
            return 2 + sum(
                len(name) + _smallest(properties[name]) + 4
                for name in needed
                if properties[name].get("default") is None
            )
        case "array" | "string":
            return 2
        case "boolean":
            return 4
        case _:
            return 1


def _occurrences(above: tuple[Json, ...], schema: Json) -> float:
    """Return how often `schema` may occur in one object, `above` being the lists and maps that it is an item of."""
    times = 1.0
    for one in above:
        bound = one.get("maxItems") if one.get("type") == "array" else one.get("maxProperties")
        if bound is None:
            return _REQUEST_BYTES / (_smallest(schema) + 1)
        times *= max(bound, 0)
    return times
