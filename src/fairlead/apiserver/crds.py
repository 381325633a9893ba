"""CustomResourceDefinitions: what they add to the catalog, their status, and the end of their objects.

A definition is served from the moment in which its write is acknowledged. Source: apiextensions.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fairlead.api.resources import Resource
from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api, timestamp
from fairlead.apiserver.custom import CustomStrategy
from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.served import Served, table_name
from fairlead.apiserver.store.records import Mismatch, Op

Json = dict[str, Any]

TABLE = "apiextensions.k8s.io/customresourcedefinitions"

log = logging.getLogger(__name__)


def serve_stored(api: Api) -> None:
    """Serve what stored definitions define."""
    for entry in api.store.entries(TABLE):
        _serve(api, entry.obj)


def follow(api: Api) -> Plugin:
    """Return the admission function that sets a definition's status and serves it once it is stored."""

    def admit(attributes: Attributes) -> None:
        if attributes.served.table != TABLE or attributes.operation == "DELETE":
            return
        definition = attributes.obj
        if attributes.subresource != "status":
            _set_status(definition)
        attributes.on_success.append(lambda: _serve(api, definition))

    return admit


def forget(api: Api) -> Callable[[Served, Json], None]:
    """Return the function that ends what a deleted definition defined."""
    tasks: set[asyncio.Task[None]] = set()

    def release(served: Served, definition: Json) -> None:
        if served.table != TABLE:
            return
        api.catalog.remove_definition(definition["metadata"]["name"])
        task = asyncio.get_running_loop().create_task(_delete_objects(api, definition))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return release


async def _delete_objects(api: Api, definition: Json) -> None:
    """Delete every object of a definition that is gone, whatever its finalizers: nobody can serve them any more."""
    spec = definition["spec"]
    table = f"{spec['group']}/{spec['names']['plural']}"
    for entry in api.store.latest_entries(table):
        try:
            await api.store.write(Op(table, entry.key, None, entry))
        except Mismatch:
            continue
    for watcher in list(api.store.table(table).watchers):
        watcher.stop()
    log.info("definition removed", extra={"definition": definition["metadata"]["name"]})


def _set_status(definition: Json) -> None:
    spec = definition["spec"]
    names = spec["names"]
    status = definition.setdefault("status", {})
    before = {one["type"]: one for one in status.get("conditions") or ()}
    status["conditions"] = [
        before.get(type)
        if before.get(type, {}).get("status") == "True"
        else {"type": type, "status": "True", "lastTransitionTime": timestamp(), "reason": reason, "message": message}
        for type, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    status["acceptedNames"] = names
    stored = list(status.get("storedVersions") or ())
    storage = _storage_version(spec)
    if storage and storage not in stored:
        stored.append(storage)
    status["storedVersions"] = stored


def _storage_version(spec: Json) -> str | None:
    return next((one["name"] for one in spec.get("versions") or () if one.get("storage")), None)


def _serve(api: Api, definition: Json) -> None:
    spec = definition["spec"]
    name = definition["metadata"]["name"]
    storage = _storage_version(spec)
    api.catalog.remove_definition(name)
    for version in spec.get("versions") or ():
        if version.get("served"):
            api.catalog.add(_served(name, spec, version, storage))


def _served(definition: str, spec: Json, version: Json, storage: str | None) -> Served:
    names = spec["names"]
    resource = Resource(
        spec["group"], version["name"], names["plural"], names["kind"], namespaced=spec.get("scope") == "Namespaced"
    )
    subresources = version.get("subresources") or {}
    kind = Kind(
        resource=resource,
        singular=names.get("singular") or names["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(key for key in ("status", "scale") if key in subresources),
    )
    converts = version["name"] != storage
    return Served(
        kind=kind,
        strategy=CustomStrategy(kind, version),
        table=table_name(resource),
        from_storage=_relabel(resource.api_version) if converts else None,
        to_storage=_relabel(f"{spec['group']}/{storage}") if converts else None,
        scale_paths=subresources.get("scale"),
        selectable_fields=tuple(one["jsonPath"].lstrip(".") for one in version.get("selectableFields") or ()),
        schema=(version.get("schema") or {}).get("openAPIV3Schema"),
        definition=definition,
    )


def _relabel(api_version: str) -> Callable[[Json], Json]:
    """Return the conversion `None`: only the version changes."""
    return lambda obj: {**obj, "apiVersion": api_version}
