"""The status of a ResourceQuota from the objects of its namespace. Pure. Source: core/v1 ResourceQuotaStatus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.api.resources import RESOURCEQUOTAS
from fairlead.base import quotas
from fairlead.controllers.actions import Action, Status

Json = dict[str, Any]


def collections_of(quota: Json) -> set[str]:
    """Return the collections whose objects the quota charges."""
    return {quotas.collection_of(name) for name in (quota["spec"].get("hard") or {})}


def reconcile(quota: Json, objects: Mapping[str, Iterable[Json]]) -> list[Action]:
    """Return the write that makes the status true, if one is due; `objects` are those of the namespace by collection."""
    hard = quota["spec"].get("hard") or {}
    found = (
        quotas.charges(collection, obj)
        for collection, members in objects.items()
        for obj in members
        if quotas.covers(quota, collection, obj)
    )
    status = {"hard": hard, "used": quotas.total(found, hard)}
    return [] if status == (quota.get("status") or {}) else [Status(RESOURCEQUOTAS, {**quota, "status": status})]
