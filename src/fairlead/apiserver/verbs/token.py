"""The token subresource of ServiceAccounts: a token for whoever may ask for one.

Source: authentication.k8s.io/v1 TokenRequest and its storage.
"""

from __future__ import annotations

from fairlead.api.resources import NODES, PODS, SECRETS, Resource
from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.authn.tokens import ISSUER, MOST_LIFETIME_S, Bound
from fairlead.apiserver.errors import bad_request, conflict, invalid, not_found
from fairlead.apiserver.store.records import Entry

_DEFAULT_S = 3600
_LEAST_S = 600
_KINDS: dict[str, tuple[Resource, str]] = {
    "Pod": (PODS, "pods"),
    "Secret": (SECRETS, "secrets"),
    "Node": (NODES, "nodes"),
}


async def request(api: Api, call: Call, obj: Json) -> Json:
    """Return the TokenRequest with its token; raises StatusError."""
    namespace, name = call.namespace, call.info.name
    spec = _checked(obj)
    attributes = Attributes(
        operation="CREATE",
        served=call.served,
        namespace=namespace,
        name=name,
        subresource="token",
        obj=obj | {"spec": spec},
        old=None,
        identity=call.identity,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )
    await run(api.admission.mutating, attributes)
    await run(api.admission.validating, attributes)
    account = api.store.get("serviceaccounts", namespace, name)
    if account is None:
        raise not_found(call.served.resource, name)
    bound = _bound(api, namespace, name, spec.get("boundObjectRef"))
    audiences = spec.get("audiences") or [ISSUER]
    token, expires = api.tokens.issue(
        account.obj, audiences=audiences, lifetime_s=spec["expirationSeconds"], bound=bound
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp()},
        "spec": spec | {"audiences": audiences},
        "status": {"token": "" if call.dry_run else token, "expirationTimestamp": timestamp(expires)},
    }


def _checked(obj: Json) -> Json:
    spec = obj.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request('TokenRequest in version "v1" cannot be handled as a TokenRequest: spec must be an object')
    audiences, seconds, ref = spec.get("audiences") or [], spec.get("expirationSeconds"), spec.get("boundObjectRef")
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise bad_request("TokenRequest: spec.audiences must be a list of strings")
    if ref is not None and not (isinstance(ref, dict) and all(isinstance(value, str) for value in ref.values())):
        raise bad_request("TokenRequest: spec.boundObjectRef must be an object of strings")
    seconds = _DEFAULT_S if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise bad_request("TokenRequest: spec.expirationSeconds must be an integer")
    problem = ""
    if seconds < _LEAST_S:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > MOST_LIFETIME_S:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        message = f"Invalid value: {seconds}: {problem}"
        cause = ("spec.expirationSeconds", "FieldValueInvalid", message)
        raise invalid("TokenRequest", "authentication.k8s.io", "", [cause])
    return {**spec, "audiences": audiences, "expirationSeconds": seconds}


def _bound(api: Api, namespace: str, account: str, ref: Json | None) -> list[Bound]:
    if not ref:
        return []
    kind, name = ref.get("kind") or "", ref.get("name") or ""
    if ref.get("apiVersion") not in ("v1", "", None) or kind not in _KINDS:
        group, _, version = (ref.get("apiVersion") or "").rpartition("/")
        raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
    resource, table = _KINDS[kind]
    entry = api.store.get(table, namespace if resource.namespaced else "", name)
    if entry is None:
        raise not_found(resource, name)
    uid, given = entry.obj["metadata"]["uid"], ref.get("uid")
    if given and given != uid:
        why = f"the UID in the bound object reference ({given}) does not match the UID in record. "
        why += "The object might have been deleted and then recreated"
        raise conflict(resource, name, why)
    bounds = [Bound(kind.lower(), name, uid)]
    if kind == "Pod":
        bounds += _pod(api, account, entry)
    return bounds


def _pod(api: Api, account: str, pod: Entry) -> list[Bound]:
    spec = pod.obj.get("spec") or {}
    runs_as = spec.get("serviceAccountName") or ""
    if runs_as != account:
        message = f'cannot bind token for serviceaccount "{account}" to pod running with serviceaccount "{runs_as}"'
        raise bad_request(message)
    node = api.store.get("nodes", "", spec.get("nodeName") or "")
    if node is None:
        return []
    return [Bound("node", node.key[1], node.obj["metadata"]["uid"])]
