"""Create: a decoded object becomes a stored one, or is refused with every reason."""

from __future__ import annotations

from fairlead.apiserver import metadata
from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.errors import StatusError, already_exists, failure
from fairlead.apiserver.kinds import status_error
from fairlead.apiserver.patch import managed
from fairlead.apiserver.store.records import Entry, Mismatch, Op, encode

_NAME_TRIES = 8


async def create(api: Api, call: Call, obj: Json, *, owners: list[Json] | None = None) -> Entry:
    """Store `obj` under the request's namespace and return it; raises StatusError.

    `obj` is in the served version, already decoded and defaulted, and is taken over. In a dry run the entry is not stored.
    `owners` are the managers of its fields; None: the request's, of all that it states.
    """
    served = call.served
    meta = metadata.settle_identity(served, obj, call.namespace, call.info.name)
    if meta.get("resourceVersion"):
        raise failure(500, "", "resourceVersion should not be set on objects to be created")
    if owners is None:
        owners = managed.updated(
            managed.base_entries(obj, {}, subresource=""),
            {},
            obj,
            served.strategy.field_schema(),
            call.manager("Update"),
            timestamp(),
            call.ignored_fields,
        )
    attributes = Attributes(
        operation="CREATE",
        served=served,
        namespace=call.namespace,
        name=meta.get("name") or "",
        subresource="",
        obj=obj,
        old=None,
        identity=call.identity,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )
    await run(api.admission.mutating, attributes)
    generates = not meta.get("name") and bool(meta.get("generateName"))
    metadata.begin(meta)
    if owners:
        meta["managedFields"] = owners
    served.strategy.prepare_for_create(obj)
    attributes.name = meta.get("name") or ""
    errors = served.strategy.validate_create(obj)
    if errors:
        raise StatusError(status_error.invalid(served.kind, meta.get("name") or "", errors))
    await run(api.admission.validating, attributes)
    for _ in range(_NAME_TRIES if generates else 1):
        try:
            return await _store(api, call, attributes)
        except Mismatch:
            if generates:
                meta["name"] = metadata.generate_name(meta["generateName"])
    raise already_exists(served.resource, meta["name"])


async def _store(api: Api, call: Call, attributes: Attributes) -> Entry:
    served, obj = call.served, attributes.obj
    name = obj["metadata"]["name"]
    if api.store.latest(served.table, call.namespace, name) is not None:
        raise Mismatch
    try:
        await run(api.admission.allocating, attributes)
        stored = metadata.in_order(served.to_storage(obj) if served.to_storage else obj)
        if call.dry_run:
            attributes.failed()
            return Entry((call.namespace, name), 0, encode(stored))
        (entry, *_), durable = api.store.submit(
            Op(served.table, (call.namespace, name), stored, None),
            *companions(api, call, stored),
            settled=attributes.settle,
        )
    except BaseException:
        attributes.failed()
        raise
    await durable
    return entry


def companions(api: Api, call: Call, stored: Json) -> list[Op]:
    """Return the objects that come into being together with a new one: a namespace brings its account and its root certificate."""
    if call.served.table != "namespaces":
        return []
    from fairlead.apiserver.namespaces import companions_of_namespace

    return companions_of_namespace(api, stored["metadata"]["name"])
