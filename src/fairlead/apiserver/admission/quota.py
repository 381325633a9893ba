"""ResourceQuotas: a namespace takes no more than its quotas allow.

Usage is counted from the latest accepted objects in the moment of the write, so two writes can never share one place; the status of a quota is
a controller's to fill in. Source: the ResourceQuota admission plugin.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api
from fairlead.apiserver.errors import forbidden
from fairlead.base import quantity, quotas
from fairlead.base.quotas import Amounts

Json = dict[str, Any]

TABLE = "resourcequotas"
_GROWS = frozenset({"services", "persistentvolumeclaims"})
"""What an update may make larger. Pods may be resized, too, through their own subresource."""


def admit_within_quota(api: Api) -> Plugin:
    """Return the admission function. It must run right before the write, with nothing awaited in between."""

    def admit(attributes: Attributes) -> None:
        if not attributes.namespace or attributes.operation == "DELETE" or not _is_charged(attributes):
            return
        table = attributes.served.table
        collection = collection_of_table(table)
        found = [entry.obj for entry in api.store.latest_entries(TABLE, attributes.namespace)]
        for quota in sorted(found, key=lambda quota: str(quota["metadata"]["name"])):
            _admit(api, attributes, quota, collection)

    return admit


def collection_of_table(table: str) -> str:
    """Return how quotas name the objects of a table: `deployments.apps`."""
    group, _, plural = table.rpartition("/")
    return f"{plural}.{group}" if group else plural


def _is_charged(attributes: Attributes) -> bool:
    if attributes.operation == "CREATE":
        return not attributes.subresource
    table = attributes.served.table
    return (table in _GROWS and not attributes.subresource) or (table == "pods" and attributes.subresource == "resize")


def _admit(api: Api, attributes: Attributes, quota: Json, collection: str) -> None:
    hard: Amounts = {
        name: str(amount)
        for name, amount in ((quota.get("spec") or {}).get("hard") or {}).items()
        if quotas.collection_of(name) == collection
    }
    if not hard or not quotas.covers(quota, collection, attributes.obj):
        return
    name = quota["metadata"]["name"]
    if collection == "pods":
        _must_state(attributes, name, hard)
    wanted = {key: amount for key, amount in quotas.charges(collection, attributes.obj).items() if key in hard}
    own = attributes.obj["metadata"].get("uid")
    others = (
        quotas.charges(collection, entry.obj)
        for entry in api.store.latest_entries(attributes.served.table, attributes.namespace)
        if entry.obj["metadata"]["uid"] != own and quotas.covers(quota, collection, entry.obj)
    )
    used = quotas.total(others, hard)
    before = quotas.charges(collection, attributes.old) if attributes.old else {}
    exceeded = [
        key
        for key, amount in sorted(wanted.items())
        if quantity.parse(amount) > quantity.parse(before.get(key, "0"))
        and quantity.parse(used[key]) + quantity.parse(amount) > quantity.parse(hard[key])
    ]
    if exceeded:
        requested, taken, limited = (_listed(amounts, exceeded) for amounts in (wanted, used, hard))
        why = f"exceeded quota: {name}, requested: {requested}, used: {taken}, limited: {limited}"
        raise forbidden(attributes.served.resource, attributes.name, why)


def _listed(amounts: Amounts, names: list[str]) -> str:
    return ",".join(f"{name}={quantity.canonical(amounts[name])}" for name in names)


def _must_state(attributes: Attributes, quota: str, hard: Amounts) -> None:
    """Refuse a pod that leaves open how much of a limited resource it takes."""
    missing = []
    spec = attributes.obj["spec"]
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for name in sorted(hard):
        kind, _, resource = (
            name.rpartition(".") if name.startswith(("requests.", "limits.")) else ("requests", "", name)
        )
        if resource not in quotas.COMPUTE:
            continue
        silent = [
            container["name"]
            for container in containers
            if resource not in ((container.get("resources") or {}).get(kind) or {})
        ]
        if silent:
            missing.append(f"{name} for: {','.join(sorted(silent))}")
    if missing:
        why = f"failed quota: {quota}: must specify {'; '.join(missing)}"
        raise forbidden(attributes.served.resource, attributes.name, why)
