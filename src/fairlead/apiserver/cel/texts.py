"""Functions on texts: the standard library, the strings and encoders extensions, Kubernetes' regular expressions.

Regular expressions are RE2's, as the API server's: their time grows linearly with the text.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import re2

from fairlead.apiserver.cel import times
from fairlead.apiserver.cel.values import Budget, CelError, Duration, no_overload, type_name

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@lru_cache(maxsize=256)
def pattern(text: str) -> Any:
    """Return the compiled regular expression; raises ValueError in RE2's words."""
    try:
        return re2.compile(text, _OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None


def _text(value: Any) -> str:
    if type(value) is not str:
        raise no_overload()
    return value


def matches(budget: Budget, value: Any, expression: Any) -> bool:
    """Return whether `expression` is found in `value`; costs both lengths."""
    return _compiled(budget, value, expression).search(value) is not None


def _compiled(budget: Budget, value: Any, expression: Any) -> Any:
    budget.spend((len(_text(value)) // 10 + 1) * (len(_text(expression)) // 4 + 1))
    try:
        return pattern(expression)
    except ValueError as error:
        raise CelError(f"error parsing regexp: {error}") from None


def _find(budget: Budget, value: Any, expression: Any) -> str:
    found = _compiled(budget, value, expression).search(value)
    return found.group() if found is not None else ""


def _find_all(budget: Budget, value: Any, expression: Any, limit: Any = -1) -> list[str]:
    if type(limit) is not int:
        raise no_overload()
    found: list[str] = []
    for match in _compiled(budget, value, expression).finditer(value):
        if 0 <= limit <= len(found):
            break
        found.append(match.group())
    return found


def index_of(budget: Budget, value: str, item: Any, start: int) -> int:
    """Return where `item` begins in `value`, from `start` on; -1 when nowhere."""
    if start > len(value) or start < 0:
        raise CelError(f"index out of range: {start}")
    return value.find(_text(item), start)


def last_index_of(budget: Budget, value: str, item: Any, end: int | None) -> int:
    """Return where `item` last begins in `value`, not after `end`; -1 when nowhere."""
    if end is not None and not 0 <= end <= len(value):
        raise CelError(f"index out of range: {end}")
    return value.rfind(_text(item)) if end is None else value.rfind(item, 0, end + len(item))


def _substring(budget: Budget, value: Any, start: int, end: int | None = None) -> str:
    text = _text(value)
    end = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise CelError(f"index out of range: {start}")
    if end < start:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    if end > len(text):
        raise CelError(f"index out of range: {end}")
    return text[start:end]


def _char_at(budget: Budget, value: Any, position: int) -> str:
    text = _text(value)
    if not 0 <= position <= len(text):
        raise CelError(f"index out of range: {position}")
    return text[position : position + 1]


def _replace(budget: Budget, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, gone, put = _text(value), _text(old), _text(new)
    budget.spend((len(text) + text.count(gone) * len(put)) // 10)
    return text.replace(gone, put, count)


def _split(budget: Budget, value: Any, by: Any, count: int = -1) -> list[str]:
    text = _text(value)
    if count == 0:
        return []
    if not _text(by):
        parts = list(text)
        return parts if count < 0 or len(parts) <= count else [*parts[: count - 1], "".join(parts[count - 1 :])]
    return text.split(by) if count < 0 else text.split(by, count - 1)


def _join(budget: Budget, value: Any, by: Any = "") -> str:
    if not isinstance(value, list):
        raise no_overload()
    between = _text(by)
    budget.spend((sum(len(_text(item)) for item in value) + len(between) * len(value)) // 10)
    return between.join(value)


def _lower(budget: Budget, value: Any) -> str:
    return "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in _text(value))


def _upper(budget: Budget, value: Any) -> str:
    return "".join(chr(ord(one) - 32) if "a" <= one <= "z" else one for one in _text(value))


_QUOTED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def _quote(budget: Budget, value: Any) -> str:
    return '"' + "".join(_QUOTED.get(one, one) for one in _text(value)) + '"'


def number(value: float) -> str:
    """Return a double as string() writes it."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    return text.removesuffix(".0")


def _format(budget: Budget, value: Any, args: Any) -> str:
    """Fill in a template: %s %d %f %e %x %X %o %b with an optional precision, %% for a percent sign."""
    template, found, position, used = _text(value), "", 0, 0
    if not isinstance(args, list):
        raise no_overload()
    while position < len(template):
        one = template[position]
        position += 1
        if one != "%":
            found += one
            continue
        end = position
        while end < len(template) and template[end] in ".0123456789":
            end += 1
        if end == len(template):
            raise CelError("unexpected end of string")
        precision, verb, position = template[position:end], template[end], end + 1
        if verb == "%":
            found += "%"
            continue
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        budget.spend(_extent(args[used]) // 10 + len(found) // 10)
        found += _formatted(verb, precision, args[used])
        used += 1
    return found


def _extent(value: Any) -> int:
    """Return about how many characters a value takes when it is shown."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(_extent(key) + _extent(item) for key, item in value.items())
    return sum(map(_extent, value)) + 2 if isinstance(value, list) else 10


def _formatted(verb: str, precision: str, value: Any) -> str:
    digits = precision[1:] if precision[:1] == "." else ""
    if len(digits) > 3:
        raise CelError("could not parse formatting clause: precision too large")
    if verb == "s":
        return shown(value)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if verb == "d" and is_int:
        return str(int(value))
    if verb in "fe" and (is_int or isinstance(value, float)):
        return f"{float(value):.{digits or 6}{verb}}"
    if verb in "xXob" and isinstance(value, int):
        return format(int(value), verb)
    if verb in "xX" and isinstance(value, str | bytes):
        text = (value.encode() if isinstance(value, str) else value).hex()
        return text.upper() if verb == "X" else text
    raise CelError(f"error during formatting: no formatting function for %{verb} of {type_name(value)}")


def shown(value: Any) -> str:
    """Return how %s writes a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(int(value))
        case float():
            return number(value)
        case bytes():
            return value.decode(errors="replace")
        case list():
            return "[" + ", ".join(map(shown, value)) + "]"
        case dict():
            return (
                "{"
                + ", ".join(
                    f"{shown(key)}: {shown(item)}"
                    for key, item in sorted(value.items(), key=lambda entry: shown(entry[0]))
                )
                + "}"
            )
        case datetime():
            return times.timestamp_text(value)
        case Duration():
            return times.duration_text(value)
        case _:
            return type_name(value)


def _encode(budget: Budget, value: Any) -> str:
    if type(value) is not bytes:
        raise no_overload()
    return base64.b64encode(value).decode()


def _decode(budget: Budget, value: Any) -> bytes:
    try:
        text = _text(value)
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise CelError("illegal base64 data") from None


METHODS: dict[str, Callable[..., Any]] = {
    "matches": matches,
    "contains": lambda budget, value, item: _text(item) in _text(value),
    "startsWith": lambda budget, value, item: _text(value).startswith(_text(item)),
    "endsWith": lambda budget, value, item: _text(value).endswith(_text(item)),
    "find": _find,
    "findAll": _find_all,
    "substring": _substring,
    "charAt": _char_at,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "lowerAscii": _lower,
    "upperAscii": _upper,
    "trim": lambda budget, value: _text(value).strip(),
    "format": _format,
}
"""Functions called on a value."""

NAMESPACED: dict[str, Callable[..., Any]] = {
    "strings.quote": _quote,
    "base64.encode": _encode,
    "base64.decode": _decode,
}
"""Functions with a qualified name."""
