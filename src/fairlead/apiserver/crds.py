"""CustomResourceDefinitions: what they add to the catalog, and the end of their objects.

A definition is served from the moment in which its write is acknowledged. Source: apiextensions.k8s.io/v1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fairlead.api.resources import Resource
from fairlead.apiserver import definition_status
from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api, Call, timestamp
from fairlead.apiserver.custom import CustomStrategy
from fairlead.apiserver.definition_status import CLEANUP, TABLE, storage_version
from fairlead.apiserver.discovery import version_rank
from fairlead.apiserver.errors import StatusError, failure
from fairlead.apiserver.http.info import RequestInfo
from fairlead.apiserver.identity import Identity
from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.served import Served, table_name
from fairlead.apiserver.store.records import Entry, Mismatch, Op, Unavailable
from fairlead.apiserver.store.selection import Selection
from fairlead.apiserver.verbs import delete

Json = dict[str, Any]

_SYSTEM = Identity("system:apiserver", ("system:masters", "system:authenticated"))

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
            definition_status.settle(definition, _others(api, attributes.name), timestamp())
            if _needs_webhook(definition["spec"]):
                text = (
                    f"conversion webhooks are not called: only version {storage_version(definition['spec'])} is served"
                )
                attributes.warnings.append(text)
        attributes.on_success.append(lambda: _serve(api, definition))

    return admit


def refuse_while_ending(api: Api) -> Plugin:
    """Return the admission function that lets nothing come into being whose definition is on its way out."""

    def check(attributes: Attributes) -> None:
        name = attributes.served.definition
        if name is None or attributes.operation != "CREATE":
            return
        entry = api.store.latest(TABLE, "", name)
        if entry is not None and "deletionTimestamp" in entry.obj["metadata"]:
            raise failure(
                405, "MethodNotAllowed", "create not allowed while custom resource definition is terminating", {}
            )

    return check


def forget(api: Api) -> Callable[[Served, Json], None]:
    """Return the function that ends what a deleted definition defined."""
    tasks: set[asyncio.Task[None]] = set()

    def release(served: Served, definition: Json) -> None:
        if served.table != TABLE:
            return
        api.catalog.remove_definition(definition["metadata"]["name"])
        task = asyncio.get_running_loop().create_task(_purge(api, definition))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return release


def _others(api: Api, name: str) -> list[Json]:
    return [entry.obj for entry in api.store.latest_entries(TABLE) if entry.key[1] != name]


def _table(definition: Json) -> str:
    spec = definition["spec"]
    return f"{spec['group']}/{spec['names']['plural']}"


async def _purge(api: Api, definition: Json) -> None:
    """Delete what is left of a definition that is gone, whatever its finalizers: nobody can serve it any more."""
    table = _table(definition)
    for entry in api.store.latest_entries(table):
        with suppress(Mismatch):
            await api.store.write(Op(table, entry.key, None, entry))
    for watcher in list(api.store.table(table).watchers):
        watcher.stop()
    log.info("definition removed", extra={"definition": definition["metadata"]["name"]})


class Definitions:
    """The controller of definitions: deletes the objects of those that end, and gives names to those that wait for them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ending: set[str] = set()

    def __repr__(self) -> str:
        return f"<Definitions ending={sorted(self._ending)}>"

    async def run(self) -> None:
        """Work until cancelled."""
        watcher = self._api.store.watch(TABLE, Selection())
        try:
            async with asyncio.TaskGroup() as group:
                for entry in self._api.store.entries(TABLE):
                    self._look(group, entry.obj)
                while not watcher.stopped:
                    for type, change in await watcher.wait(None):
                        if type == "DELETED":
                            self._ending.discard(change.entry.key[1])
                            await self._give_names(change.entry.obj["spec"]["group"])
                        else:
                            self._look(group, change.entry.obj)
        finally:
            watcher.close()

    def _look(self, group: asyncio.TaskGroup, definition: Json) -> None:
        name = definition["metadata"]["name"]
        if definition_status.is_ending(definition) and name not in self._ending:
            self._ending.add(name)
            group.create_task(self._end(definition))

    async def _give_names(self, group: str) -> None:
        """Reconsider the definitions of a group that wait for a name."""
        for entry in self._api.store.latest_entries(TABLE):
            if entry.obj["spec"]["group"] == group and not definition_status.is_true(entry.obj, "NamesAccepted"):
                await self._change(entry.key[1], self._settle)

    def _settle(self, definition: Json) -> None:
        definition_status.settle(definition, _others(self._api, definition["metadata"]["name"]), timestamp())

    async def _end(self, definition: Json) -> None:
        """Delete the objects of a definition, wait until the last is gone, let the definition go."""
        name, table = definition["metadata"]["name"], _table(definition)
        watcher = self._api.store.watch(table, Selection())
        try:
            served = self._api.catalog.of_table(table)
            if served is not None and served.definition == name:
                for entry in self._api.store.latest_entries(table):
                    await self._delete(served, entry)
            while self._api.store.latest_entries(table) and not watcher.stopped:
                await watcher.wait(None)
            if not self._api.store.latest_entries(table):
                await self._change(name, _finish)
        finally:
            watcher.close()

    async def _delete(self, served: Served, entry: Entry) -> None:
        resource = served.resource
        info = RequestInfo(
            verb="delete",
            group=resource.group,
            version=resource.version,
            plural=resource.plural,
            namespace=entry.key[0] or None,
            name=entry.key[1],
            subresource="",
        )
        call = Call(served=served, info=info, identity=_SYSTEM, query={}, user_agent="fairlead-apiserver")
        try:
            await delete.delete(self._api, call, delete.Options())
        except (StatusError, Unavailable) as error:
            if not isinstance(error, StatusError) or error.code != 404:
                log.warning("object of a definition that ends stays", extra={"object": entry.key, "error": error})

    async def _change(self, name: str, change: Callable[[Json], None]) -> None:
        """Change a stored definition, again when somebody interferes; without finalizers one under deletion goes."""
        api = self._api
        while (entry := api.store.latest(TABLE, "", name)) is not None:
            new = entry.copy()
            change(new)
            if new == entry.obj:
                return
            gone = "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers")
            served = api.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            assert served is not None, "definitions are built in"

            def settled(stored: bool, *, gone: bool = gone, served: Served = served, new: Json = new) -> None:
                if stored and gone:
                    api.admission.release(served, new)
                elif stored:
                    _serve(api, new)

            try:
                await api.store.write(Op(TABLE, entry.key, None if gone else new, entry), settled=settled)
                return
            except Mismatch:
                continue
            except Unavailable as error:
                log.warning("definition could not be changed", extra={"definition": name, "error": error})
                return


