"""gateway.networking.k8s.io/v1: GatewayClass, Gateway and ReferenceGrant, and what its routes have in common.

Tolerant by intent: what is unknown here is ignored, and what an enumeration does not know is the reader's business. Defaults are those of
the definitions' schemas, so that objects from files mean what they mean in a cluster.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from fairlead.api.meta import ObjectMeta
from fairlead.api.selector import Selector

GROUP = "gateway.networking.k8s.io"


class RouteMeta(ObjectMeta, frozen=True, kw_only=True, rename="camel", gc=False):
    """Metadata of objects that compete by age."""

    creation_timestamp: str = ""
    annotations: Mapping[str, str] | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`parametersRef`: an object with settings of one implementation alone."""

    group: str
    kind: str
    name: str
    namespace: str | None = None


class GatewayClassSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a GatewayClass."""

    controller_name: str
    parameters_ref: Parameters | None = None


class GatewayClass(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whose the Gateways of a class are."""

    metadata: RouteMeta
    spec: GatewayClassSpec


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reference to a Secret or ConfigMap, in the referring object's namespace where none is named."""

    name: str
    group: str = ""
    kind: str = "Secret"
    namespace: str | None = None


class ConfigMapRef(ObjectRef, frozen=True, kw_only=True, gc=False):
    """A reference to a ConfigMap where nothing else is said."""

    kind: str = "ConfigMap"


class ListenerTls(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`tls` of a listener."""

    mode: str = "Terminate"
    certificate_refs: tuple[ObjectRef, ...] | None = None


class RouteNamespaces(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """From which namespaces routes may attach."""

    source: str = msgspec.field(default="Same", name="from")
    selector: Selector | None = None


class RouteKind(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A kind of route that a listener takes."""

    kind: str
    group: str = GROUP


class AllowedRoutes(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] | None = None


class Listener(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.listeners`."""

    name: str
    port: int
    protocol: str
    hostname: str | None = None
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address that is asked for."""

    value: str = ""
    type: str = "IPAddress"


class Infrastructure(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What the objects that a Gateway causes carry."""

    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    parameters_ref: Parameters | None = None


class ClientValidation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`validation` of a frontend: whose certificates clients must show."""

    ca_certificate_refs: tuple[ObjectRef, ...] = ()
    mode: str = "AllowValidOnly"


class FrontendTls(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds for connections of clients."""

    validation: ClientValidation | None = None


class PortTls(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The same for one port."""

    port: int
    tls: FrontendTls = FrontendTls()


class Frontend(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`tls.frontend`."""

    default: FrontendTls = FrontendTls()
    per_port: tuple[PortTls, ...] | None = None


class BackendClient(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`tls.backend`: by what the Gateway is known to backends."""

    client_certificate_ref: ObjectRef | None = None


class GatewayTls(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`tls` of a Gateway."""

    frontend: Frontend | None = None
    backend: BackendClient | None = None


class ListenerNamespaces(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """From which namespaces ListenerSets may add listeners."""

    source: str = msgspec.field(default="None", name="from")
    selector: Selector | None = None


class AllowedListeners(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which ListenerSets may attach to a Gateway."""

    namespaces: ListenerNamespaces = ListenerNamespaces()


class GatewaySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a Gateway."""

    gateway_class_name: str
    listeners: tuple[Listener, ...] = ()
    addresses: tuple[GatewayAddress, ...] | None = None
    infrastructure: Infrastructure | None = None
    tls: GatewayTls | None = None
    allowed_listeners: AllowedListeners = AllowedListeners()

    @property
    def static_addresses(self) -> tuple[str, ...]:
        """Return the addresses that are asked for by value, in canonical form; none: whatever there is."""
        return tuple(_canonical(each.value) for each in self.addresses or () if each.type == "IPAddress" and each.value)

    def validation(self, port: int) -> ClientValidation | None:
        """Return how clients of a port are known by certificates; None: they need none. What is said for a port replaces the default."""
        frontend = self.tls.frontend if self.tls else None
        if frontend is None:
            return None
        own = next((each.tls for each in frontend.per_port or () if each.port == port), frontend.default)
        return own.validation

    @property
    def validations(self) -> tuple[ClientValidation, ...]:
        """Return all that is said about clients' certificates, whatever the port."""
        frontend = self.tls.frontend if self.tls else None
        if frontend is None:
            return ()
        said = (frontend.default.validation, *(each.tls.validation for each in frontend.per_port or ()))
        return tuple(each for each in said if each is not None)


class Gateway(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where traffic enters."""

    metadata: RouteMeta
    spec: GatewaySpec


def _canonical(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


class ParentRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What a route attaches to."""

    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str | None = None
    section_name: str | None = None
    port: int | None = None


class BackendRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where requests go."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str | None = None
    port: int | None = None
    weight: int = 1


class GrantFrom(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who may refer."""

    group: str
    kind: str
    namespace: str


class GrantTo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """To what; without a name to all of the kind."""

    group: str
    kind: str
    name: str | None = None


class ReferenceGrantSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of a ReferenceGrant."""

    sources: tuple[GrantFrom, ...] = msgspec.field(default=(), name="from")
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Consent of a namespace to references from others."""

    metadata: ObjectMeta
    spec: ReferenceGrantSpec = ReferenceGrantSpec()
