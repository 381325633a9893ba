"""What a pure controller core decides: values that say which request to send. `perform` sends them.

A core returns actions in the order in which they must happen; those that follow a failure are not sent, except for status writes: the next
reconciliation starts from what is there then. Every action is safe to repeat.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api.resources import PODS, Resource
from fairlead.controllers.context import Context
from fairlead.controllers.expectations import Expectations, Key
from fairlead.sources.client import PatchKind
from fairlead.sources.errors import AlreadyExists, ApiError, NotFound

Json = dict[str, Any]

_PARALLEL = 32


@dataclass(frozen=True, slots=True)
class Create:
    """Create `obj`. With `owner`, the outcome becomes an Event about it, in the words of `note` where given.

    `tolerant`: an object of this name may exist.
    """

    resource: Resource
    obj: Json
    owner: Json | None = None
    tolerant: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly `obj` (by uid); that it is gone already is success."""

    resource: Resource
    obj: Json
    owner: Json | None = None
    grace_s: int | None = None
    propagation: Literal["Background", "Foreground", "Orphan"] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace the object, if its resourceVersion is still the current one."""

    resource: Resource
    obj: Json


@dataclass(frozen=True, slots=True)
class Status:
    """Replace the status (and, for built-in kinds, annotations) of an object, if its resourceVersion is still the current one."""

    resource: Resource
    obj: Json


@dataclass(frozen=True, slots=True)
class Patch:
    """Patch an object; that it is gone is success."""

    resource: Resource
    obj: Json
    patch: Any
    kind: PatchKind = "merge"
    subresource: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Record an Event about `regarding`."""

    regarding: Json
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    standing: bool = False
    """Whether it tells of a state that holds: then it is written once, also by those who start again."""


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile again in `after_s` seconds even if nothing changes."""

    after_s: float


Action = Create | Delete | Replace | Status | Patch | Event | Again


def set_owners(resource: Resource, obj: Json, references: list[Json]) -> Patch:
    """Return the patch that gives exactly this object (by uid and version) other owner references."""
    metadata = obj["metadata"]
    patch = {
        "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "ownerReferences": references or None,
        }
    }
    return Patch(resource, obj, patch)


def adopt(resource: Resource, obj: Json, reference: Json) -> Patch:
    """Return the patch by which the owner of `reference` takes control of `obj`."""
    return set_owners(resource, obj, [*(obj["metadata"].get("ownerReferences") or ()), reference])


def release(resource: Resource, obj: Json, owner_uid: str) -> Patch:
    """Return the patch by which an owner lets go of `obj`."""
    references = obj["metadata"].get("ownerReferences") or ()
    return set_owners(resource, obj, [reference for reference in references if reference["uid"] != owner_uid])


async def perform(
    context: Context,
    component: str,
    actions: Iterable[Action],
    *,
    expectations: Expectations | None = None,
    key: Key = ("", ""),
) -> float | None:
    """Send `actions` and return the least delay that an `Again` asks for.

    Neighboring creations and deletions go out together, in batches that double in size while all goes well. `expectations` learn of
    what was created and deleted. Raises the first ApiError or Unreachable after the status writes that follow it.
    """
    delay: float | None = None
    failure: Exception | None = None
    for kind, members in itertools.groupby(actions, type):
        group = list(members)
        if kind is Again:
            delay = min([action.after_s for action in group if isinstance(action, Again)] + ([delay] if delay else []))
            continue
        if failure is not None and kind is not Status:
            continue
        try:
            if kind in (Create, Delete):
                await _batches(context, component, group, expectations, key)
            else:
                for action in group:
                    await _send(context, component, action, expectations, key)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return delay


async def _batches(
    context: Context, component: str, actions: Sequence[Action], expectations: Expectations | None, key: Key
) -> None:
    size, start = 1, 0
    while start < len(actions):
        batch = actions[start : start + size]
        sent = (_send(context, component, action, expectations, key) for action in batch)
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        start += size
        size = min(size * 2, _PARALLEL)


async def _send(context: Context, component: str, action: Action, expectations: Expectations | None, key: Key) -> None:
    client = context.client
    match action:
        case Create(resource, obj, owner, tolerant, note):
            try:
                made = await client.create(resource, obj)
            except AlreadyExists:
                if not tolerant:
                    raise
                return
            except ApiError as error:
                if owner is not None and not _ends(error):
                    context.events.put(component, owner, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            if expectations is not None:
                expectations.created(key, resource, made)
            if owner is not None:
                note = note or f"Created {_noun(resource)}: {made['metadata']['name']}"
                context.events.put(component, owner, "Normal", "SuccessfulCreate", note)
        case Delete(resource, obj, owner, grace_s, propagation, note):
            metadata = obj["metadata"]
            try:
                await client.delete(
                    resource,
                    metadata["name"],
                    namespace=metadata.get("namespace"),
                    uid=metadata["uid"],
                    grace_period_s=grace_s,
                    propagation=propagation,
                )
            except NotFound:
                return
            if expectations is not None:
                expectations.deleted(key, resource, obj)
            if owner is not None:
                note = note or f"Deleted {_noun(resource)}: {metadata['name']}"
                context.events.put(component, owner, "Normal", "SuccessfulDelete", note)
        case Replace(resource, obj):
            await client.replace(resource, obj)
        case Status(resource, obj):
            await client.replace(resource, obj, subresource="status")
        case Patch(resource, obj, patch, kind, subresource):
            metadata = obj["metadata"]
            try:
                await client.patch(
                    resource,
                    metadata["name"],
                    patch,
                    namespace=metadata.get("namespace"),
                    kind=kind,
                    subresource=subresource,
                )
            except NotFound:
                return
        case Event(regarding, type_, reason, message, standing):
            context.events.put(component, regarding, type_, reason, message, standing=standing)
        case Again():
            pass


def _noun(resource: Resource) -> str:
    return "pod" if resource == PODS else resource.kind


def _ends(error: ApiError) -> bool:
    """Tell whether the error says that the namespace is going away: nothing to tell anybody."""
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes) or "is being terminated" in str(error)
