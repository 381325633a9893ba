"""References to ConfigMaps with CA certificates and the like: which are meant, and whom the proxy believes for them. Pure.

Source: FrontendTLSValidation.caCertificateRefs of the Gateway API v1; `clientValidation.crl` of Envoy Gateway's ClientTrafficPolicy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from fairlead.api.clienttraffic import RevocationLists
from fairlead.api.gateway import ConfigMapRef, ObjectRef
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway.grants import From, Grants
from fairlead.model.gateway.ingress_references import configmaps
from fairlead.model.gateway.names import kind_name
from fairlead.model.gateway.values import RuleError, bounded
from fairlead.plan.gateway.trust import Bundle, GatewayTrust
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

FALLBACK = "AllowInsecureFallback"
"""`mode` in which clients that are not known are let in all the same."""


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Lists of certificates that are not believed any more."""

    lists: tuple[ObjectKey, ...] = ()
    """ConfigMaps that can be used."""
    leaf_only: bool = False
    """Whether those of the authorities between are not asked about."""
    problem: str = ""
    """What is wrong with the first bad reference; then nobody is believed."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some references."""

    bundles: tuple[ObjectKey, ...] = ()
    """ConfigMaps that can be used, in the order of the references."""
    reason: str = ""
    """`InvalidCACertificateRef`, `InvalidCACertificateKind` or `RefNotPermitted`: what is wrong with the first bad reference."""
    problem: str = ""
    revocation: Revocation = Revocation()

    @property
    def name(self) -> str:
        """Return the name of its row; empty when there is none."""
        if not self.bundles:
            return ""
        parts = [_names("ca", self.bundles)]
        if lists := self.revocation.lists:
            parts.append(_names("leaf-crl" if self.revocation.leaf_only else "crl", lists))
        return ";".join(parts)

    def row(self, known: Mapping[ObjectKey, TrustMaterial]) -> GatewayTrust:
        """Return its row. It must have bundles."""
        found = (known[key].revoked for key in self.revocation.lists)
        revoked = "".join(each.pem for each in found if each is not None)
        return GatewayTrust(
            name=self.name,
            bundle=Bundle("".join(known[key].pem for key in self.bundles)),
            revoked=Bundle(revoked) if revoked else None,
            leaf_only=self.revocation.leaf_only,
        )


def revocation(
    wanted: RevocationLists, namespace: str, field: str, known: Mapping[ObjectKey, TrustMaterial]
) -> Revocation:
    """Return the lists that a policy of a namespace wants; raises RuleError for references that could never be good."""
    lists: list[ObjectKey] = []
    problem = "" if wanted.refs else f"{field}.refs: at least one ConfigMap is needed"
    for at, ref in enumerate(bounded(wanted.refs, f"{field}.refs")):
        place = f"{field}.refs[{at}]"
        where = own(ref, namespace, place)
        found = known.get(where)
        if found is None:
            problem = problem or f"{place}: there is no ConfigMap {'/'.join(where)}"
        elif found.revoked is None:
            problem = problem or f"{place}: ConfigMap {'/'.join(where)}: {found.revoked_problem}"
        elif where not in lists:
            lists.append(where)
    return Revocation(lists=tuple(lists), leaf_only=wanted.only_verify_leaf_certificate, problem=problem)


def own(ref: ObjectRef, namespace: str, field: str) -> ObjectKey:
    """Return the ConfigMap of a namespace that a reference of that namespace means; raises RuleError for anything else."""
    if not _is_configmap(ref) or ref.namespace not in (None, "", namespace):
        raise RuleError(f"{field}: must be a ConfigMap of the policy's namespace")
    return namespace, ref.name


def _names(kind: str, keys: Iterable[ObjectKey]) -> str:
    return f"{kind}/" + ",".join("/".join(key) for key in keys)


def resolve(
    refs: Sequence[ObjectRef], field: str, source: From, known: Mapping[ObjectKey, TrustMaterial], grants: Grants
) -> Trust:
    """Return whom references lead to believe; `source` is who refers (group, kind, namespace), `field` where."""
    usable: list[ObjectKey] = []
    wrong: list[tuple[str, str]] = []
    for at, ref in enumerate(refs):
        place = f"{field}[{at}]"
        where = (ref.namespace or source[2], ref.name)
        found = known.get(where)
        if not _is_configmap(ref):
            kind = kind_name(ref.group, ref.kind)
            wrong.append(
                ("InvalidCACertificateKind", f"{place}: {kind} is no kind of CA certificates; use a ConfigMap")
            )
        elif not grants.permit(source, "", "ConfigMap", *where):
            wrong.append(("RefNotPermitted", f"{place}: no ReferenceGrant in namespace {where[0]} permits it"))
        elif found is None:
            wrong.append(("InvalidCACertificateRef", f"{place}: there is no ConfigMap {'/'.join(where)}"))
        elif found.problem:
            wrong.append(("InvalidCACertificateRef", f"{place}: ConfigMap {'/'.join(where)}: {found.problem}"))
        elif where not in usable:
            usable.append(where)
    reason, problem = wrong[0] if wrong else ("", "")
    return Trust(bundles=tuple(usable), reason=reason, problem=problem)


def _is_configmap(ref: ObjectRef) -> bool:
    return (ref.group, ref.kind) in (("", "ConfigMap"), ("core", "ConfigMap"))


def _of_gateways(snapshot: Snapshot) -> Iterator[tuple[str, ObjectRef]]:
    for key, gateway in snapshot.gateways.items():
        for each in gateway.spec.validations:
            yield from ((key[0], ref) for ref in each.ca_certificate_refs)


def _of_backends(snapshot: Snapshot) -> Iterator[tuple[str, ObjectRef]]:
    for key, policy in snapshot.backend_tls_policies.items():
        yield from ((key[0], ref) for ref in policy.spec.validation.ca_certificate_refs or ())


def _of_security_policies(snapshot: Snapshot) -> Iterator[tuple[str, ObjectRef]]:
    for (namespace, _), policy in snapshot.security_policies.items():
        for each in policy.spec.jwt.providers if policy.spec.jwt is not None else ():
            if each.local_jwks is not None and (ref := each.local_jwks.value_ref) is not None:
                yield namespace, ref


def _of_client_policies(snapshot: Snapshot) -> Iterator[tuple[str, ObjectRef]]:
    for (namespace, _), policy in snapshot.client_traffic_policies.items():
        if (wanted := policy.spec.revocation) is not None:
            yield from ((namespace, ref) for ref in wanted.refs)


def _of_ingresses(snapshot: Snapshot) -> Iterator[tuple[str, ObjectRef]]:
    for namespace, name in configmaps(snapshot.ingresses):
        yield namespace, ConfigMapRef(name=name)


SOURCES: Mapping[str, Callable[[Snapshot], Iterable[tuple[str, ObjectRef]]]] = {
    "Gateway": _of_gateways,
    "BackendTLSPolicy": _of_backends,
    "SecurityPolicy": _of_security_policies,
    "ClientTrafficPolicy": _of_client_policies,
    "Ingress": _of_ingresses,
}
"""Kind → who of it refers to ConfigMaps: (namespace of who refers, reference)."""


def wanted(snapshot: Snapshot) -> frozenset[ObjectKey]:
    """Return the ConfigMaps that anybody refers to. Costs time proportional to those who may."""
    return frozenset(
        (ref.namespace or namespace, ref.name)
        for refs in SOURCES.values()
        for namespace, ref in refs(snapshot)
        if _is_configmap(ref)
    )
