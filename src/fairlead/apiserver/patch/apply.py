"""Server-side apply: a manager states all that it wants, the server remembers what it stated.

Items of lists merge by their identity; what a manager stated before and states no longer goes, unless another one owns it, too. What
another manager owns and would change is a conflict, unless it is forced. Source: KEP-555, structured-merge-diff (merge).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from fairlead.apiserver.errors import StatusError, failure
from fairlead.apiserver.patch import fields, managed
from fairlead.apiserver.patch.compare import compare
from fairlead.apiserver.patch.managed import Manager
from fairlead.apiserver.patch.schema import FieldSchema

Json = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_UNTRACKED = "before-first-apply"


def apply(
    live: Json,
    config: Json,
    schema: FieldSchema,
    *,
    manager: Manager,
    now: str,
    force: bool = False,
    ignored: Iterable[str] = (),
    yielding: fields.Fields | None = None,
) -> Json:
    """Return `live` with `config` applied by `manager`; raises 409 when another manager owns something else, 400 for bad lists.

    `ignored` are top-level fields that this request cannot own. What is in `yielding` is taken without force.
    """
    stated = managed.visible(config, ignored)
    mine = fields.of_value(stated, schema)
    entries = list(live["metadata"].get("managedFields") or ())
    if not entries and live["metadata"].get("uid"):
        entries = _untracked(live, schema, manager, ignored)
    before = next((entry for entry in entries if manager.owns(entry)), None)
    others = [entry for entry in entries if entry is not before]
    merged: Json = _merge(copy.deepcopy(live), stated, schema)
    if before is not None:
        _drop_unstated(merged, before, mine, others)
    others = _resolve(live, merged, others, schema, ignored, force=force, yielding=yielding or {})
    entry = manager.entry(mine, now)
    if before is not None and before.get("fieldsV1") == mine and before.get("apiVersion") == manager.api_version:
        entry["time"] = before.get("time", now)
    merged["metadata"] = {
        **merged["metadata"],
        "managedFields": managed.in_order([*others, *([entry] if mine else [])]),
    }
    return merged


def _untracked(live: Json, schema: FieldSchema, manager: Manager, ignored: Iterable[str]) -> list[Json]:
    """Return the entry of all that an object held before anyone was recorded."""
    everything, _ = compare({}, managed.visible(live, ignored), schema)
    unknown = Manager(name=_UNTRACKED, operation="Update", api_version=manager.api_version)
    entry = unknown.entry(everything, "")
    del entry["time"]
    return [entry] if everything else []


def _resolve(
    live: Json,
    merged: Json,
    others: list[Json],
    schema: FieldSchema,
    ignored: Iterable[str],
    *,
    force: bool,
    yielding: fields.Fields,
) -> list[Json]:
    """Return the other managers' entries, without what is taken from them or gone."""
    changed, gone = compare(managed.visible(live, ignored), managed.visible(merged, ignored), schema)
    conflicts: list[tuple[str, fields.Path]] = []
    kept: list[Json] = []
    lost = fields.union(changed, gone)
    for entry in others:
        theirs = entry.get("fieldsV1") or {}
        contested = fields.difference(fields.intersection(theirs, changed), yielding)
        conflicts += [(_described(entry), path) for path in sorted(fields.paths(contested))]
        if rest := fields.difference(theirs, lost):
            kept.append(entry | {"fieldsV1": rest})
    if conflicts and not force:
        raise _conflict(conflicts)
    return kept


def _described(entry: Json) -> str:
    name = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    return f"{name} using {entry.get('apiVersion', '')}" if entry.get("operation") == "Update" else name


def _conflict(conflicts: list[tuple[str, fields.Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": fields.text(path)}
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        listed = f"1 conflict: conflict with {manager}: {fields.text(path)}"
    else:
        lines: list[str] = []
        for manager in sorted({manager for manager, _ in conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {fields.text(path)}" for owner, path in conflicts if owner == manager]
        listed = f"{len(conflicts)} conflicts: " + "\n".join(lines)
    return failure(409, "Conflict", f"Apply failed with {listed}", {"causes": causes})


def _drop_unstated(merged: Json, before: Json, mine: fields.Fields, others: list[Json]) -> None:
    owned = mine
    for entry in others:
        owned = fields.union(owned, entry.get("fieldsV1") or {})
    gone = [path for path in fields.paths(before.get("fieldsV1") or {}) if not _reaches(owned, path)]
    # Whole items first: an item that lost its key could not be found any more.
    for path in sorted(gone, key=len):
        fields.remove(merged, path)
    for path in gone:
        _prune_empty(merged, path, owned)


def _reaches(owned: fields.Fields, path: fields.Path) -> bool:
    """Tell whether somebody owns the path or something below it."""
    for step in path:
        found = owned.get(step)
        if found is None:
            return False
        owned = found
    return True


def _prune_empty(merged: Json, path: fields.Path, owned: fields.Fields) -> None:
    for length in range(len(path) - 1, 0, -1):
        try:
            if fields.lookup(merged, path[:length]) not in ({}, []) or _reaches(owned, path[:length]):
                return
        except LookupError:
            continue
        fields.remove(merged, path[:length])


def _merge(live: Any, wanted: Any, schema: FieldSchema) -> Any:
    if schema.atomic:
        return wanted
    if isinstance(wanted, dict):
        merged = dict(live) if isinstance(live, dict) else {}
        for key, value in wanted.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = _merge(merged.get(key), value, schema.field(key))
        return merged
    if isinstance(wanted, list) and isinstance(live, list):
        if schema.is_set:
            return live + [item for item in wanted if item not in live]
        if schema.keys:
            return _merge_list(live, wanted, schema)
    return wanted


def _merge_list(live: list[Any], wanted: list[Any], schema: FieldSchema) -> list[Any]:
    places: dict[str | None, int] = {}
    for position, item in enumerate(live):
        places.setdefault(fields.item_name(item, schema), position)
    merged = list(live)
    for name, item in fields.items(wanted, schema).items():
        found = places.get(name)
        if found is None:
            merged.append(item)
        else:
            merged[found] = _merge(merged[found], item, schema)
    return merged
