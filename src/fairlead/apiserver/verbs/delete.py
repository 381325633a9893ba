"""Delete: at once, or marked until its kubelet, its finalizers or its namespace's content are done.

Source: k8s.io/apiserver registry/generic/registry (Store.Delete, BeforeDelete) and the pod and namespace strategies.
"""

from __future__ import annotations

import math
import time
from calendar import timegm
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver import definition_status
from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.errors import bad_request, conflict, invalid, not_found, success
from fairlead.apiserver.store.records import Entry, Mismatch, Op, encode

_TRIES = 30
_RETURNS_OBJECT = frozenset(
    {
        "pods",
        "services",
        "serviceaccounts",
        "podtemplates",
        "persistentvolumes",
        "persistentvolumeclaims",
        "resourcequotas",
    }
)
_ORPHANS_BY_DEFAULT = frozenset({"batch/jobs", "replicationcontrollers"})
_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client asks of a deletion. `propagation` is Background, Foreground, Orphan or None (the kind's default)."""

    grace_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: tuple[str, ...] = ()


def options(body: Json, query: Any) -> Options:
    """Return the options in a DeleteOptions body and in the query; raises 400 and 422."""
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        try:
            grace = int(query["gracePeriodSeconds"])
        except ValueError:
            raise bad_request(f"gracePeriodSeconds: invalid integer {query['gracePeriodSeconds']!r}") from None
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request("DeleteOptions: gracePeriodSeconds must be an integer")
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or None
    orphan = body.get("orphanDependents")
    if orphan is None and query.get("orphanDependents"):
        orphan = query["orphanDependents"].lower() in ("1", "true")
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        message = f'Unsupported value: "{propagation}": supported values: "Foreground", "Background", "Orphan", "nil"'
        raise invalid("DeleteOptions", "meta.k8s.io", "", [("propagationPolicy", "FieldValueNotSupported", message)])
    if orphan is not None:
        if propagation is not None:
            message = "Invalid value: orphanDependents and deletionPropagation cannot be both set"
            raise invalid("DeleteOptions", "meta.k8s.io", "", [("propagationPolicy", "FieldValueInvalid", message)])
        propagation = "Orphan" if orphan else "Background"
    return Options(
        grace_s=grace,
        propagation=propagation,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=tuple(body.get("dryRun") or ()),
    )


async def delete(api: Api, call: Call, wanted: Options, *, name: str = "") -> tuple[int, Entry | Json]:
    """Delete the object and return the answer's code and content; raises StatusError."""
    served, name = call.served, name or call.info.name
    for _ in range(_TRIES):
        entry = api.store.latest(served.table, call.namespace, name)
        if entry is None:
            raise not_found(served.resource, name)
        _check_preconditions(call, entry, wanted, name)
        attributes = Attributes(
            operation="DELETE",
            served=served,
            namespace=call.namespace,
            name=name,
            subresource=call.info.subresource,
            obj={},
            old=entry.obj,
            identity=call.identity,
            dry_run=call.dry_run,
            warnings=call.warnings,
        )
        await run(api.admission.validating, attributes)
        marked = _mark(call, entry, wanted)
        try:
            if marked is None:
                return await _remove(api, call, entry)
            if marked == entry.obj:
                return 200, entry
            if call.dry_run:
                return 200, Entry(entry.key, entry.revision, encode(marked))
            (written,) = await api.store.write(Op(served.table, entry.key, marked, entry))
            return 200, written
        except Mismatch:
            continue
    raise conflict(served.resource, name)


async def _remove(api: Api, call: Call, entry: Entry) -> tuple[int, Entry | Json]:
    served = call.served
    gone = entry
    if not call.dry_run:

        def settled(stored: bool) -> None:
            if stored:
                api.admission.release(served, entry.obj)

        (gone,) = await api.store.write(Op(served.table, entry.key, None, entry), settled=settled)
    if served.table in _RETURNS_OBJECT:
        return 200, gone
    resource = served.resource
    details: Json = {"name": entry.key[1]} | ({"group": resource.group} if resource.group else {})
    return 200, success(details | {"kind": resource.plural, "uid": entry.obj["metadata"]["uid"]})


def _check_preconditions(call: Call, entry: Entry, wanted: Options, name: str) -> None:
    meta = entry.obj["metadata"]
    for title, given, actual in (
        ("UID", wanted.uid, meta["uid"]),
        ("ResourceVersion", wanted.resource_version, meta["resourceVersion"]),
    ):
        if given is not None and given != actual:
            why = f"Precondition failed: {title} in precondition: {given}, {title} in object meta: {actual}"
            raise conflict(call.served.resource, name, why)


def _mark(call: Call, entry: Entry, wanted: Options) -> Json | None:
    """Return the object as it waits for its end, or None when it can go at once."""
    obj = entry.copy()
    meta = obj["metadata"]
    _set_propagation(call, meta, wanted)
    table = call.served.table
    grace = _grace(obj, wanted) if table == "pods" else 0
    if table == definition_status.TABLE:
        definition_status.begin_deletion(obj, timestamp())
    waits = bool(meta.get("finalizers")) or (table == "namespaces" and bool((obj.get("spec") or {}).get("finalizers")))
    if grace == 0 and not waits:
        return None
    if "deletionTimestamp" not in meta:
        meta["deletionTimestamp"] = timestamp(math.floor(time.time()) + grace)
        meta["deletionGracePeriodSeconds"] = grace
        if meta.get("generation"):
            meta["generation"] += 1
    elif grace < meta.get("deletionGracePeriodSeconds", 0):
        # The time runs from the first request.
        began = _seconds(meta["deletionTimestamp"]) - meta["deletionGracePeriodSeconds"]
        meta["deletionTimestamp"] = timestamp(began + grace)
        meta["deletionGracePeriodSeconds"] = grace
    if table == "namespaces":
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return obj


def _grace(pod: Json, wanted: Options) -> int:
    """Return the seconds that a pod gets; 0 when nothing runs that would need them."""
    spec, status, meta = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"]
    if "deletionTimestamp" in meta and wanted.grace_s is None:
        return int(meta.get("deletionGracePeriodSeconds", 0))
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    grace = wanted.grace_s if wanted.grace_s is not None else spec.get("terminationGracePeriodSeconds", 30)
    return int(grace) if grace >= 0 else 1


def _set_propagation(call: Call, meta: Json, wanted: Options) -> None:
    finalizers: list[str] = list(meta.get("finalizers") or ())
    policy = wanted.propagation
    if policy is None:
        if _FOREGROUND in finalizers or _ORPHAN in finalizers:
            return
        policy = "Orphan" if call.served.table in _ORPHANS_BY_DEFAULT else "Background"
    kept = [item for item in finalizers if item not in (_FOREGROUND, _ORPHAN)]
    kept += {"Foreground": [_FOREGROUND], "Orphan": [_ORPHAN]}.get(policy, [])
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)


def _seconds(text: str) -> int:
    return timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
