"""Who owns which fields: the entries in metadata.managedFields, and how writes move ownership.

An entry belongs to a manager, an operation (Apply or Update), a subresource and an API version. A write takes what it changes from
everybody else; what is gone belongs to nobody. Pure: the time is given. Source: KEP-555 and apimachinery's util/managedfields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.apiserver.patch import fields
from fairlead.apiserver.patch.compare import compare
from fairlead.apiserver.patch.schema import FieldSchema

Json = dict[str, Any]

_HIDDEN = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)
_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes, how, and through which subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def owns(self, entry: Json) -> bool:
        """Tell whether an entry is this manager's. Applies of any version are one manager."""
        return (
            entry.get("manager") == self.name
            and entry.get("operation") == self.operation
            and entry.get("subresource", "") == self.subresource
            and (self.operation == "Apply" or entry.get("apiVersion") == self.api_version)
        )

    def entry(self, owned: fields.Fields, now: str) -> Json:
        """Return the entry that records what this manager owns since `now`."""
        entry: Json = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": now,
            "fieldsType": "FieldsV1",
            "fieldsV1": owned,
        }
        return entry | {"subresource": self.subresource} if self.subresource else entry


def visible(obj: Json, ignored: Iterable[str] = ()) -> Json:
    """Return the part of an object that can be owned, without the fields `ignored` at its top."""
    skipped = {"apiVersion", "kind", "metadata", *ignored}
    found = {key: value for key, value in obj.items() if key not in skipped}
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _HIDDEN}
    return {"metadata": meta, **found} if meta else found


def base_entries(new: Json, old: Json, *, subresource: str) -> list[Json]:
    """Return the entries that an update starts from: as the request states them, else as they were. `[{}]` clears them."""
    before: list[Json] = old.get("metadata", {}).get("managedFields") or []
    given = new.get("metadata", {}).get("managedFields")
    if subresource or not given:
        return before
    if given == [{}]:
        return []
    return given if all(_is_valid(entry) for entry in given) else before


def updated(
    entries: list[Json],
    old: Json,
    new: Json,
    schema: FieldSchema,
    manager: Manager,
    now: str,
    ignored: Iterable[str] = (),
) -> list[Json]:
    """Return the entries after an update from `old` (empty: it is created) to `new`; untracked objects stay untracked."""
    if not entries and old:
        return []
    changed, gone = compare(visible(old, ignored), visible(new, ignored), schema)
    if not changed and not gone:
        return entries
    lost = fields.union(changed, gone)
    kept = []
    owned: fields.Fields = {}
    since = now
    for entry in entries:
        if manager.owns(entry):
            owned = entry.get("fieldsV1") or {}
            since = entry.get("time", now)
        elif rest := fields.difference(entry.get("fieldsV1") or {}, lost):
            kept.append(entry if rest == entry["fieldsV1"] else entry | {"fieldsV1": rest})
    owned = fields.union(fields.difference(owned, gone), changed)
    if owned:
        kept.append(manager.entry(owned, now if changed else since))
    return in_order(_capped(kept))


def in_order(entries: list[Json]) -> list[Json]:
    """Return the entries as upstream lists them: applies first, then by time, manager and the rest."""
    return sorted(
        entries,
        key=lambda entry: (
            entry.get("operation", ""),
            entry.get("time", ""),
            entry.get("manager", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        ),
    )


def _capped(entries: list[Json]) -> list[Json]:
    """Return the entries with the oldest updaters of each version taken together, so that no more than ten remain."""
    updaters = sorted(
        (entry for entry in entries if entry.get("operation") == "Update" and not entry.get("subresource")),
        key=lambda entry: (entry.get("manager") != _ANCIENT, entry.get("time", "")),
    )
    surplus = len(updaters) - _MOST_UPDATERS
    if surplus <= 0:
        return entries
    # Two become one: one more than the surplus goes together.
    merged = updaters[: surplus + 1]
    together: dict[str, Json] = {}
    for entry in merged:
        version = entry.get("apiVersion", "")
        before = together.get(version)
        owned = fields.union(before["fieldsV1"], entry["fieldsV1"]) if before else entry["fieldsV1"]
        together[version] = entry | {"manager": _ANCIENT, "fieldsV1": owned}
    kept = [entry for entry in entries if not any(entry is one for one in merged)]
    return [*together.values(), *kept]


def _is_valid(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and entry.get("fieldsType", "FieldsV1") == "FieldsV1"
        and isinstance(entry.get("fieldsV1"), dict)
        and _is_set(entry["fieldsV1"])
    )


def _is_set(node: Any, depth: int = 0) -> bool:
    """Tell whether a node is made of fields, items and values, within reason."""
    return (
        isinstance(node, dict)
        and depth < 100
        and all(
            (name == "." or (name[:2] in ("f:", "k:", "v:") and _decodes(name))) and _is_set(below, depth + 1)
            for name, below in node.items()
        )
    )


def _decodes(name: str) -> bool:
    if name.startswith("f:"):
        return True
    try:
        found = msgspec.json.decode(name[2:])
    except msgspec.DecodeError:
        return False
    return name.startswith("v:") or isinstance(found, dict)
