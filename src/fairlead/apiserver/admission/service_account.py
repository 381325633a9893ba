"""A pod's account, and how its containers find the account's token.

Source: the ServiceAccount admission plugin.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.admission.chain import Attributes
from fairlead.apiserver.api import Api
from fairlead.apiserver.errors import forbidden
from fairlead.apiserver.metadata import generate_name

Json = dict[str, Any]

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
_VOLUME = "kube-api-access-"
_LIFETIME_S = 3607
"""Upstream's: an odd hour, by which tokens of this volume are told from others."""


def set_account(api: Api, attributes: Attributes, spec: Json) -> None:
    """Set the account of a new pod and mount its token; raises 403 where there is no such account."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    account = api.store.latest("serviceaccounts", attributes.namespace, name)
    if account is None:
        why = f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden(attributes.served.resource, attributes.name, why)
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if not spec.get("imagePullSecrets") and account.obj.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(one) for one in account.obj["imagePullSecrets"]]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.obj.get("automountServiceAccountToken")
    if wanted is not False:
        _mount(spec)


def _mount(spec: Json) -> None:
    containers = [
        container
        for field in ("initContainers", "containers")
        for container in spec.get(field) or ()
        if isinstance(container, dict)
        and not any(
            isinstance(one, dict) and one.get("mountPath") == TOKEN_FOLDER
            for one in container.get("volumeMounts") or ()
        )
    ]
    if not containers:
        return
    volumes = [*(spec.get("volumes") or ())]
    present = {one.get("name") for one in volumes if isinstance(one, dict)}
    # A volume of ours comes along when a pod is made from the specification of another.
    name = next((str(one) for one in present if str(one).startswith(_VOLUME)), "") or generate_name(_VOLUME)
    for container in containers:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_FOLDER}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
    if name not in present:
        spec["volumes"] = [*volumes, {"name": name, "projected": _projected()}]


def _projected() -> Json:
    reference = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _LIFETIME_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": reference}]}},
        ],
        "defaultMode": 420,
    }
