"""JSON of the runtime's values, for sockets and state files: the specification's dataclasses with their paths as text."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def encode(value: object) -> bytes:
    """A value as one line of JSON."""
    return _ENCODER.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """The value of a type from its JSON. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=kind, dec_hook=_from_text)


def convert(value: object, kind: type[T]) -> T:
    """The value of a type from decoded JSON. Raises msgspec.ValidationError."""
    return msgspec.convert(value, kind, dec_hook=_from_text)


def _to_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _from_text(kind: type, value: object) -> object:
    return kind(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_to_text)
