"""The life of a namespace: what it brings along, and that nothing is created in one that is absent or on its way out.

Source: the NamespaceLifecycle admission plugin; the root-ca-cert-publisher and serviceaccounts controllers.
"""

from __future__ import annotations

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api, Json, timestamp
from fairlead.apiserver.errors import failure, forbidden
from fairlead.apiserver.metadata import new_uid
from fairlead.apiserver.store.records import Op

SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease")
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_ROOT_CA = "kube-root-ca.crt"
COMPANIONS = frozenset({("serviceaccounts", "default"), ("configmaps", _ROOT_CA)})
"""Table and name of the objects that every namespace holds."""


def protect() -> Plugin:
    """Return the admission function that keeps the namespaces without which nothing works."""

    def check(attributes: Attributes) -> None:
        if (
            attributes.operation == "DELETE"
            and attributes.served.table == "namespaces"
            and attributes.name in _IMMORTAL
        ):
            raise forbidden(attributes.served.resource, attributes.name, "this namespace may not be deleted")

    return check


def lifecycle(api: Api) -> Plugin:
    """Return the admission function that refuses new objects in a namespace that is absent or terminating."""

    def check(attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or not attributes.served.resource.namespaced:
            return
        namespace = api.store.latest("namespaces", "", attributes.namespace)
        if namespace is None:
            details = {"name": attributes.namespace, "kind": "namespaces"}
            raise failure(404, "NotFound", f'namespaces "{attributes.namespace}" not found', details)
        if "deletionTimestamp" in namespace.obj["metadata"]:
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {attributes.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
            raise forbidden(attributes.served.resource, attributes.name, why, [cause])

    return check


def companions_of_namespace(api: Api, name: str) -> list[Op]:
    """Return the writes of the objects that a new namespace holds: ServiceAccount `default`, the root certificate."""
    account: Json = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": _metadata("default", name)}
    config: Json = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": _metadata(_ROOT_CA, name)
        | {
            "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
                "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed "
                "across distributions of Kubernetes clusters."
            }
        },
        "data": {"ca.crt": api.ca_certificate},
    }
    return [
        Op(table, (name, obj["metadata"]["name"]), obj, None)
        for table, obj in (("serviceaccounts", account), ("configmaps", config))
        if api.store.latest(table, name, obj["metadata"]["name"]) is None
    ]


async def restore_companions(api: Api) -> None:
    """Create the companions that living namespaces have lost."""
    for entry in api.store.latest_entries("namespaces"):
        if "deletionTimestamp" not in entry.obj["metadata"] and (missing := companions_of_namespace(api, entry.key[1])):
            await api.store.write(*missing)


def _metadata(name: str, namespace: str) -> Json:
    return {"name": name, "namespace": namespace, "uid": new_uid(), "creationTimestamp": timestamp()}
