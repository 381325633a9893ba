"""Update: one object is changed by a function of its latest version, again and again until nobody interfered.

Put, patch, apply and every subresource that changes an object end here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fairlead.apiserver import metadata
from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.errors import StatusError, conflict, invalid, not_found
from fairlead.apiserver.kinds import status_error
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.kinds.pod_rules import check_ephemeral_update
from fairlead.apiserver.patch import managed
from fairlead.apiserver.patch.managed import Manager
from fairlead.apiserver.store.records import Entry, Mismatch, Op, decode, encode

Transform = Callable[[Json], Json]
"""Returns the wanted object, given a private copy of the current one, both in the served version."""

_TRIES = 30


async def update(
    api: Api,
    call: Call,
    transform: Transform,
    *,
    validate: bool = True,
    unconditional: bool = True,
    merge: Callable[[Call, Json, Json], Json] | None = None,
    tracks: bool = True,
    tracked_as: str | None = None,
    admitted: bool = False,
) -> Entry:
    """Store what `transform` makes of the object and return it; raises StatusError.

    A resourceVersion in the result must be the current one; without one the update is repeated on interference (`unconditional`;
    custom resources refuse that for put). `merge` takes over what the request's subresource may change (default: by its name).
    What changes becomes the field manager's (`tracks`), under the request's subresource or `tracked_as`.
    `admitted` says that admission has been asked already, about the same change in another form.
    """
    served, info = call.served, call.info
    for _ in range(_TRIES):
        entry = api.store.latest(served.table, call.namespace, info.name)
        if entry is None:
            raise not_found(served.resource, info.name)
        new = await _prepare(
            api,
            call,
            entry,
            transform,
            merge or _merge,
            validate=validate,
            unconditional=unconditional,
            admitted=admitted,
            manager=call.manager("Update", tracked_as) if tracks else None,
        )
        if new is None:
            return entry
        attributes, stored = new
        if call.dry_run:
            attributes.failed()
            return Entry(entry.key, entry.revision, encode(stored))
        # Where the last finalizer went, the final state is not stored, but the deletion is.
        removed = _is_gone(stored)
        if removed:
            attributes.on_success.append(partial(api.admission.release, served, entry.obj))
        try:
            op = Op(served.table, entry.key, None if removed else stored, entry)
            (written,), durable = api.store.submit(op, settled=attributes.settle)
        except Mismatch:
            attributes.failed()
            continue
        except BaseException:
            attributes.failed()
            raise
        await durable
        return written
    raise conflict(served.resource, info.name)


async def _prepare(
    api: Api,
    call: Call,
    entry: Entry,
    transform: Transform,
    merge: Callable[[Call, Json, Json], Json],
    *,
    validate: bool,
    unconditional: bool,
    admitted: bool,
    manager: Manager | None,
) -> tuple[Attributes, Json] | None:
    served = call.served
    current = entry.copy()
    old = served.from_storage(current) if served.from_storage else current
    new = transform(served.from_storage(entry.copy()) if served.from_storage else entry.copy())
    meta = metadata.settle_identity(served, new, call.namespace, call.info.name)
    _check_version(call, meta, old, unconditional=unconditional)
    new = merge(call, new, old)
    metadata.carry_over(served, new, old)
    of_status = call.info.subresource in ("status", "approval")
    if of_status:
        served.strategy.prepare_for_status_update(new, old)
    elif call.info.subresource not in ("finalize", "binding"):
        served.strategy.prepare_for_update(new, old)
    if manager is not None:
        _track(call, new, old, manager)
    attributes = Attributes(
        operation="UPDATE",
        served=served,
        namespace=call.namespace,
        name=call.info.name,
        subresource=call.info.subresource,
        obj=new,
        old=old,
        identity=call.identity,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )
    if not admitted:
        await run(api.admission.mutating, attributes)
    if validate:
        errors = _judge(call)(new, old)
        if errors:
            raise StatusError(status_error.invalid(served.kind, call.info.name, errors))
    if not admitted:
        await run(api.admission.validating, attributes)
    try:
        await run(api.admission.allocating, attributes)
    except BaseException:
        attributes.failed()
        raise
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    if new == old and not _is_gone(new):
        attributes.failed()
        return None
    return attributes, metadata.in_order(served.to_storage(new) if served.to_storage else new)


def _track(call: Call, new: Json, old: Json, manager: Manager) -> None:
    """Record who owns what has changed. What admission changes afterwards is nobody's."""
    entries = managed.base_entries(new, old, subresource=call.info.subresource)
    schema = call.served.strategy.field_schema()
    entries = managed.updated(entries, old, new, schema, manager, timestamp(), call.ignored_fields)
    if entries:
        new["metadata"]["managedFields"] = entries
    else:
        new["metadata"].pop("managedFields", None)


def _judge(call: Call) -> Callable[[Json, Json], list[FieldError]]:
    """Return the rules of an update through this subresource."""
    match call.info.subresource:
        case "status" | "approval":
            return call.served.strategy.validate_status_update
        case "ephemeralcontainers":
            return check_ephemeral_update
        case _:
            return call.served.strategy.validate_update


def _check_version(call: Call, meta: Json, old: Json, *, unconditional: bool) -> None:
    given = meta.get("resourceVersion") or ""
    if given and given != "0":
        if given != old["metadata"]["resourceVersion"]:
            raise conflict(call.served.resource, call.info.name)
    elif call.served.strategy.custom and not unconditional:
        resource = call.served.resource
        message = "Invalid value: 0x0: must be specified for an update"
        raise invalid(
            resource.kind,
            resource.group,
            call.info.name,
            [("metadata.resourceVersion", "FieldValueInvalid", message)],
        )


def _is_gone(obj: Json) -> bool:
    """Tell whether an object under deletion has nothing left to wait for."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not meta.get("deletionGracePeriodSeconds")


def _merge(call: Call, new: Json, old: Json) -> Json:
    """Return what a request to this subresource may make of `old`, given `new`."""
    match call.info.subresource:
        case "ephemeralcontainers":
            return _merge_spec(new, old, ("ephemeralContainers",))
        case "resize":
            return _merge_spec(new, old, ("containers", "initContainers"))
        case "finalize":
            merged = _merge_spec(new, old, ("finalizers",))
            merged["metadata"]["finalizers"] = new["metadata"].get("finalizers")
            return merged
        case _:
            return new


def _merge_spec(new: Json, old: Json, fields: tuple[str, ...]) -> Json:
    spec: dict[str, Any] = dict(old.get("spec") or {})
    for field in fields:
        _take(spec, new.get("spec") or {}, field)
    return old | {"spec": spec, "metadata": dict(old["metadata"])}


def _take(into: Json, source: Json, key: str) -> None:
    if key in source:
        into[key] = source[key]
    else:
        into.pop(key, None)


def replacement(obj: Json) -> Transform:
    """Return the transformation of a put: the given object, whatever the current one is."""
    content = encode(obj)
    return lambda current: decode(content)
