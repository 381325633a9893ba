"""Ingresses without a class get the default one. Source: the DefaultIngressClass admission plugin; KEP-1453."""

from __future__ import annotations

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_LEGACY_CLASS = "kubernetes.io/ingress.class"


def set_default_class(api: Api) -> Plugin:
    """Return the admission function. Of several default classes the youngest counts, of those the first by name."""

    def admit(attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or attributes.served.table != "networking.k8s.io/ingresses":
            return
        spec = attributes.obj.setdefault("spec", {})
        annotations = attributes.obj["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or _LEGACY_CLASS in annotations:
            return
        classes = [
            entry.obj["metadata"]
            for entry in api.store.latest_entries("networking.k8s.io/ingressclasses")
            if (entry.obj["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"
        ]
        if classes:
            youngest = max(meta["creationTimestamp"] for meta in classes)
            spec["ingressClassName"] = min(meta["name"] for meta in classes if meta["creationTimestamp"] == youngest)

    return admit