def _finish(definition: Json) -> None:
    metadata = definition["metadata"]
    metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != CLEANUP]
    definition_status.set_condition(
        definition["status"],
        "Terminating",
        "False",
        "InstanceDeletionCompleted",
        "removed all instances",
        timestamp(),
    )


def _serve(api: Api, definition: Json) -> None:
    spec = definition["spec"]
    name = definition["metadata"]["name"]
    storage = storage_version(spec)
    api.catalog.remove_definition(name)
    if not definition_status.is_true(definition, "Established"):
        return
    for version in spec.get("versions") or ():
        if version.get("served") and (version["name"] == storage or not _needs_webhook(spec)):
            api.catalog.add(_served(name, spec, definition["status"]["acceptedNames"], version, storage))


def _needs_webhook(spec: Json) -> bool:
    """Tell whether objects in other versions than the stored one can only be had from a webhook."""
    return (spec.get("conversion") or {}).get("strategy") == "Webhook" and len(spec["versions"]) > 1


def _served(definition: str, spec: Json, names: Json, version: Json, storage: str | None) -> Served:
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
        deprecation=_deprecation(spec, names["kind"], version),
    )


def _deprecation(spec: Json, kind: str, version: Json) -> str:
    """Return what users of a deprecated version are told; empty for others."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    group = spec["group"]
    better = sorted(
        (one["name"] for one in spec["versions"] if one.get("served") and not one.get("deprecated")), key=version_rank
    )
    better = [one for one in better if version_rank(one) < version_rank(version["name"])]
    text = f"{group}/{version['name']} {kind} is deprecated"
    return f"{text}; use {group}/{better[0]} {kind}" if better else text


def _relabel(api_version: str) -> Callable[[Json], Json]:
    """Return the conversion `None`: only the version changes."""
    return lambda obj: {**obj, "apiVersion": api_version}
