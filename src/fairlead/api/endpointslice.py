"""discovery.k8s.io/v1 EndpointSlice, as far as the network reads it."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta

SERVICE_NAME = "kubernetes.io/service-name"
"""Label that names the slice's service."""


class EndpointConditions(msgspec.Struct, frozen=True, gc=False):
    """State of an endpoint; None means unknown."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Named(msgspec.Struct, frozen=True, gc=False):
    """A zone or a node in a hint."""

    name: str


class EndpointHints(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Who should use an endpoint (KEP-2433, KEP-3015)."""

    for_zones: tuple[Named, ...] | None = None
    for_nodes: tuple[Named, ...] | None = None


class TargetRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The object behind an endpoint."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One backend."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None
    hints: EndpointHints | None = None

    @property
    def ready(self) -> bool:
        """Tell whether traffic may be sent: unknown counts as ready (EndpointConditions.ready)."""
        return self.conditions is None or self.conditions.ready is not False

    @property
    def serving_while_terminating(self) -> bool:
        """Tell whether the endpoint is going but still answers (KEP-1669)."""
        state = self.conditions
        return state is not None and state.terminating is True and state.serving is not False


class EndpointPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A port that all endpoints of the slice share; `port` None means all ports."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A part of the endpoints of one service, of one address family."""

    metadata: ObjectMeta
    address_type: str
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service(self) -> tuple[str, str] | None:
        """Return (namespace, name) of the service, None for a slice that belongs to none."""
        name = self.metadata.label(SERVICE_NAME)
        return (self.metadata.namespace, name) if name else None
