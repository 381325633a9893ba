"""The built-in kinds that the API server serves, with the names and subresources that discovery tells clients.

This table decides what exists; it must never hold behavior (see `strategy`) and never load schemas: it is imported at start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.api import resources as r
from fairlead.api.resources import Resource

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
"""The verbs of an ordinary kind, in the order in which discovery lists them."""

_ADMISSION = "admissionregistration.k8s.io"
_STORAGE = "storage.k8s.io"


@dataclass(frozen=True, slots=True)
class Kind:
    """One served kind.

    `subresources` are the names below an object (`status`, `scale`, `log`, …). `storage_alias` is the resource in whose place
    objects are kept when two groups serve the same objects (events); None means its own.
    """

    resource: Resource
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = VERBS
    storage_alias: Resource | None = None

    @property
    def storage(self) -> Resource:
        """Return the resource under which objects of this kind are kept."""
        return self.storage_alias or self.resource

    @property
    def has_status(self) -> bool:
        """Tell whether status is written apart, so that main writes leave it alone."""
        return "status" in self.subresources


def _kind(
    resource: Resource,
    short: str = "",
    *,
    sub: str = "",
    categories: Iterable[str] = (),
    verbs: tuple[str, ...] = VERBS,
    storage_alias: Resource | None = None,
) -> Kind:
    return Kind(
        resource=resource,
        singular=resource.kind.lower(),
        short_names=tuple(short.split()),
        categories=tuple(categories),
        subresources=frozenset(sub.split()),
        verbs=verbs,
        storage_alias=storage_alias,
    )


_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)
_WITHOUT_COLLECTION = tuple(verb for verb in VERBS if verb != "deletecollection")

KINDS: tuple[Kind, ...] = (
    _kind(
        r.PODS,
        "po",
        sub="status log exec attach portforward proxy eviction binding ephemeralcontainers resize",
        categories=_ALL,
    ),
    _kind(r.SERVICES, "svc", sub="status proxy", categories=_ALL),
    _kind(r.NODES, "no", sub="status proxy"),
    _kind(r.NAMESPACES, "ns", sub="status finalize", verbs=_WITHOUT_COLLECTION),
    _kind(r.ENDPOINTS, "ep"),
    _kind(r.EVENTS, "ev"),
    _kind(r.CONFIGMAPS, "cm"),
    _kind(r.SECRETS),
    _kind(r.SERVICEACCOUNTS, "sa", sub="token"),
    _kind(r.PERSISTENTVOLUMECLAIMS, "pvc", sub="status"),
    _kind(r.PERSISTENTVOLUMES, "pv", sub="status"),
    _kind(r.REPLICATIONCONTROLLERS, "rc", sub="status scale", categories=_ALL),
    _kind(r.LIMITRANGES, "limits"),
    _kind(r.RESOURCEQUOTAS, "quota", sub="status"),
    _kind(r.PODTEMPLATES),
    _kind(r.DEPLOYMENTS, "deploy", sub="status scale", categories=_ALL),
    _kind(r.REPLICASETS, "rs", sub="status scale", categories=_ALL),
    _kind(r.STATEFULSETS, "sts", sub="status scale", categories=_ALL),
    _kind(r.DAEMONSETS, "ds", sub="status", categories=_ALL),
    _kind(r.CONTROLLERREVISIONS),
    _kind(r.JOBS, sub="status", categories=_ALL),
    _kind(r.CRONJOBS, "cj", sub="status", categories=_ALL),
    _kind(r.ENDPOINTSLICES),
    _kind(r.NETWORKPOLICIES, "netpol"),
    _kind(r.INGRESSES, "ing", sub="status"),
    _kind(r.INGRESSCLASSES),
    _kind(Resource("networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False), "ip"),
    _kind(Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False), sub="status"),
    _kind(r.LEASES),
    _kind(r.EVENTS_V1, "ev", storage_alias=r.EVENTS),
    _kind(r.PODDISRUPTIONBUDGETS, "pdb", sub="status"),
    _kind(r.ROLES),
    _kind(r.ROLEBINDINGS),
    _kind(r.CLUSTERROLES),
    _kind(r.CLUSTERROLEBINDINGS),
    _kind(r.STORAGECLASSES, "sc"),
    _kind(Resource(_STORAGE, "v1", "csidrivers", "CSIDriver", namespaced=False)),
    _kind(Resource(_STORAGE, "v1", "csinodes", "CSINode", namespaced=False)),
    _kind(Resource(_STORAGE, "v1", "volumeattachments", "VolumeAttachment", namespaced=False), sub="status"),
    _kind(r.PRIORITYCLASSES, "pc"),
    _kind(Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)),
    _kind(r.HPAS, "hpa", sub="status", categories=_ALL),
    _kind(r.HPAS_V1, "hpa", sub="status", categories=_ALL, storage_alias=r.HPAS),
    _kind(r.CERTIFICATESIGNINGREQUESTS, "csr", sub="status approval"),
    _kind(r.CRDS, "crd crds", sub="status", categories=_EXTENSIONS),
    *(
        _kind(Resource(_ADMISSION, "v1", plural, kind, namespaced=False), sub=sub, categories=_EXTENSIONS)
        for plural, kind, sub in (
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", ""),
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", ""),
            ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", "status"),
            ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", ""),
        )
    ),
)
"""Every built-in kind served. Authentication and authorization reviews are no stored kinds and live with the server core."""

_BY_RESOURCE: dict[tuple[str, str, str], Kind] = {
    (kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS
}
_BY_KIND: dict[tuple[str, str], Kind] = {(kind.resource.api_version, kind.resource.kind): kind for kind in KINDS}


def by_plural(group: str, version: str, plural: str) -> Kind | None:
    """Return the kind served at group, version and plural name, or None."""
    return _BY_RESOURCE.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Kind | None:
    """Return the kind that manifests call `apiVersion` and `kind`, or None."""
    return _BY_KIND.get((api_version, kind))
