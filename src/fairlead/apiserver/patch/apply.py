"""Server-side apply: a manager states all that it wants, the server remembers what it stated.

Merges by the same keys as strategic merge; what a manager stated before and states no longer goes, unless another one states it too.
Ownership is tracked among appliers; ordinary updates record nothing. Source: KEP-555.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.errors import StatusError, failure
from fairlead.apiserver.patch import fields
from fairlead.apiserver.patch.schema import PatchSchema

Json = dict[str, Any]


def apply(
    live: Json, config: Json, schema: PatchSchema, *, manager: str, now: str, force: bool, subresource: str = ""
) -> Json:
    """Return `live` with `config` applied by `manager`; raises 409 when another manager wants something else (unless `force`)."""
    stated = _stated(config)
    mine = fields.of_value(stated, schema)
    entries: list[Json] = list(live["metadata"].get("managedFields") or ())
    others = [entry for entry in entries if not _is_mine(entry, manager, subresource)]
    before = next((entry for entry in entries if _is_mine(entry, manager, subresource)), None)
    others = _resolve(live, stated, mine, others, force=force)
    merged: Json = _merge(live, stated, schema)
    if before is not None:
        _drop_unstated(merged, before, mine, others)
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": config.get("apiVersion", live.get("apiVersion")),
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": mine,
    }
    if subresource:
        entry["subresource"] = subresource
    if before is not None and merged == live and before.get("fieldsV1") == mine:
        entry["time"] = before.get("time", now)
    merged["metadata"]["managedFields"] = [*others, entry]
    return merged


def _stated(config: Json) -> Json:
    """Return the fields of `config` that can be owned."""
    stated = {key: value for key, value in config.items() if key not in ("apiVersion", "kind", "metadata")}
    hidden = ("name", "namespace", "managedFields", "uid", "resourceVersion", "creationTimestamp", "generation")
    metadata = {key: value for key, value in (config.get("metadata") or {}).items() if key not in hidden}
    return ({"metadata": metadata} if metadata else {}) | stated


def _is_mine(entry: Json, manager: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and entry.get("subresource", "") == subresource
    )


def _resolve(live: Json, stated: Json, mine: fields.Fields, others: list[Json], *, force: bool) -> list[Json]:
    """Return the other managers' entries, without what is taken from them by force."""
    contested = {path for path in fields.paths(mine) if _differs(live, stated, path)}
    conflicts: list[tuple[str, fields.Path]] = []
    kept: list[Json] = []
    for entry in others:
        theirs = set(fields.paths(entry.get("fieldsV1") or {}))
        lost = contested & theirs
        conflicts += [(entry["manager"], path) for path in sorted(lost)]
        if not lost:
            kept.append(entry)
        elif remaining := _tree(theirs - lost):
            kept.append(entry | {"fieldsV1": remaining})
    if conflicts and not force:
        raise _conflict(conflicts)
    return kept


def _differs(live: Json, stated: Json, path: fields.Path) -> bool:
    wanted = fields.lookup(stated, path)
    try:
        current = fields.lookup(live, path)
    except LookupError:
        return True
    if isinstance(wanted, dict) and isinstance(current, dict):
        return False
    return bool(wanted != current)


def _conflict(conflicts: list[tuple[str, fields.Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": fields.text(path)}
        for manager, path in conflicts
    ]
    count = f"{len(conflicts)} conflict" + ("s" if len(conflicts) > 1 else "")
    if len(conflicts) == 1:
        listed = f'conflict with "{conflicts[0][0]}": {fields.text(conflicts[0][1])}'
    else:
        managers = dict.fromkeys(manager for manager, _ in conflicts)
        listed = "conflicts " + "; ".join(
            f'with "{manager}":' + "".join(f"\n- {fields.text(path)}" for owner, path in conflicts if owner == manager)
            for manager in managers
        )
    return failure(409, "Conflict", f"Apply failed with {count}: {listed}", {"causes": causes})


def _drop_unstated(merged: Json, before: Json, mine: fields.Fields, others: list[Json]) -> None:
    owned = set(fields.paths(mine))
    for entry in others:
        owned |= set(fields.paths(entry.get("fieldsV1") or {}))
    prefixes = {path[:length] for path in owned for length in range(1, len(path) + 1)}
    gone = [path for path in fields.paths(before.get("fieldsV1") or {}) if path not in prefixes]
    # Whole items first: an item that lost its key could not be found any more.
    for path in sorted(gone, key=len):
        fields.remove(merged, path)
    for path in gone:
        _prune_empty(merged, path, prefixes)


def _prune_empty(merged: Json, path: fields.Path, stated: set[fields.Path]) -> None:
    for length in range(len(path) - 1, 0, -1):
        try:
            if fields.lookup(merged, path[:length]) not in ({}, []) or path[:length] in stated:
                return
        except LookupError:
            continue
        fields.remove(merged, path[:length])


def _merge(live: Any, wanted: Any, schema: PatchSchema) -> Any:
    if isinstance(wanted, dict):
        merged = dict(live) if isinstance(live, dict) else {}
        for key, value in wanted.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = _merge(merged.get(key), value, schema.field(key))
        return merged
    if isinstance(wanted, list) and isinstance(live, list) and "merge" in schema.strategies:
        return _merge_list(live, wanted, schema)
    return wanted


def _merge_list(live: list[Any], wanted: list[Any], schema: PatchSchema) -> list[Any]:
    key = schema.merge_key
    if key is None:
        return live + [item for item in wanted if item not in live]
    if not all(isinstance(item, dict) and key in item for item in wanted):
        return wanted
    merged = list(live)
    for item in wanted:
        position = next(
            (i for i, one in enumerate(merged) if isinstance(one, dict) and one.get(key) == item[key]), None
        )
        if position is None:
            merged.append(item)
        else:
            merged[position] = _merge(merged[position], item, schema)
    return merged


def _tree(paths: set[fields.Path]) -> fields.Fields:
    root: fields.Fields = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        if path[-1].startswith("k:"):
            node["."] = {}
    return root
