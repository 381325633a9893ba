"""BackendTLSPolicies as what the proxy asks of backends. Pure.

A policy that cannot be honored is never left out: what it is attached to gets no requests (500), as plain text would be what it forbids.
"""

from __future__ import annotations

from fairlead.api.backendtls import BackendTLSPolicy, BackendValidation
from fairlead.api.gateway import GROUP
from fairlead.model.gateway.attachment import PolicyKind, Reading
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.listeners import Verdict
from fairlead.model.gateway.trust import resolve
from fairlead.model.gateway.values import is_hostname
from fairlead.plan.gateway.cluster import BackendTls
from fairlead.plan.gateway.trust import GatewayTrust
from fairlead.world.snapshot import Snapshot

_LONGEST_URI = 253
_MOST_NAMES = 16
_FIELD = "spec.validation"


def read(policy: BackendTLSPolicy, snapshot: Snapshot) -> Reading:
    """Return what a policy means as (`BackendTls`, `GatewayTrust` or None)."""
    spec = policy.spec
    validation = spec.validation
    if spec.options:
        return _invalid(f"spec.options: {', '.join(sorted(spec.options))[:256]}: no option is supported")
    if not is_hostname(validation.hostname) or "*" in validation.hostname:
        return _invalid(f"{_FIELD}.hostname: {validation.hostname[:64]!r} is no host name")
    try:
        names = _names(validation)
    except ValueError as error:
        return _invalid(str(error))
    refs = validation.ca_certificate_refs or ()
    well_known = validation.well_known_ca_certificates
    if refs and well_known:
        return _invalid(f"{_FIELD}: caCertificateRefs and wellKnownCACertificates exclude each other")
    if well_known:
        if well_known != "System":
            return _invalid(f"{_FIELD}.wellKnownCACertificates: {well_known[:64]} is not supported; use System")
        tls = BackendTls(server_name=validation.hostname, names=names)
        return Reading((tls, None), resolved=Verdict())
    source = (GROUP, "BackendTLSPolicy", policy.metadata.namespace)
    trust = resolve(refs, f"{_FIELD}.caCertificateRefs", source, snapshot.trust_material, Grants({}))
    reason = "InvalidKind" if trust.reason == "InvalidCACertificateKind" else trust.reason
    resolved = Verdict(reason, trust.problem)
    if not trust.bundles:
        problem = trust.problem or f"{_FIELD}: caCertificateRefs or wellKnownCACertificates is needed"
        return Reading(accepted=Verdict("NoValidCACertificate", problem), resolved=resolved)
    row: GatewayTrust = trust.row(snapshot.trust_material)
    tls = BackendTls(server_name=validation.hostname, names=names, trust=row.name)
    return Reading((tls, row), resolved=resolved)


KIND = PolicyKind(
    kind="BackendTLSPolicy",
    table="backend_tls_policies",
    targets=frozenset((("", "Service"),)),
    read=read,
    reads=("trust_material",),
    own=False,
)


def _invalid(problem: str) -> Reading:
    return Reading(accepted=Verdict("Invalid", problem), resolved=Verdict())


def _names(validation: BackendValidation) -> tuple[str, ...]:
    found = []
    if len(validation.subject_alt_names or ()) > _MOST_NAMES:
        raise ValueError(f"{_FIELD}.subjectAltNames: has at most {_MOST_NAMES} names")
    for at, each in enumerate(validation.subject_alt_names or ()):
        field = f"{_FIELD}.subjectAltNames[{at}]"
        if each.type == "Hostname":
            if not is_hostname(each.hostname):
                raise ValueError(f"{field}.hostname: {each.hostname[:64]!r} is no host name")
            found.append(f"DNS:{each.hostname}")
        elif each.type == "URI":
            if not each.uri or len(each.uri) > _LONGEST_URI:
                raise ValueError(f"{field}.uri: has 1 to {_LONGEST_URI} characters")
            found.append(f"URI:{each.uri}")
        else:
            raise ValueError(f"{field}.type: {each.type} is not supported")
    return tuple(found) or (f"DNS:{validation.hostname}",)
