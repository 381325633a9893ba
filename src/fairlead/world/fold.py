"""From one snapshot and what happened to the next.

Pure and total: every event is accepted; what it says replaces what was known. Costs time proportional to the events, plus one copy of
each table that they touch, however many events there are: fold in batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairlead.api.decode import ApiObject
from fairlead.api.endpointslice import EndpointSlice
from fairlead.base.diagnostics import Diagnostic
from fairlead.world.events import (
    AttachmentChanged,
    Event,
    InterfacesObserved,
    KindReplaced,
    ObjectChanged,
    ObjectKey,
    ReachabilityObserved,
)
from fairlead.world.snapshot import ROUTES, TABLES, Snapshot, Step

_REMEMBERED = 32


def fold(snapshot: Snapshot, events: Iterable[Event]) -> Snapshot:
    """Return the world after `events`, in their order; the same snapshot when they say nothing new."""
    draft = _Draft(snapshot)
    for event in events:
        match event:
            case ObjectChanged():
                draft.set_object(event.kind, event.key, event.new)
                draft.see(event.revision)
            case KindReplaced():
                draft.replace(event)
                draft.see(event.revision)
            case InterfacesObserved():
                draft.changes["interfaces"] = event.interfaces
            case ReachabilityObserved():
                draft.changes["unreachable"] = event.unreachable
            case AttachmentChanged():
                attachments = draft.table("attachments")
                if event.new is None:
                    attachments.pop(event.key, None)
                else:
                    attachments[event.key] = event.new
    return draft.finish()


class _Draft:
    """Copies of the tables that were touched."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._old = snapshot
        self.changes: dict[str, Any] = {}
        self._services: set[ObjectKey] = set()
        self._routes: set[tuple[str, ObjectKey]] = set()

    def table(self, name: str) -> dict[Any, Any]:
        if name not in self.changes:
            self.changes[name] = dict(getattr(self._old, name))
        table: dict[Any, Any] = self.changes[name]
        return table

    def see(self, revision: str) -> None:
        current = self.changes.get("revision", self._old.revision)
        if revision and _number(revision) >= _number(current):
            self.changes["revision"] = revision

    def replace(self, event: KindReplaced) -> None:
        name = TABLES[event.kind]
        known = set(self.changes.get(name, getattr(self._old, name)))
        known = {("", key) if isinstance(key, str) else key for key in known}
        known |= {key for kind, key in self.changes.get("undecodable", self._old.undecodable) if kind == event.kind}
        for key in known - event.objects.keys():
            self.set_object(event.kind, key, None)
        for key, new in event.objects.items():
            self.set_object(event.kind, key, new)

    def set_object(self, kind: str, key: ObjectKey, new: ApiObject | Diagnostic | None) -> None:
        self._set_diagnostic((kind, key), new if isinstance(new, Diagnostic) else None)
        obj = None if isinstance(new, Diagnostic) else new
        name = TABLES[kind]
        at: Any = key[1] if kind == "Node" else key
        old = self.changes.get(name, getattr(self._old, name)).get(at)
        if old == obj:
            return
        table = self.table(name)
        if obj is None:
            del table[at]
        else:
            table[at] = obj
        if kind == "Service":
            self._services.add(key)
        elif kind == "EndpointSlice":
            self._move_slice(old, obj)
        elif kind in ROUTES:
            self._routes.add((kind, key))

    def _set_diagnostic(self, at: tuple[str, ObjectKey], new: Diagnostic | None) -> None:
        if self.changes.get("undecodable", self._old.undecodable).get(at) == new:
            return
        table = self.table("undecodable")
        if new is None:
            del table[at]
        else:
            table[at] = new

    def _move_slice(self, old: EndpointSlice | None, new: Any) -> None:
        index = self.table("slices_of")
        for each, present in ((old, False), (new, True)):
            if each is None or each.service is None:
                continue
            name = each.metadata.name
            rest = [other for other in index.get(each.service, ()) if other.metadata.name != name]
            if present:
                rest.append(each)
            if rest:
                index[each.service] = tuple(sorted(rest, key=lambda other: other.metadata.name))
            else:
                index.pop(each.service, None)
            self._services.add(each.service)

    def finish(self) -> Snapshot:
        # An unchanged value keeps its identity: readers compare tables by it.
        small = ("interfaces", "unreachable", "attachments", "revision")
        changes = {
            name: value
            for name, value in self.changes.items()
            if name not in small or value != getattr(self._old, name)
        }
        if not changes:
            return self._old
        steps = (*self._old.steps, Step(self._old.token, frozenset(self._services), frozenset(self._routes)))
        steps = steps[-_REMEMBERED:]
        fields = {name: getattr(self._old, name) for name in self._old.__struct_fields__ if name != "token"}
        return Snapshot(**(fields | changes | {"steps": steps}))


def _number(revision: str) -> int:
    """Return a resourceVersion as a number to order it by; the API calls it opaque, so what is no number orders first."""
    return int(revision) if revision.isdecimal() else 0
