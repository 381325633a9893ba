"""What policies have in common that attach to objects of their own namespace: `spec.targetRefs` (GEP-713, GEP-2648)."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import RouteMeta


class PolicyTargetRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """An object, or a named part of it, that a policy is attached to."""

    name: str
    group: str = ""
    kind: str = "Service"
    section_name: str | None = None
    """A listener of a Gateway or ListenerSet, a rule of a route, a port of a Service; none: all of it."""


class GovernedSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What every `spec` has."""

    target_refs: tuple[PolicyTargetRef, ...] = ()


class Governed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A policy of any kind, as far as where it is attached."""

    metadata: RouteMeta
    spec: GovernedSpec
