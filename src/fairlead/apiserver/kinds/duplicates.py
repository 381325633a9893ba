"""Find fields that a JSON body gives twice, which ordinary decoding hides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


class _Repeated(dict[str, Any]):
    """An object in which some keys came more than once."""

    repeated: tuple[str, ...] = ()


def duplicate_fields(body: bytes) -> list[str]:
    """Return the paths (`spec.ports[0].port`) of fields that `body` holds more than once; empty if it is no JSON.

    Costs a second decoding of the body.
    """
    some = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal some
        built = dict(pairs)
        if len(built) == len(pairs):
            return built
        some = True
        result = _Repeated(built)
        seen: set[str] = set()
        twice = dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        result.repeated = tuple(twice)
        return result

    try:
        tree = json.loads(body, object_pairs_hook=build)
    except (ValueError, RecursionError):
        return []
    return list(_walk(tree, "")) if some else []


def _walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value, _Repeated):
            yield from (f"{path}.{key}" if path else key for key in value.repeated)
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")
