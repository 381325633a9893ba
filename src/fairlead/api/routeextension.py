"""fairlead.dev/v1alpha1 RouteExtension: what rules of routes can ask for that HTTPRoute has no field for, by a filter of type ExtensionRef."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta


class PatternRewrite(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A new path in place of what a pattern matches of the old one."""

    pattern: str
    """Of RE2's syntax; what it does not match stays."""
    substitution: str
    """With `\\1` to `\\9` for what the pattern's groups matched."""


class ExtensionRetry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """When a request is sent again, beside those that never reached a backend."""

    attempts: int = 1
    codes: tuple[int, ...] = ()
    idempotent_only: bool = False
    """Only requests whose method is idempotent (RFC 9110)."""


class RouteExtensionSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a RouteExtension."""

    rewrite_path: PatternRewrite | None = None
    idle_timeout: str | None = None
    """For how long nothing may come from either side (GEP-2257); 0s: for ever."""
    retry: ExtensionRetry | None = None


class RouteExtension(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a rule's filter says beyond HTTPRoute."""

    metadata: ObjectMeta
    spec: RouteExtensionSpec = RouteExtensionSpec()
