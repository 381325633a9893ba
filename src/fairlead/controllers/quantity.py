"""Amounts of resources as whole numbers: what a scheduler adds up. Source: apimachinery resource.Quantity."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_FORM = re.compile(r"([+-]?\d*\.?\d+|[+-]?\d+\.)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,2})?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


@lru_cache(maxsize=1024)
def milli(text: str | int | float) -> int:
    """Return thousandths, rounded up; raises ValueError for what is no quantity."""
    return _ceil(_value(str(text)) * 1000)


@lru_cache(maxsize=1024)
def units(text: str | int | float) -> int:
    """Return units, rounded up; raises ValueError for what is no quantity."""
    return _ceil(_value(str(text)))


def amount(resource: str, text: str | int | float) -> int:
    """Return thousandths of `cpu` and units of any other resource."""
    return milli(text) if resource == "cpu" else units(text)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _value(text: str) -> Fraction:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix = Fraction(found.group(1)), found.group(2) or ""
    if suffix in _BINARY:
        return number * Fraction(1024 ** _BINARY[suffix])
    if suffix in _POWERS:
        return number * _power(_POWERS[suffix])
    return number * _power(int(suffix[1:])) if suffix else number


def _power(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)
