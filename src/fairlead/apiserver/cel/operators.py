"""The operators of CEL on the types that have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from fairlead.apiserver.cel.values import (
    Budget,
    CelError,
    Duration,
    KeyedList,
    Unsigned,
    checked_int,
    checked_uint,
    compare,
    equal,
    no_overload,
    weight,
)


def _add(budget: Budget, left: Any, right: Any) -> Any:
    kind = type(left)
    if isinstance(left, list) and isinstance(right, list):
        budget.spend(len(left) + len(right))
        return left.merged(right) if isinstance(left, KeyedList) else [*left, *right]
    if kind is type(right):
        if kind is int:
            return checked_int(left + right)
        if kind is Unsigned:
            return checked_uint(int(left) + int(right))
        if kind in (str, bytes):
            budget.spend(weight(left) + weight(right))
            return left + right
        if kind is float:
            return left + right
        if kind is Duration:
            return Duration(checked_int(left.nanoseconds + right.nanoseconds))
    if kind is datetime and type(right) is Duration:
        return _shift(left, right.nanoseconds)
    if kind is Duration and type(right) is datetime:
        return _shift(right, left.nanoseconds)
    raise no_overload()


def _shift(at: datetime, nanoseconds: int) -> datetime:
    try:
        return at + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        raise CelError("return error for overflow: timestamp overflow") from None


def _subtract(budget: Budget, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return checked_int(left - right)
        if kind is Unsigned:
            return checked_uint(int(left) - int(right))
        if kind is float:
            return left - right
        if kind is Duration:
            return Duration(checked_int(left.nanoseconds - right.nanoseconds))
        if kind is datetime:
            return Duration((left - right) // timedelta(microseconds=1) * 1000)
    if kind is datetime and type(right) is Duration:
        return _shift(left, -right.nanoseconds)
    raise no_overload()


def _multiply(budget: Budget, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return checked_int(left * right)
        if kind is Unsigned:
            return checked_uint(int(left) * int(right))
        if kind is float:
            return left * right
    raise no_overload()


def _divide(budget: Budget, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right):
        raise no_overload()
    if kind is float:
        if right:
            return left / right
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    if kind is not int and kind is not Unsigned:
        raise no_overload()
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return (
        checked_uint(quotient)
        if kind is Unsigned
        else checked_int(quotient if (left < 0) is (right < 0) else -quotient)
    )


def _remainder(budget: Budget, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in (int, Unsigned):
        raise no_overload()
    if right == 0:
        raise CelError("modulus by zero")
    rest = abs(left) % abs(right)
    return Unsigned(rest) if kind is Unsigned else (-rest if left < 0 else rest)


def _negate(budget: Budget, value: Any) -> Any:
    if type(value) is int:
        return checked_int(-value)
    if type(value) is float:
        return -value
    raise no_overload()


def _not(budget: Budget, value: Any) -> bool:
    if type(value) is not bool:
        raise no_overload()
    return not value


def _in(budget: Budget, item: Any, container: Any) -> bool:
    if isinstance(container, list):
        budget.spend(len(container))
        return any(equal(item, one) for one in container)
    if type(container) is dict:
        return type(item) in (str, int, bool) and item in container
    raise no_overload()


def _same(budget: Budget, left: Any, right: Any) -> bool:
    budget.spend(min(weight(left), weight(right)))
    return equal(left, right)


OPERATORS: dict[str, Callable[..., Any]] = {
    "_+_": _add,
    "_-_": _subtract,
    "_*_": _multiply,
    "_/_": _divide,
    "_%_": _remainder,
    "-_": _negate,
    "!_": _not,
    "@in": _in,
    "_==_": _same,
    "_!=_": lambda budget, left, right: not _same(budget, left, right),
    "_<_": lambda budget, left, right: compare(left, right) < 0,
    "_<=_": lambda budget, left, right: compare(left, right) <= 0,
    "_>_": lambda budget, left, right: compare(left, right) > 0,
    "_>=_": lambda budget, left, right: compare(left, right) >= 0,
}
"""Operator → function of the budget and the operands."""
