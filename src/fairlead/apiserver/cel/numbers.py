"""The math library of CEL's extensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from fairlead.apiserver.cel.values import Budget, CelError, Unsigned, checked_int, no_overload


def _float(function: Callable[[float], Any], budget: Budget, value: Any) -> Any:
    if type(value) is not float:
        raise no_overload()
    return function(value)


def _finite(function: Callable[[float], float], value: float) -> float:
    return function(value) if math.isfinite(value) else value


def _round(value: float) -> float:
    return float(math.copysign(math.floor(abs(value) + 0.5), value))


def _abs(budget: Budget, value: Any) -> Any:
    if type(value) not in (int, float, Unsigned):
        raise no_overload()
    return checked_int(abs(value)) if type(value) is int else type(value)(abs(value))


def _sign(budget: Budget, value: Any) -> Any:
    if type(value) not in (int, float, Unsigned):
        raise no_overload()
    return type(value)((value > 0) - (value < 0)) if value == value else value


def _sqrt(budget: Budget, value: Any) -> float:
    if type(value) not in (int, float, Unsigned):
        raise no_overload()
    return math.sqrt(value) if value >= 0 else math.nan


def _bits(function: Callable[[int, int], int], budget: Budget, left: Any, right: Any) -> Any:
    if type(left) is not type(right) or type(left) not in (int, Unsigned):
        raise no_overload()
    return type(left)(function(int(left), int(right)))


def _not(budget: Budget, value: Any) -> Any:
    if type(value) is Unsigned:
        return Unsigned(int(value) ^ (2**64 - 1))
    if type(value) is int:
        return ~value
    raise no_overload()


def _shift(left_wards: bool, budget: Budget, value: Any, by: Any) -> Any:
    if type(value) not in (int, Unsigned) or type(by) is not int:
        raise no_overload()
    if by < 0:
        raise CelError(f"math.bitShift{'Left' if left_wards else 'Right'}() negative offset: {by}")
    if by > 63:
        return type(value)(0)
    raw = int(value) % 2**64
    raw = (raw << by) % 2**64 if left_wards else raw >> by
    return Unsigned(raw) if type(value) is Unsigned else raw - 2**64 if raw >= 2**63 else raw


NAMESPACED: dict[str, Callable[..., Any]] = {
    "math.ceil": partial(_float, partial(_finite, lambda value: float(math.ceil(value)))),
    "math.floor": partial(_float, partial(_finite, lambda value: float(math.floor(value)))),
    "math.round": partial(_float, partial(_finite, _round)),
    "math.trunc": partial(_float, partial(_finite, lambda value: float(math.trunc(value)))),
    "math.isNaN": partial(_float, math.isnan),
    "math.isInf": partial(_float, math.isinf),
    "math.isFinite": partial(_float, math.isfinite),
    "math.abs": _abs,
    "math.sign": _sign,
    "math.sqrt": _sqrt,
    "math.bitAnd": partial(_bits, lambda left, right: left & right),
    "math.bitOr": partial(_bits, lambda left, right: left | right),
    "math.bitXor": partial(_bits, lambda left, right: left ^ right),
    "math.bitNot": _not,
    "math.bitShiftLeft": partial(_shift, True),
    "math.bitShiftRight": partial(_shift, False),
}
"""Functions with a qualified name."""
