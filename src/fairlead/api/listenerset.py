"""gateway.networking.k8s.io/v1 ListenerSet: listeners that others than a Gateway's owner add to it (GEP-1713)."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import GROUP, Listener, RouteMeta


class ParentGateway(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The Gateway that the listeners are for, in the set's own namespace where none is named."""

    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str | None = None


class ListenerSetSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a ListenerSet."""

    parent_ref: ParentGateway
    listeners: tuple[Listener, ...] = ()


class ListenerSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Listeners of a Gateway that somebody else than its owner looks after."""

    metadata: RouteMeta
    spec: ListenerSetSpec
