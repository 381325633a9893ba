"""What can happen to a world: the only inputs of `fold`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fairlead.api.decode import ApiObject
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.interfaces import Interface
from fairlead.world.attachment import Attachment

ObjectKey: TypeAlias = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""


class ObjectChanged(msgspec.Struct, frozen=True):
    """An object is now like this; None: it is gone; a diagnostic: it cannot be understood and counts as gone."""

    kind: str
    key: ObjectKey
    new: ApiObject | Diagnostic | None
    revision: str = ""
    triggered_s: float | None = None
    """When what led to this happened, as far as the object says, in seconds since the epoch; says nothing about the world."""


class KindReplaced(msgspec.Struct, frozen=True):
    """These are all objects of a kind: what a complete list says."""

    kind: str
    objects: Mapping[ObjectKey, ApiObject | Diagnostic]
    revision: str = ""


class InterfacesObserved(msgspec.Struct, frozen=True):
    """These are the node's own interfaces."""

    interfaces: tuple[Interface, ...]


class ReachabilityObserved(msgspec.Struct, frozen=True):
    """These of the nodes that were asked do not answer, by address."""

    unreachable: frozenset[str]


class AttachmentChanged(msgspec.Struct, frozen=True):
    """A pod's interface was asked for, or (None) is no longer wanted."""

    key: tuple[str, str]
    new: Attachment | None


Event: TypeAlias = ObjectChanged | KindReplaced | InterfacesObserved | ReachabilityObserved | AttachmentChanged
