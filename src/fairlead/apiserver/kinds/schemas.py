"""The published JSON schemas of the API, as the package kubernetes-validate carries them, and what of them each kind needs.

Loading costs 20 ms and 10 MB, so nothing keeps the whole: callers build a document, keep its bytes and drop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

import msgspec

from fairlead.apiserver.kinds.registry import KINDS, Kind

VERSION = "1.33.0"
"""The Kubernetes version whose schemas are served."""

_PREFIX = "#/$defs/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_ALWAYS = (f"{_META}Status", f"{_META}DeleteOptions", f"{_META}Patch", f"{_META}WatchEvent")
_SUBRESOURCES = {
    "scale": "io.k8s.api.autoscaling.v1.Scale",
    "eviction": "io.k8s.api.policy.v1.Eviction",
    "binding": "io.k8s.api.core.v1.Binding",
    "token": "io.k8s.api.authentication.v1.TokenRequest",
}

Schema = dict[str, Any]


def load() -> dict[str, Schema]:
    """Return every definition by name, decoded anew."""
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{VERSION}-local"
    decoded = msgspec.json.decode((folder / "_definitions.json").read_bytes())
    definitions: dict[str, Schema] = decoded["$defs"]
    return definitions


def names_by_kind(definitions: dict[str, Schema]) -> dict[tuple[str, str, str], str]:
    """Return the definition's name by (group, version, kind); definitions of several kinds (options) are left out."""
    found = {}
    for name, schema in definitions.items():
        kinds = schema.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1:
            found[kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]] = name
    return found


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that `schema` refers to directly."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            yield target.rpartition("/")[2]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


def closure(definitions: dict[str, Schema], roots: Iterable[str]) -> list[str]:
    """Return `roots` and everything they refer to, sorted."""
    seen: set[str] = set()
    todo = [name for name in roots if name in definitions]
    while todo:
        name = todo.pop()
        if name not in seen and name in definitions:
            seen.add(name)
            todo += references(definitions[name])
    return sorted(seen)


def roots_of(kinds: Iterable[Kind], names: dict[tuple[str, str, str], str]) -> list[str]:
    """Return the definitions that documents about `kinds` start from: objects, lists, what subresources take, options."""
    roots = list(_ALWAYS)
    for kind in kinds:
        resource = kind.resource
        for suffix in ("", "List"):
            name = names.get((resource.group, resource.version, resource.kind + suffix))
            if name is not None:
                roots.append(name)
        roots += [_SUBRESOURCES[name] for name in kind.subresources if name in _SUBRESOURCES]
    return roots


def kinds_of(group_version: str) -> list[Kind]:
    """Return the kinds served at `api/v1` or `apis/GROUP/VERSION`."""
    return [kind for kind in KINDS if kind.resource.prefix.strip("/") == group_version]
