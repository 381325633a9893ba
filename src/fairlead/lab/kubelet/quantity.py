"""resource.Quantity: amounts of CPU and memory as exact numbers.

Source: k8s.io/apimachinery resource.Quantity (suffixes m, k, M, G…, Ki, Mi…, and exponents).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_SCALES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}


def parse(text: str | int | float) -> Fraction:
    """Return the exact amount; raises ValueError for what is no quantity."""
    match = _FORM.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    number, exponent, suffix = match.groups()
    if exponent:
        return Fraction(number) * Fraction(10) ** int(exponent[1:])
    return Fraction(number) * _SCALES[suffix or ""]


def divided(amount: str | int | float, divisor: str | int | float) -> int:
    """Return `amount` in units of `divisor`, rounded up, as the downward API gives it."""
    return math.ceil(parse(amount) / (parse(divisor) or 1))
