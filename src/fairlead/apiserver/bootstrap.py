"""What a new cluster holds before anybody asks for anything: namespaces, priorities, definitions, and the way to its own API."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fairlead.api import resources as r
from fairlead.api.resources import Resource
from fairlead.apiserver import namespaces
from fairlead.apiserver.api import Api, Call, Json
from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.http.info import RequestInfo
from fairlead.apiserver.identity import SERVER
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.served import BuiltinStrategy, Served
from fairlead.apiserver.services.admission import ServiceAddresses
from fairlead.apiserver.store.records import Entry, Mismatch, Unavailable
from fairlead.apiserver.verbs.create import create
from fairlead.apiserver.verbs.update import update
from fairlead.base.errors import UserError

_AGENT = "fairlead-apiserver"
_PRIORITIES = (
    ("system-cluster-critical", 2_000_000_000, "cluster"),
    ("system-node-critical", 2_000_001_000, "node"),
)

_KEPT = frozenset(
    {
        ("services", "default", "kubernetes"),
        ("endpoints", "default", "kubernetes"),
        ("discovery.k8s.io/endpointslices", "default", "kubernetes"),
        ("namespaces", "", "kube-node-lease"),
    }
)

log = logging.getLogger(__name__)


async def run(api: Api, addresses: ServiceAddresses, advertise: Sequence[Address]) -> None:
    """Create what is missing; endpoints of the API itself are brought up to date."""
    for name in namespaces.SYSTEM:
        await _ensure(api, r.NAMESPACES, {"metadata": {"name": name}})
    for name, value, of in _PRIORITIES:
        text = f"Used for system critical pods that must run in the cluster{'' if of == 'cluster' else ', but can be moved'}."
        await _ensure(api, r.PRIORITYCLASSES, {"metadata": {"name": name}, "value": value, "description": text})
    await _ensure(api, r.SERVICES, _service(addresses))
    service = api.store.latest("services", "default", "kubernetes")
    assert service is not None
    family = service.obj["spec"]["ipFamilies"][0]
    reachable = [one for one in advertise if (":" in one.host) == (family == "IPv6")]
    if reachable:
        await _set(api, r.ENDPOINTS, _endpoints(reachable), ("subsets",))
        await _set(api, r.ENDPOINTSLICES, _slice(reachable, family), ("endpoints", "ports"))


async def install(api: Api, folder: Path) -> None:
    """Define the resources of the definitions in `folder` (`*.yaml`) before anybody asks for them; raises UserError for a faulty file.

    They come with the program: tests judge their schemas, a start does not. A definition that somebody else has changed stays as it is.
    """
    for path in sorted(folder.glob("*.yaml")):
        try:
            # A value that a file refers to twice is one object only while it is read.
            definition = msgspec.json.decode(msgspec.json.encode(yaml.load(path.read_text(), yaml.CSafeLoader)))
            if not _is_theirs(
                api.store.latest("apiextensions.k8s.io/customresourcedefinitions", "", definition["metadata"]["name"])
            ):
                await _set(api, r.CRDS, {key: definition[key] for key in ("metadata", "spec")}, ("spec",), trusted=True)
        except (yaml.YAMLError, TypeError, KeyError, StatusError) as error:
            fix = "write one CustomResourceDefinition of apiextensions.k8s.io/v1"
            raise UserError(f"definition {path}: {error}", fix=fix) from error


def _is_theirs(stored: Entry | None) -> bool:
    """Tell whether somebody else owns fields of a stored definition."""
    owners = (stored.obj["metadata"].get("managedFields") or ()) if stored is not None else ()
    return any(one["manager"] != _AGENT and not one.get("subresource") for one in owners)


def restore(api: Api, addresses: ServiceAddresses, advertise: Sequence[Address]) -> Callable[[Served, Json], None]:
    """Return the releasing function that brings back what a cluster cannot be without when somebody deletes it."""
    tasks: set[asyncio.Task[None]] = set()

    async def again() -> None:
        try:
            await run(api, addresses, advertise)
            await namespaces.restore_companions(api)
        except (StatusError, Mismatch, Unavailable) as error:
            log.warning("could not restore what was deleted", extra={"error": error})

    def release(served: Served, obj: Json) -> None:
        metadata = obj["metadata"]
        if (served.table, metadata.get("namespace", ""), metadata["name"]) in _KEPT or (
            (served.table, metadata["name"]) in namespaces.COMPANIONS
        ):
            task = asyncio.get_running_loop().create_task(again())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return release


def _service(addresses: ServiceAddresses) -> Json:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": next(iter(addresses.first_addresses.values())),
            "ports": [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}],
            "sessionAffinity": "None",
        },
    }


def _endpoints(advertise: Sequence[Address]) -> Json:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": one.host} for one in advertise],
                "ports": [{"name": "https", "port": advertise[0].port, "protocol": "TCP"}],
            }
        ],
    }


def _slice(advertise: Sequence[Address], family: str) -> Json:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [one.host], "conditions": {"ready": True}} for one in advertise],
        "ports": [{"name": "https", "port": advertise[0].port, "protocol": "TCP"}],
    }


class _Trusting(BuiltinStrategy):
    """The strategy of objects that come with the program: they are right."""

    def validate_create(self, obj: Json) -> list[FieldError]:
        """Refuse nothing."""
        return []

    def validate_update(self, new: Json, old: Json) -> list[FieldError]:
        """Refuse nothing."""
        return []


async def _ensure(api: Api, resource: Resource, obj: Json, *, trusted: bool = False) -> None:
    metadata = obj["metadata"]
    table = f"{resource.group}/{resource.plural}" if resource.group else resource.plural
    if api.store.latest(table, metadata.get("namespace", ""), metadata["name"]) is not None:
        return
    call = _call(api, resource, "create", metadata, trusted=trusted)
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    call.served.strategy.default(obj)
    await create(api, call, obj)


async def _set(api: Api, resource: Resource, wanted: Json, fields: Sequence[str], *, trusted: bool = False) -> None:
    await _ensure(api, resource, wanted, trusted=trusted)
    call = _call(api, resource, "update", wanted["metadata"], trusted=trusted)
    await update(api, call, _setting(call, wanted, fields))


def _setting(call: Call, wanted: Json, fields: Sequence[str]) -> Callable[[Json], Json]:
    def transform(current: Json) -> Json:
        changed: dict[str, Any] = current | {field: wanted[field] for field in fields}
        call.served.strategy.default(changed)
        return changed

    return transform


def _call(api: Api, resource: Resource, verb: str, metadata: Json, *, trusted: bool = False) -> Call:
    served = api.catalog.find(resource.group, resource.version, resource.plural)
    assert served is not None, f"{resource.plural} are built in"
    if trusted:
        served = dataclasses.replace(served, strategy=_Trusting(served.kind))
    info = RequestInfo(
        verb=verb,
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        namespace=metadata.get("namespace"),
        name=metadata["name"] if verb != "create" else "",
        subresource="",
    )
    return Call(served=served, info=info, identity=SERVER, query={}, user_agent=_AGENT)
