"""Who owns whom, and what follows from it when an owner goes. Pure.

Objects are known by uid. The rules: an object goes when every owner that it names is gone; it stays while one is left, and then the references
to those that are gone are taken off it. An owner that is deleted in the foreground waits for its dependents; one deleted as `Orphan` first lets
them go. Source: the garbage-collection pages of the Kubernetes documentation, metav1.OwnerReference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api.resources import Resource

Json = dict[str, Any]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Reference:
    """One owner as an object names it."""

    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool
    """The owner's deletion in the foreground waits for the object."""


@dataclass(frozen=True, slots=True)
class Item:
    """What the collector keeps of an object."""

    uid: str
    resource: Resource
    namespace: str
    name: str
    owners: tuple[Reference, ...]
    deleting: bool
    finalizers: frozenset[str]


def item_of(resource: Resource, obj: Json) -> Item:
    """Return what the collector keeps of `obj`."""
    metadata = obj["metadata"]
    return Item(
        uid=metadata["uid"],
        resource=resource,
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        owners=tuple(
            Reference(each["uid"], each["apiVersion"], each["kind"], each["name"], bool(each.get("blockOwnerDeletion")))
            for each in metadata.get("ownerReferences") or ()
        ),
        deleting="deletionTimestamp" in metadata,
        finalizers=frozenset(metadata.get("finalizers") or ()),
    )


Standing = Literal["there", "waiting", "absent", "unknown"]
"""Of an owner: it exists; it exists but waits for its dependents to go; it does not; that cannot be told now."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the object with this propagation."""

    propagation: Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Disown:
    """Take the references to these owners off the object."""

    owners: frozenset[str]


@dataclass(frozen=True, slots=True)
class Finish:
    """Take this finalizer off the object: what it waited for is done."""

    finalizer: str


@dataclass(frozen=True, slots=True)
class Later:
    """Look again in a while: an owner's standing is not known."""


Verdict = Remove | Disown | Finish | Later | None


class Graph:
    """All objects that own or are owned, kept by changes."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        return f"<Graph items={len(self._items)} owners={len(self._dependents)}>"

    def get(self, uid: str) -> Item | None:
        """Return the object."""
        return self._items.get(uid)

    def put(self, item: Item) -> list[str]:
        """Learn of an object; return the uids of the objects to be judged because of it."""
        former = self._items.get(item.uid)
        if former == item:
            return []
        self._items[item.uid] = item
        before = {owner.uid for owner in former.owners} if former else set()
        after = {owner.uid for owner in item.owners}
        for uid in before - after:
            self._unlink(uid, item.uid)
        for uid in after - before:
            self._dependents.setdefault(uid, set()).add(item.uid)
        touched = [item.uid] if item.owners or (item.deleting and item.finalizers & {FOREGROUND, ORPHAN}) else []
        # An owner in the foreground waits for a dependent to let go of it.
        touched += [uid for uid in before - after if self._waits(uid)]
        if item.deleting and FOREGROUND in item.finalizers:
            touched += self._dependents.get(item.uid, ())
        return touched

    def remove(self, uid: str) -> list[str]:
        """Learn that an object is gone; return the uids of the objects to be judged because of it."""
        item = self._items.pop(uid, None)
        touched = list(self._dependents.get(uid, ()))
        if item is not None:
            for owner in item.owners:
                self._unlink(owner.uid, uid)
                if self._waits(owner.uid):
                    touched.append(owner.uid)
        return touched

    def dependents(self, uid: str) -> list[Item]:
        """Return the objects that name `uid` as an owner."""
        return [self._items[each] for each in sorted(self._dependents.get(uid, ())) if each in self._items]

    def items_of(self, resource: Resource) -> list[Item]:
        """Return all objects of one resource; cost: all objects."""
        return [item for item in self._items.values() if item.resource == resource]

    def standing(self, item: Item, owner: Reference, lookup: Callable[[Item, Reference], Standing]) -> Standing:
        """Return the standing of an owner; `lookup` answers for one that is not in the graph."""
        found = self._items.get(owner.uid)
        if found is None or (found.namespace and found.namespace != item.namespace):
            # An owner in another namespace does not count: references cannot cross.
            return lookup(item, owner)
        return "waiting" if found.deleting and FOREGROUND in found.finalizers else "there"

    def judge(self, uid: str, lookup: Callable[[Item, Reference], Standing]) -> Verdict:
        """Return what is to be done with the object now."""
        item = self._items.get(uid)
        if item is None:
            return None
        if item.deleting:
            return self._judge_deleting(item)
        standings = {owner: self.standing(item, owner, lookup) for owner in item.owners}
        if not standings:
            return None
        if "unknown" in standings.values():
            return Later()
        gone = frozenset(owner.uid for owner, standing in standings.items() if standing != "there")
        if "there" in standings.values():
            return Disown(gone) if gone else None
        if "waiting" in standings.values() and self._dependents.get(uid):
            # Its own dependents go before it, as its owner wishes of it.
            return Remove("Foreground")
        if ORPHAN in item.finalizers:
            return Remove("Orphan")
        return Remove("Foreground" if FOREGROUND in item.finalizers else "Background")

    def _judge_deleting(self, item: Item) -> Verdict:
        if ORPHAN in item.finalizers:
            return None if self._dependents.get(item.uid) else Finish(ORPHAN)
        if FOREGROUND in item.finalizers:
            blocking = any(
                owner.uid == item.uid and owner.blocks for each in self.dependents(item.uid) for owner in each.owners
            )
            return None if blocking else Finish(FOREGROUND)
        return None

    def to_orphan(self, uid: str) -> Iterable[Item]:
        """Return the dependents that an object deleted as `Orphan` must still let go."""
        item = self._items.get(uid)
        return self.dependents(uid) if item is not None and item.deleting and ORPHAN in item.finalizers else ()

    def _waits(self, uid: str) -> bool:
        item = self._items.get(uid)
        return item is not None and item.deleting and bool(item.finalizers & {FOREGROUND, ORPHAN})

    def _unlink(self, owner: str, dependent: str) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.discard(dependent)
            if not dependents:
                del self._dependents[owner]
