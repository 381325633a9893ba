"""Values of CEL that Python lacks, and what is common to all: equality, order, names of types, the budget of an evaluation.

int, float, str, bytes, bool, None, list and dict stand for themselves; objects of the API are read as they are, without conversion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any
from urllib.parse import SplitResult

INT_MAX, INT_MIN, UINT_MAX = 2**63 - 1, -(2**63), 2**64 - 1


class CelError(Exception):
    """An expression cannot be evaluated; the text is that of the reference implementation."""


class OutOfBudget(Exception):
    """An evaluation costs more than it may."""


class Budget:
    """What an evaluation may still spend, in the reference implementation's cost units (about one for each step)."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Take `units`; raises OutOfBudget when they are not there."""
        self.left -= units
        if self.left < 0:
            raise OutOfBudget


class Unsigned(int):
    """A uint."""

    __slots__ = ()


class KeyedList(list[Any]):
    """A list whose order does not count: a set (`keys` empty), or a map by the fields in `keys`."""

    __slots__ = ("keys",)

    def __init__(self, items: Iterable[Any], keys: tuple[str, ...] = ()) -> None:
        super().__init__(items)
        self.keys = keys

    def places(self) -> dict[str, int]:
        """Return where each item stands, by what tells it from the others."""
        return {self._key(item): place for place, item in enumerate(self)}

    def _key(self, item: Any) -> str:
        return repr([item.get(name) for name in self.keys] if self.keys and isinstance(item, dict) else item)

    def merged(self, other: Iterable[Any]) -> KeyedList:
        """Return the items of both; those of `other` replace those with the same key."""
        found, places = KeyedList(self, self.keys), self.places()
        for item in other:
            key = self._key(item)
            if key in places:
                found[places[key]] = item
            else:
                places[key] = len(found)
                found.append(item)
        return found

    def matches(self, other: list[Any]) -> bool:
        """Tell whether `other` has the same items in any order."""
        places = self.places()
        return len(self) == len(other) and all(
            (place := places.get(self._key(item))) is not None and equal(self[place], item) for item in other
        )


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A google.protobuf.Duration in nanoseconds."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Optional:
    """An optional value; `present` tells none from an optional null."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True)
class CelType:
    """A type as a value: what type(x) returns."""

    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A resource.Quantity."""

    amount: Fraction


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version (semver.org 2.0)."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[int | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One of the named string formats."""

    name: str


_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int",
    Unsigned: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    KeyedList: "list",
    dict: "map",
    datetime: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Optional: "optional_type",
    CelType: "type",
    Quantity: "kubernetes.Quantity",
    SplitResult: "kubernetes.URL",
    IPv4Address: "net.IP",
    IPv6Address: "net.IP",
    IPv4Interface: "net.CIDR",
    IPv6Interface: "net.CIDR",
    Semver: "kubernetes.Semver",
    Format: "kubernetes.NamedFormat",
}
QUALIFIED_TYPES = frozenset(name for name in _TYPES.values() if "." in name)
"""Types whose names have several parts."""
_NUMBERS = (int, float)


def type_name(value: Any) -> str:
    """Return the name of the type of `value`."""
    return _TYPES.get(type(value), "dyn")


def no_overload() -> CelError:
    """Return the error of an operation that the types of its arguments do not have."""
    return CelError("no such overload")


def equal(left: Any, right: Any) -> bool:
    """Return whether two values are the same; numbers of different types are compared by value, other types differ."""
    kind = type(left)
    if kind is KeyedList or type(right) is KeyedList:
        if not isinstance(left, list) or not isinstance(right, list):
            return False
        keyed, other = (left, right) if isinstance(left, KeyedList) else (right, left)
        return isinstance(keyed, KeyedList) and keyed.matches(other)
    if kind is type(right):
        if kind is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if kind is dict:
            return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
        if kind is Optional:
            return left.present == right.present and equal(left.value, right.value)
        return bool(left == right)
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) and kind is not bool and type(right) is not bool:
        return left == right
    return False


_ORDERED = (str, bytes, bool, datetime, Duration)


def compare(left: Any, right: Any) -> int:
    """Return a number below, at or above 0; raises CelError where types have no order. NaN is above everything."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        if (type(left) is bool) is not (type(right) is bool):
            raise no_overload()
    elif type(left) is not type(right) or not isinstance(left, _ORDERED):
        raise no_overload()
    return -1 if left < right else 0 if left == right else 1


def checked_int(value: int) -> int:
    """Return a result of int arithmetic; raises CelError outside of 64 bits."""
    if not INT_MIN <= value <= INT_MAX:
        raise CelError("return error for overflow: integer overflow")
    return value


def checked_uint(value: int) -> Unsigned:
    """Return a result of uint arithmetic; raises CelError outside of 64 bits."""
    if not 0 <= value <= UINT_MAX:
        raise CelError("return error for overflow: unsigned integer overflow")
    return Unsigned(value)


def weight(value: Any) -> int:
    """Return what touching all of `value` once costs: a tenth of a text's length, the length of a list or map."""
    if isinstance(value, str | bytes):
        return len(value) // 10
    return len(value) if isinstance(value, list | dict) else 0
