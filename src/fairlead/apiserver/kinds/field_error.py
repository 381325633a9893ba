"""One reason why an object is refused: the field, the type of error and its wording.

The wording of each type is the real server's (apimachinery, `field.Error`), because tools and people match it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec


class _Omitted:
    __slots__ = ()


OMITTED: Final = _Omitted()
"""The value of an error whose message shows none."""

_LABELS = {
    "Invalid": "Invalid value",
    "Required": "Required value",
    "Duplicate": "Duplicate value",
    "NotSupported": "Unsupported value",
    "Forbidden": "Forbidden",
    "TooLong": "Too long",
    "TooMany": "Too many",
    "NotFound": "Not found",
    "InternalError": "Internal error",
    "TypeInvalid": "Invalid value",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """Why `field` (a path such as `spec.ports[0].port`) is refused.

    `type` is one of Invalid, Required, Duplicate, NotSupported, Forbidden, TooLong, TooMany, NotFound, InternalError, TypeInvalid;
    `value` is what was found (shown for Invalid, Duplicate, NotSupported, NotFound); `detail` explains.
    """

    field: str
    type: str
    value: Any = OMITTED
    detail: str = ""

    @property
    def message(self) -> str:
        """Return the text without the field, as it stands in `details.causes[].message`."""
        text = _LABELS[self.type]
        if self.type not in ("Required", "Forbidden", "TooLong", "InternalError") and self.value is not OMITTED:
            text += f": {go_value(self.value)}"
        if self.detail:
            text += f": {self.detail}"
        return text

    @property
    def reason(self) -> str:
        """Return the machine-readable reason of `details.causes[].reason`."""
        return f"FieldValue{self.type}"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class GoLiteral:
    """A value that the real server prints in Go syntax (slices, structs); `text` is that print."""

    text: str


def go_value(value: Any) -> str:
    """Return `value` as the real server prints it: strings quoted, numbers and booleans bare, everything else as JSON."""
    match value:
        case GoLiteral():
            return value.text
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return quote(value)
        case _:
            return msgspec.json.encode(value).decode()


def quote(text: str) -> str:
    """Return `text` in double quotes, escaped as Go's %q does for what occurs in manifests."""
    return msgspec.json.encode(text).decode()


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """Return the error of a value that breaks a rule."""
    return FieldError(field, "Invalid", value, detail)


def required(field: str, detail: str = "") -> FieldError:
    """Return the error of a missing value."""
    return FieldError(field, "Required", OMITTED, detail)


def duplicate(field: str, value: Any) -> FieldError:
    """Return the error of a value that must be unique and is not."""
    return FieldError(field, "Duplicate", value)


def forbidden(field: str, detail: str) -> FieldError:
    """Return the error of a field that may not be set here."""
    return FieldError(field, "Forbidden", OMITTED, detail)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """Return the error of a value outside of a closed list; `supported` in the order to print."""
    listed = ", ".join(quote(item) for item in supported)
    return FieldError(field, "NotSupported", value, f"supported values: {listed}" if listed else "")


def too_long(field: str, limit: int) -> FieldError:
    """Return the error of a text longer than `limit` bytes."""
    return FieldError(field, "TooLong", OMITTED, f"may not be more than {limit} bytes")


def too_many(field: str, actual: int, limit: int) -> FieldError:
    """Return the error of a list with more than `limit` entries."""
    return FieldError(field, "TooMany", actual, f"must have at most {limit} item{'' if limit == 1 else 's'}")
