"""Amounts as the API writes them (`500m`, `1Gi`, `1e3`): parse, compare and bring into canonical form.

Source: apimachinery's `resource.Quantity`: the suffix chosen by the writer is kept in family (binary, decimal, exponent), the
number becomes the smallest integer form. Values are exact; results finer than nano are rounded up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

_FORM = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+|)$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_DECIMAL_NAME = {power: name for name, power in _DECIMAL.items()}
_BINARY_NAME = {power: name for name, power in _BINARY.items()} | {0: ""}
_LIMIT = 2**63 - 1

FORMAT_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
"""What the real server says of a text that is no quantity."""


class QuantityError(ValueError):
    """A text that is no quantity."""


def _parts(text: str) -> tuple[Fraction, str]:
    match = _FORM.match(text) if len(text) <= 64 else None
    if match is None:
        raise QuantityError(FORMAT_MESSAGE)
    sign, digits, suffix = match.groups()
    number = Fraction(digits if not digits.startswith(".") else f"0{digits}")
    if suffix in _BINARY:
        number *= 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        number *= Fraction(1000) ** _DECIMAL[suffix]
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > 64:
            raise QuantityError(FORMAT_MESSAGE)
        number *= Fraction(10) ** exponent
    if number * 10**9 % 1:
        number = Fraction(-(-number.numerator * 10**9 // number.denominator), 10**9)
    return (-number if sign == "-" else number), suffix


@lru_cache(maxsize=4096)
def parse(text: str | int | float) -> Fraction:
    """Return the exact value. Raises QuantityError."""
    return _parts(_text(text))[0]


def ceil(value: str | int | float, unit: str | int | float = 1) -> int:
    """Return `value` in units of `unit` (0 counts as 1), rounded up; raises QuantityError."""
    return math.ceil(parse(value) / (parse(unit) or 1))


@lru_cache(maxsize=4096)
def amount(resource: str, value: str | int | float) -> int:
    """Return thousandths of `cpu` and units of any other resource, rounded up: what a scheduler adds up."""
    return ceil(value, "1m" if resource == "cpu" else 1)


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else repr(value)


@lru_cache(maxsize=4096)
def canonical(value: str | int | float) -> str:
    """Return the form in which the real server gives `value` back: 0.5 is 500m, 1000m is 1, 1024Mi is 1Gi."""
    number, suffix = _parts(_text(value))
    if suffix in _BINARY and number.denominator == 1 and (abs(number) >= 1024 or not number):
        return _binary(int(number))
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(number)
    return _decimal(number)


def written_as(number: Fraction, like: Sequence[str]) -> str:
    """Return `number` in canonical form, in the family of suffixes of the first amount of `like` that is not zero."""
    suffix = next((suffix for value, suffix in map(_parts, like) if value), "")
    if suffix in _BINARY and number.denominator == 1 and (abs(number) >= 1024 or not number):
        return _binary(int(number))
    return _decimal(number)


def _binary(number: int) -> str:
    power = 0
    while number and number % 1024 == 0 and power < 6:
        number //= 1024
        power += 1
    return f"{number}{_BINARY_NAME[power]}"


def _decimal(number: Fraction) -> str:
    if not number:
        return "0"
    power = 6
    while power > -3 and (number / Fraction(1000) ** power).denominator != 1:
        power -= 1
    return f"{number / Fraction(1000) ** power}{_DECIMAL_NAME[power]}"


def _exponent(number: Fraction) -> str:
    power = 18
    while power > -9 and (number / Fraction(10) ** power).denominator != 1:
        power -= 3
    return f"{number / Fraction(10) ** power}" + (f"e{power}" if power else "")
