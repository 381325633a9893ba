"""The functions of CEL: conversions, the standard library, lists and optionals; with those of `texts`, `numbers` and `kubernetes`.

Each takes the budget first. A wrong number or type of arguments shows as TypeError or CelError("no such overload").
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cmp_to_key, partial
from itertools import pairwise
from typing import Any

from fairlead.apiserver.cel import authorizer, kubernetes, numbers, texts, times
from fairlead.apiserver.cel.operators import OPERATORS
from fairlead.apiserver.cel.values import (
    NONE,
    Budget,
    CelError,
    CelType,
    Duration,
    Optional,
    Unsigned,
    checked_int,
    checked_uint,
    compare,
    equal,
    no_overload,
    type_name,
)

TYPE_NAMES = frozenset("bool int uint double string bytes list map null_type type".split())


# Conversions.


_MOST_DIGITS = 100


def _int(budget: Budget, value: Any) -> int:
    match value:
        case bool():
            raise no_overload()
        case int():
            return checked_int(int(value))
        case float():
            if not -(2.0**63) < value < 2.0**63:
                raise CelError("return error for overflow: integer overflow")
            return int(value)
        case str():
            try:
                return (
                    checked_int(int(value)) if value.strip() == value and "_" not in value else _unparsed("int", value)
                )
            except ValueError:
                _unparsed("int", value)
        case datetime():
            return int(value.timestamp() // 1)
        case Duration():
            return value.nanoseconds
    raise no_overload()


def _unparsed(kind: str, value: str) -> Any:
    raise CelError(f'strconv.Parse{kind.title()}: parsing "{value}": invalid syntax')


def _uint(budget: Budget, value: Any) -> Unsigned:
    match value:
        case bool():
            raise no_overload()
        case int():
            return checked_uint(int(value))
        case float():
            if not 0 <= value < 2.0**64:
                raise CelError("return error for overflow: unsigned integer overflow")
            return Unsigned(int(value))
        case str():
            if value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
                return checked_uint(int(value))
            _unparsed("uint", value)
    raise no_overload()


def _double(budget: Budget, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise no_overload()
    try:
        return float(value) if not isinstance(value, str) or "_" not in value else _unparsed("float", value)
    except ValueError:
        return float(_unparsed("float", str(value)))


def _string(budget: Budget, value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return texts.number(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
        case datetime():
            return times.timestamp_text(value)
        case Duration():
            return times.duration_text(value)
    return kubernetes.text(value)


def _bool(budget: Budget, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        if value in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        _unparsed("bool", value)
    raise no_overload()


def _bytes(budget: Budget, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise no_overload()


def _timestamp(budget: Budget, value: Any) -> datetime:
    match value:
        case str():
            return times.timestamp(value)
        case datetime():
            return value
        case int() if not isinstance(value, bool):
            try:
                return datetime.fromtimestamp(value, UTC)
            except (ValueError, OverflowError, OSError):
                raise CelError("return error for overflow: timestamp overflow") from None
    raise no_overload()


def _duration(budget: Budget, value: Any) -> Duration:
    match value:
        case str():
            return times.duration(value)
        case Duration():
            return value
    raise no_overload()


def _size(budget: Budget, value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    raise no_overload()


# Lists.


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise no_overload()
    return value


def _is_sorted(budget: Budget, value: Any) -> bool:
    items = _list(value)
    return all(compare(left, right) <= 0 for left, right in pairwise(items))


def _sum(budget: Budget, value: Any) -> Any:
    items = _list(value)
    total: Any = 0
    for position, item in enumerate(items):
        if type(item) not in (int, float, Unsigned, Duration):
            raise no_overload()
        total = OPERATORS["_+_"](budget, total, item) if position else item
    return total


def _extreme(sign: int, word: str, budget: Budget, *values: Any) -> Any:
    items = _list(values[0]) if len(values) == 1 else list(values)
    if not items:
        raise CelError(f"{word} called on empty list")
    best = items[0]
    for item in items[1:]:
        if compare(item, best) * sign > 0:
            best = item
    return best


def _index_of(budget: Budget, value: Any, item: Any, start: int = 0) -> int:
    if isinstance(value, str):
        return texts.index_of(budget, value, item, start)
    return next((position for position, one in enumerate(_list(value)) if equal(one, item)), -1)


def _last_index_of(budget: Budget, value: Any, item: Any, end: int | None = None) -> int:
    if isinstance(value, str):
        return texts.last_index_of(budget, value, item, end)
    items = _list(value)
    return next((position for position in range(len(items) - 1, -1, -1) if equal(items[position], item)), -1)


def _reverse(budget: Budget, value: Any) -> Any:
    if isinstance(value, str | list):
        return value[::-1]
    raise no_overload()


def _slice(budget: Budget, value: Any, start: int, end: int) -> list[Any]:
    items = _list(value)
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _distinct(budget: Budget, value: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list(value):
        budget.spend(len(found))
        if not any(equal(item, one) for one in found):
            found.append(item)
    return found


def _flatten(budget: Budget, value: Any, depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    found: list[Any] = []
    for item in _list(value):
        if isinstance(item, list) and depth > 0:
            budget.spend(len(item))
            found += _flatten(budget, item, depth - 1)
        else:
            found.append(item)
    return found


def _sort(budget: Budget, value: Any) -> list[Any]:
    return sorted(_list(value), key=cmp_to_key(compare))


def _range(budget: Budget, count: int) -> list[int]:
    budget.spend(max(count, 0))
    return list(range(count))


def _first(budget: Budget, value: Any) -> Optional:
    items = _list(value)
    return Optional(items[0], True) if items else NONE


def _last(budget: Budget, value: Any) -> Optional:
    items = _list(value)
    return Optional(items[-1], True) if items else NONE


def _contains_all(budget: Budget, value: Any, wanted: Any) -> bool:
    items, others = _list(value), _list(wanted)
    budget.spend(len(items) * len(others))
    return all(any(equal(other, item) for item in items) for other in others)


def _intersects(budget: Budget, value: Any, wanted: Any) -> bool:
    items, others = _list(value), _list(wanted)
    budget.spend(len(items) * len(others))
    return any(any(equal(other, item) for item in items) for other in others)


def _equivalent(budget: Budget, value: Any, other: Any) -> bool:
    return _contains_all(budget, value, other) and _contains_all(budget, other, value)


# Optionals.


def _optional(value: Any) -> Optional:
    if type(value) is not Optional:
        raise no_overload()
    return value


def _value(budget: Budget, value: Any) -> Any:
    optional = _optional(value)
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def _or(budget: Budget, value: Any, other: Any) -> Optional:
    return value if _optional(value).present else _optional(other)


def _or_value(budget: Budget, value: Any, other: Any) -> Any:
    optional = _optional(value)
    return optional.value if optional.present else other


_FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)


def _of_non_zero(budget: Budget, value: Any) -> Optional:
    return NONE if value in (None, False, 0, 0.0, "", b"", [], {}, Duration(0), _FIRST_TIME) else Optional(value, True)


def _dyn(budget: Budget, value: Any) -> Any:
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": _int,
    "uint": _uint,
    "double": _double,
    "string": _string,
    "bool": _bool,
    "bytes": _bytes,
    "timestamp": _timestamp,
    "duration": _duration,
    "dyn": _dyn,
    "type": lambda budget, value: CelType(type_name(value)),
    "size": _size,
    "matches": texts.matches,
    **kubernetes.FUNCTIONS,
}
"""Global functions."""

METHODS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "hasValue": lambda budget, value: _optional(value).present,
    "value": _value,
    "or": _or,
    "orValue": _or_value,
    "isSorted": _is_sorted,
    "sum": _sum,
    "min": partial(_extreme, -1, "min"),
    "max": partial(_extreme, 1, "max"),
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "reverse": _reverse,
    "slice": _slice,
    "distinct": _distinct,
    "flatten": _flatten,
    "sort": _sort,
    "first": _first,
    "last": _last,
    **{
        name: partial(lambda name, budget, *args: times.field(name, *args), name)
        for name in (
            "getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds"
        ).split()
    },
    **texts.METHODS,
    **kubernetes.METHODS,
    **authorizer.METHODS,
}
"""Functions called on a value."""

NAMESPACED: dict[str, Callable[..., Any]] = {
    "optional.of": lambda budget, value: Optional(value, True),
    "optional.ofNonZeroValue": _of_non_zero,
    "optional.none": lambda budget: NONE,
    "lists.range": _range,
    "sets.contains": _contains_all,
    "sets.intersects": _intersects,
    "sets.equivalent": _equivalent,
    "math.least": partial(_extreme, -1, "math.least()"),
    "math.greatest": partial(_extreme, 1, "math.greatest()"),
    **numbers.NAMESPACED,
    **texts.NAMESPACED,
    **kubernetes.NAMESPACED,
}
"""Functions with a qualified name."""
