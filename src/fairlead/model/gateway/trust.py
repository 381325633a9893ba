"""References to CA certificates: which ConfigMaps are meant, and whom the proxy believes for them. Pure.

Source: FrontendTLSValidation.caCertificateRefs of the Gateway API v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from fairlead.api.ca_bundle import CaBundle
from fairlead.api.gateway import ObjectRef
from fairlead.model.gateway.grants import From, Grants
from fairlead.plan.gateway.trust import Bundle, GatewayTrust
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

FALLBACK = "AllowInsecureFallback"
"""`mode` in which clients that are not known are let in all the same."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some references."""

    bundles: tuple[ObjectKey, ...] = ()
    """ConfigMaps that can be used, in the order of the references."""
    reason: str = ""
    """`InvalidCACertificateRef`, `InvalidCACertificateKind` or `RefNotPermitted`: what is wrong with the first bad reference."""
    problem: str = ""

    @property
    def name(self) -> str:
        """Return the name of its row; empty when there is none."""
        return "ca/" + ",".join("/".join(key) for key in self.bundles) if self.bundles else ""

    def row(self, known: Mapping[ObjectKey, CaBundle]) -> GatewayTrust:
        """Return its row. It must have bundles."""
        return GatewayTrust(name=self.name, bundle=Bundle("".join(known[key].pem for key in self.bundles)))


def resolve(
    refs: Sequence[ObjectRef], field: str, source: From, known: Mapping[ObjectKey, CaBundle], grants: Grants
) -> Trust:
    """Return whom references lead to believe; `source` is who refers (group, kind, namespace), `field` where."""
    usable: list[ObjectKey] = []
    wrong: list[tuple[str, str]] = []
    for at, ref in enumerate(refs):
        place = f"{field}[{at}]"
        where = (ref.namespace or source[2], ref.name)
        found = known.get(where)
        if not _is_configmap(ref):
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
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


SOURCES: Mapping[str, Callable[[Snapshot], Iterable[tuple[str, ObjectRef]]]] = {
    "Gateway": _of_gateways,
    "BackendTLSPolicy": _of_backends,
}
"""Kind → who of it refers to CA certificates: (namespace of who refers, reference)."""


def wanted(snapshot: Snapshot) -> frozenset[ObjectKey]:
    """Return the ConfigMaps that anybody refers to. Costs time proportional to those who may."""
    return frozenset(
        (ref.namespace or namespace, ref.name)
        for refs in SOURCES.values()
        for namespace, ref in refs(snapshot)
        if _is_configmap(ref)
    )
