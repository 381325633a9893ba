"""What the API server serves now, by discovery: needed by the controllers that work on every kind there is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import Resource
from fairlead.sources.client import Client

Json = dict[str, Any]

_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Served:
    """One resource in its group's preferred version, with the verbs that it allows."""

    resource: Resource
    verbs: frozenset[str]


async def discover(client: Client) -> list[Served]:
    """Return every resource that can be listed and deleted, each once; raises ApiError or Unreachable.

    Cost: one request per group.
    """
    groups = (await client.request("GET", "/apis")).get("groups") or []
    versions = [("", "v1"), *((group["name"], group["preferredVersion"]["version"]) for group in groups)]
    slots = asyncio.Semaphore(_PARALLEL)

    async def read(group: str, version: str) -> list[Served]:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        async with slots:
            return _served(group, version, await client.request("GET", path))

    pages = await asyncio.gather(*(read(group, version) for group, version in versions))
    return [served for page in pages for served in page]


def _served(group: str, version: str, answer: Json) -> list[Served]:
    found = []
    for entry in answer.get("resources") or ():
        verbs: Collection[str] = entry.get("verbs") or ()
        if "/" in entry["name"] or not {"list", "delete"} <= set(verbs):
            continue
        resource = Resource(group, version, entry["name"], entry["kind"], bool(entry["namespaced"]))
        found.append(Served(resource, frozenset(verbs)))
    return found
