"""gateway.networking.k8s.io/v1 BackendTLSPolicy: that a Service is spoken to with TLS, and by what it is known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.api.gateway import ObjectRef, RouteMeta
from fairlead.api.policytarget import PolicyTargetRef


class SubjectAltName(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A name of which the backend's certificate must have one."""

    type: str
    """`Hostname` or `URI`."""
    hostname: str = ""
    uri: str = ""


class BackendValidation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`validation`: by what the backend is known."""

    hostname: str
    """The server name that is asked for; without `subject_alt_names` also what the certificate must be for."""
    ca_certificate_refs: tuple[ObjectRef, ...] | None = None
    well_known_ca_certificates: str | None = msgspec.field(default=None, name="wellKnownCACertificates")
    subject_alt_names: tuple[SubjectAltName, ...] | None = None


class BackendTLSPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a BackendTLSPolicy."""

    validation: BackendValidation
    target_refs: tuple[PolicyTargetRef, ...] = ()
    options: Mapping[str, str] | None = None


class BackendTLSPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """TLS to Services or ports of them."""

    metadata: RouteMeta
    spec: BackendTLSPolicySpec
