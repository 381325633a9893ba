"""What an expression gives and may cost at most, by the types of its variables: found when a rule is written, not when it meets an object.

Lenient where types are not declared (`dyn`): what this refuses is wrong for certain. Costs follow the reference implementation's units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.cel import texts, times
from fairlead.apiserver.cel.parser import located
from fairlead.apiserver.cel.program import CompileError, qualified_type, unescaped
from fairlead.apiserver.cel.syntax import (
    Bind,
    Call,
    Comprehension,
    Expr,
    Index,
    ListLiteral,
    Literal,
    MapLiteral,
    Name,
    Select,
)
from fairlead.apiserver.cel.values import CelError, type_name


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """The type of an expression: its `kind` is a CEL type's name, "object" for declared fields, or "dyn".

    `size` is the largest length of a text, list or map; `fields` gives the fields of an object by name.
    """

    kind: str
    size: int = 0
    element: Type | None = None
    fields: Callable[[], Mapping[str, Type]] | None = None

    def __str__(self) -> str:
        if self.kind == "null_type":
            return "null"
        if self.kind in ("list", "optional_type") and self.element is not None:
            return f"{self.kind}({self.element})"
        return f"map(string, {self.element})" if self.kind == "map" and self.element is not None else self.kind


DYN = Type("dyn")
BOOL, INT, DOUBLE = Type("bool"), Type("int"), Type("double")
_KEY = Type("string", 253)

_NUMBERS = frozenset({"int", "uint", "double"})
_COMPARED = _NUMBERS | {"string", "bytes", "bool", "null_type", "list", "map", "object"}
_RESULTS = {
    **dict.fromkeys(
        "matches contains startsWith endsWith hasValue isSorted isURL isIP isCIDR isQuantity isSemver ip.isCanonical isLoopback "
        "isUnspecified isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast containsIP containsCIDR isGreaterThan isLessThan "
        "isInteger sets.contains sets.intersects sets.equivalent bool math.isNaN math.isInf math.isFinite".split(),
        "bool",
    ),
    **dict.fromkeys(
        "size int asInteger family prefixLength compareTo sign major minor patch getFullYear getMonth getDate getDayOfMonth "
        "getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds".split(),
        "int",
    ),
    **dict.fromkeys("double asApproximateFloat math.ceil math.floor math.round math.trunc math.sqrt".split(), "double"),
    **dict.fromkeys(
        "string join format lowerAscii upperAscii trim replace substring charAt find getScheme getHost getHostname getPort "
        "getEscapedPath strings.quote base64.encode".split(),
        "string",
    ),
    "uint": "uint",
    "bytes": "bytes",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
    "type": "type",
}


_OF_TEXTS = frozenset(
    """url isURL ip isIP cidr isCIDR quantity isQuantity semver isSemver validate find findAll lowerAscii upperAscii trim replace
    split substring join quote encode decode isCanonical format bytes string""".split()
)
_OF_LISTS = frozenset("isSorted sum min max indexOf lastIndexOf distinct flatten sort slice reverse range".split())
"""Functions whose cost grows with texts, and with lists; all others cost one unit."""


_CONSTANT_CHECKS: dict[str, Callable[[str], object]] = {
    "duration": times.duration,
    "timestamp": times.timestamp,
    "matches": texts.pattern,
}


class Checker:
    """Checks one expression; `cost` is the most that it may take."""

    def __init__(self, text: str, variables: Mapping[str, Type]) -> None:
        self._text = text
        self._variables = dict(variables)

    def check(self, expr: Expr) -> tuple[Type, float]:
        """Return the type of `expr` and its largest cost; raises CompileError."""
        match expr:
            case Literal():
                return self._literal(expr.value), 0
            case Name():
                return self._variables.get(expr.name, Type("type")), 1
            case Select():
                return self._select(expr)
            case Index():
                return self._index(expr)
            case Call():
                return self._call(expr)
            case ListLiteral():
                found = [self.check(item) for item in expr.items]
                return Type("list", len(found), _common([one for one, _ in found])), 10 + sum(cost for _, cost in found)
            case MapLiteral():
                cost = sum(self.check(part)[1] for entry in expr.entries for part in entry)
                return Type("map", len(expr.entries), DYN), 30 + cost
            case Comprehension():
                return self._comprehension(expr)
            case Bind():
                return self._bind(expr)

    def _fail(self, expr: Expr, problem: str) -> CompileError:
        return CompileError(located(self._text, expr.at, problem))

    @staticmethod
    def _literal(value: Any) -> Type:
        return Type(type_name(value), len(value) if isinstance(value, str | bytes) else 0)

    def _select(self, expr: Select) -> tuple[Type, float]:
        named = qualified_type(expr)
        if named is not None and named.partition(".")[0] not in self._variables:
            return Type("type"), 0
        operand, cost = self.check(expr.operand)
        optional = expr.optional
        if operand.kind == "optional_type":
            operand, optional = operand.element or DYN, True
        found = self._field(expr, operand)
        if expr.test:
            found = BOOL
        elif optional:
            found = Type("optional_type", element=found)
        return found, cost + 1

    def _field(self, expr: Select, operand: Type) -> Type:
        if operand.fields is not None:
            fields = operand.fields()
            found = fields.get(expr.field) or fields.get(unescaped(expr.field))
            if found is None:
                raise self._fail(expr, f"undefined field '{expr.field}'")
            return found
        if operand.kind == "map":
            return operand.element or DYN
        if operand.kind not in ("dyn", "object"):
            raise self._fail(expr, f"type '{operand}' does not support field selection")
        return DYN

    def _index(self, expr: Index) -> tuple[Type, float]:
        operand, cost = self.check(expr.operand)
        key, key_cost = self.check(expr.key)
        optional = expr.optional
        if operand.kind == "optional_type":
            operand, optional = operand.element or DYN, True
        if operand.kind not in ("list", "map", "dyn"):
            raise self._fail(expr, f"found no matching overload for '_[_]' applied to '({operand}, {key})'")
        found = operand.element or DYN
        return Type("optional_type", element=found) if optional else found, cost + key_cost + 1

    def _call(self, expr: Call) -> tuple[Type, float]:
        parts = expr.args if expr.target is None or self._is_namespace(expr) else (expr.target, *expr.args)
        checked = [self.check(part) for part in parts]
        types, cost = [one for one, _ in checked], sum(each for _, each in checked)
        match expr.name:
            case "_&&_" | "_||_" | "!_":
                self._needs(expr, types, {"bool"})
                return BOOL, cost + 1
            case "_?_:_":
                self._needs(expr, types[:1], {"bool"})
                return _common(types[1:]), checked[0][1] + max(checked[1][1], checked[2][1]) + 1
            case "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_":
                self._compared(expr, types)
                return BOOL, cost + 1 + 0.1 * min(one.size for one in types)
            case "@in":
                return BOOL, cost + 1 + (types[1].size if types[1].kind == "list" else 0)
            case "_+_" | "_-_" | "_*_" | "_/_" | "_%_":
                return self._arithmetic(expr, types, cost)
        self._constants(expr)
        return self._result(expr, types), cost + self._price(expr.name, types)

    def _constants(self, expr: Call) -> None:
        """Refuse arguments that are written out and can never be right."""
        text = expr.args[-1 if expr.name == "matches" else 0] if expr.args else None
        check = _CONSTANT_CHECKS.get(expr.name)
        if check is None or not isinstance(text, Literal) or not isinstance(text.value, str):
            return
        try:
            check(text.value)
        except (CelError, ValueError):
            raise self._fail(text, f"invalid {expr.name}{'' if expr.name == 'timestamp' else ' argument'}") from None

    def _is_namespace(self, expr: Call) -> bool:
        return isinstance(expr.target, Name) and expr.target.name not in self._variables

    def _needs(self, expr: Call, types: list[Type], kinds: set[str]) -> None:
        if any(one.kind not in kinds | {"dyn"} for one in types):
            listed = ", ".join(map(str, types))
            raise self._fail(expr, f"found no matching overload for '{expr.name}' applied to '({listed})'")

    def _compared(self, expr: Call, types: list[Type]) -> None:
        left, right = (one.kind for one in types)
        if left == right or not {left, right} <= _COMPARED or {left, right} <= _NUMBERS:
            return
        if expr.name in ("_==_", "_!=_") and {left, right} in ({"map", "object"}, {"null_type", "object"}):
            return
        raise self._fail(expr, f"found no matching overload for '{expr.name}' applied to '({types[0]}, {types[1]})'")

    def _arithmetic(self, expr: Call, types: list[Type], cost: float) -> tuple[Type, float]:
        left, right = types
        plain = _NUMBERS | {"string", "bytes", "bool", "null_type"}
        if (
            left.kind in plain
            and right.kind in plain
            and (left.kind != right.kind or left.kind in ("bool", "null_type"))
        ):
            raise self._fail(expr, f"found no matching overload for '{expr.name}' applied to '({left}, {right})'")
        if left.kind in ("string", "bytes", "list"):
            size = left.size + right.size
            return Type(left.kind, size, left.element), cost + 1 + (0.1 * size if left.kind != "list" else 1)
        return (left if left.kind == right.kind else DYN), cost + 1

    def _result(self, expr: Call, types: list[Type]) -> Type:
        name = expr.name
        if expr.target is not None and self._is_namespace(expr) and isinstance(expr.target, Name):
            name = f"{expr.target.name}.{name}"
        first = types[0] if types else DYN
        match name:
            case "value":
                return first.element or DYN
            case "orValue":
                return types[1] if len(types) > 1 and types[1].kind != "dyn" else (first.element or DYN)
            case "filter" | "distinct" | "sort" | "reverse" | "slice" | "or":
                return first
            case "split" | "findAll":
                return Type("list", first.size, Type("string", first.size))
            case "-_":
                return first
        kind = _RESULTS.get(name)
        size = max((one.size for one in types), default=0) if kind == "string" else 0
        return Type(kind, size) if kind is not None else DYN

    @staticmethod
    def _price(name: str, types: list[Type]) -> float:
        first = types[0].size if types else 0
        match name:
            case "matches" if len(types) > 1:
                return 0.1 * (first + 1) * 0.25 * max(types[1].size, 4)
            case "contains" if len(types) > 1:
                return 0.1 * first * max(0.1 * types[1].size, 1) + 1
            case "startsWith" | "endsWith" if len(types) > 1:
                return 0.1 * types[1].size + 1
        if name in _OF_TEXTS:
            return 1 + 0.1 * sum(one.size for one in types)
        return 1 + (first if name in _OF_LISTS else 0)

    def _comprehension(self, expr: Comprehension) -> tuple[Type, float]:
        source, cost = self.check(expr.source)
        if source.kind not in ("list", "map", "dyn"):
            text = f"expression of type '{source}' cannot be range of a comprehension (must be list, map, or dynamic)"
            raise self._fail(expr.source, text)
        key = {"map": _KEY, "list": INT}.get(source.kind, DYN)
        item = source.element or DYN
        shadowed = dict(self._variables)
        if expr.second is None:
            self._variables[expr.first] = _KEY if source.kind == "map" else item
        else:
            self._variables |= {expr.first: key, expr.second: item}
        body, body_cost = self.check(expr.body)
        condition_cost = self.check(expr.condition)[1] if expr.condition is not None else 0
        first = self._variables[expr.first]
        self._variables = shadowed
        if expr.kind in ("all", "exists", "existsOne", "filter") and body.kind not in ("bool", "dyn"):
            raise self._fail(expr.body, f"expected type 'bool' but found '{body}'")
        total = cost + source.size * (body_cost + condition_cost + 3) + 1
        match expr.kind:
            case "all" | "exists" | "existsOne":
                return BOOL, total
            case "filter" | "sortBy":
                return Type("list", source.size, first), total
            case "map" | "transformList":
                return Type("list", source.size, body), total
            case _:
                return Type("map", source.size, body if expr.kind == "transformMap" else DYN), total

    def _bind(self, expr: Bind) -> tuple[Type, float]:
        value, cost = self.check(expr.value)
        shadowed = dict(self._variables)
        self._variables[expr.name] = value if expr.kind == "bind" else (value.element or DYN)
        body, body_cost = self.check(expr.body)
        self._variables = shadowed
        return Type("optional_type", element=body) if expr.kind == "optMap" else body, cost + body_cost + 1


def _common(types: list[Type]) -> Type:
    if not types or len({one.kind for one in types}) > 1:
        return DYN
    return max(types, key=lambda one: one.size)
