"""gateway.networking.k8s.io/v1 TLSRoute, TCPRoute and UDPRoute: connections and datagrams, and where they go as they are."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import BackendRef, ParentRef, RouteMeta


class ForwardRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The one of `spec.rules`."""

    name: str | None = None
    backend_refs: tuple[BackendRef, ...] | None = None


class ForwardSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a TCPRoute or UDPRoute."""

    parent_refs: tuple[ParentRef, ...] | None = None
    rules: tuple[ForwardRule, ...] | None = None


class TLSRouteSpec(ForwardSpec, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a TLSRoute."""

    hostnames: tuple[str, ...] | None = None
    """Server names (SNI), exact or `*.suffix`."""


class TLSRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Connections of TLS by server name."""

    metadata: RouteMeta
    spec: TLSRouteSpec = TLSRouteSpec()


class TCPRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Connections of a port."""

    metadata: RouteMeta
    spec: ForwardSpec = ForwardSpec()


class UDPRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Datagrams of a port."""

    metadata: RouteMeta
    spec: ForwardSpec = ForwardSpec()
