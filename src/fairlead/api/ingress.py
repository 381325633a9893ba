"""networking.k8s.io/v1 Ingress and IngressClass, as far as requests depend on them."""

from __future__ import annotations

import msgspec

from fairlead.api.gateway import RouteMeta

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
"""Annotation of the class of Ingresses that name none."""
LEGACY_CLASS = "kubernetes.io/ingress.class"
"""Annotation that named the class before `spec.ingressClassName`."""


class ServiceBackendPort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A port by name or number."""

    name: str | None = None
    number: int | None = None


class IngressServiceBackend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A port of a Service."""

    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where requests go."""

    service: IngressServiceBackend | None = None


class IngressPath(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One path of a rule."""

    backend: IngressBackend
    path: str = "/"
    path_type: str = "ImplementationSpecific"


class IngressPaths(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`http` of a rule."""

    paths: tuple[IngressPath, ...] = ()


class IngressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of `spec.rules`."""

    host: str | None = None
    http: IngressPaths | None = None


class IngressTls(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of `spec.tls`."""

    hosts: tuple[str, ...] | None = None
    secret_name: str | None = None


class IngressSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of an Ingress."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] | None = None
    tls: tuple[IngressTls, ...] | None = None


class Ingress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Requests of HTTP and where they go, the older way."""

    metadata: RouteMeta
    spec: IngressSpec = IngressSpec()


class IngressClassSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of an IngressClass."""

    controller: str = ""


class IngressClass(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whose the Ingresses of a class are."""

    metadata: RouteMeta
    spec: IngressClassSpec = IngressClassSpec()
