"""Domain names as DNS carries them, and the patterns by which policies select them.

A name is its uncompressed wire form in lower case (RFC 1035 §3.1): unlike text it needs no escapes, so that a dot inside of a label
is never taken for the end of one. It must do no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_NAME_BYTES = 255
"""Longest name in wire form."""
WILDCARD = "*."
_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?")
_LEAST_LABELS = 2


def name(text: str) -> bytes:
    """Return the wire form of a name in presentation format (no escapes), lower case; raises ValueError."""
    stripped = text.lower().rstrip(".")
    if not stripped:
        return b"\0"
    labels = [label.encode("ascii") for label in stripped.split(".")]
    if any(not 0 < len(label) <= 63 for label in labels):
        raise ValueError(f"{text!r} has a label that is empty or longer than 63 bytes")
    packed = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(packed) > MOST_NAME_BYTES:
        raise ValueError(f"{text!r} is longer than 255 bytes")
    return packed


def text(packed: bytes) -> str:
    """Return a name in presentation format with the final dot."""
    return ".".join(label.decode("ascii", "backslashreplace") for label in labels(packed)) + "."


def labels(packed: bytes) -> list[bytes]:
    """Return the labels of a name, without the root."""
    found, offset = [], 0
    while packed[offset]:
        found.append(packed[offset + 1 : offset + 1 + packed[offset]])
        offset += 1 + packed[offset]
    return found


def suffixes(packed: bytes) -> Iterator[bytes]:
    """Yield the name, its parent, … and the root."""
    offset = 0
    while packed[offset]:
        yield packed[offset:]
        offset += 1 + packed[offset]
    yield b"\0"


def pattern(text: str) -> str:
    """Return `NAME` or `*.NAME` in lower case without a final dot; raises ValueError for what selects no name.

    `*` stands for one or more labels, and only at the front (policy.networking.k8s.io, type DomainName).
    """
    canonical = text.lower().removesuffix(".")
    rest = canonical.removeprefix(WILDCARD)
    found = rest.split(".")
    if not rest.isascii():
        raise ValueError(f"{text!r} is not in ASCII: write its labels as xn--… (RFC 5890)")
    if len(found) < _LEAST_LABELS or not all(_LABEL.fullmatch(label) for label in found):
        raise ValueError(f"{text!r} is neither a domain name nor {WILDCARD} and one")
    name(rest)
    return canonical
