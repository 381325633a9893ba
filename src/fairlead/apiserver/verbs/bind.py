"""What happens to pods from outside: being bound to a node, being evicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.errors import StatusError, bad_request, conflict, invalid, not_found, success, too_many_requests
from fairlead.apiserver.store.records import Entry
from fairlead.apiserver.verbs import delete
from fairlead.apiserver.verbs.update import update
from fairlead.base import selectors

_BUDGETS = "policy/poddisruptionbudgets"


async def bind(api: Api, call: Call, binding: Json) -> Json:
    """Assign a pod to the node that `binding` names; raises 409 when it is assigned or being deleted."""
    target = binding.get("target") or {}
    node = target.get("name") or ""
    name = call.info.name
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        message = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        causes.append(("target.kind", "FieldValueNotSupported", message))
    if not node:
        causes.append(("target.name", "FieldValueRequired", "Required value"))
    if causes:
        raise invalid("Binding", "", name, causes)
    meta: Json = binding.get("metadata") or {}

    def assign(pod: Json) -> Json:
        uid = meta.get("uid")
        if uid and uid != pod["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata']['uid']}"
            raise conflict(call.served.resource, name, why)
        if "deletionTimestamp" in pod["metadata"]:
            raise conflict(call.served.resource, name, f"pod {name} is being deleted, cannot be assigned to a host")
        assigned = pod["spec"].get("nodeName")
        if assigned:
            raise conflict(call.served.resource, name, f'pod {name} is already assigned to node "{assigned}"')
        pod["spec"]["nodeName"] = node
        if meta.get("annotations"):
            pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **meta["annotations"]}
        conditions = [
            one for one in pod.setdefault("status", {}).get("conditions") or () if one["type"] != "PodScheduled"
        ]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
        pod["status"]["conditions"] = [*conditions, scheduled]
        return pod

    await update(api, call, assign, validate=False, tracks=False)
    return success()


async def evict(api: Api, call: Call, eviction: Json) -> Json:
    """Delete a pod unless a disruption budget forbids; raises 429."""
    name = call.info.name
    given = (eviction.get("metadata") or {}).get("name")
    if given and given != name:
        raise bad_request(f"name in URL does not match name in Eviction object: {name} does not match {given}")
    entry = api.store.latest("pods", call.namespace, name)
    if entry is None:
        raise not_found(call.served.resource, name)
    wanted = delete.options(eviction.get("deleteOptions") or {}, {})
    finished = (entry.obj.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending")
    if not finished and "deletionTimestamp" not in entry.obj["metadata"]:
        await _spend_budget(api, call, entry)
    single = replace(call, info=replace(call.info, verb="delete", subresource=""))
    await delete.delete(api, single, wanted)
    return success()


async def _spend_budget(api: Api, call: Call, pod: Entry) -> None:
    budgets = [
        one
        for one in api.store.entries(_BUDGETS, call.namespace)
        if _covers(one.obj, pod.obj["metadata"].get("labels"))
    ]
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(_internal(message))
    for budget in budgets:
        status: dict[str, Any] = budget.obj.get("status") or {}
        if not _is_ready(pod.obj) and _spares_nothing(budget.obj):
            continue
        generation = budget.obj["metadata"].get("generation", 0)
        if status.get("observedGeneration", 0) < generation:
            cause = f"The disruption budget {budget.key[1]} is still being processed by the server."
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise too_many_requests(message, 10, [{"reason": "DisruptionBudget", "message": cause}])
        if status.get("disruptionsAllowed", 0) <= 0:
            cause = (
                f"The disruption budget {budget.key[1]} needs {status.get('desiredHealthy', 0)} healthy pods "
                f"and has {status.get('currentHealthy', 0)} currently"
            )
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise too_many_requests(message, 0, [{"reason": "DisruptionBudget", "message": cause}])
        if not call.dry_run:
            await _record_disruption(api, call, budget.key[1], pod.key[1])


async def _record_disruption(api: Api, call: Call, budget: str, pod: str) -> None:
    served = api.catalog.find("policy", "v1", "poddisruptionbudgets")
    assert served is not None, "disruption budgets are always served"
    info = replace(call.info, group="policy", plural="poddisruptionbudgets", name=budget, subresource="status")

    def spend(obj: Json) -> Json:
        status = obj["status"]
        status["disruptionsAllowed"] -= 1
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: timestamp()}
        return obj

    await update(api, replace(call, served=served, info=info), spend, tracks=False)


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _spares_nothing(budget: Json) -> bool:
    """Tell whether a pod that is not ready may go without asking (policy/v1 unhealthyPodEvictionPolicy)."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    healthy = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0)
    return bool(healthy and status.get("desiredHealthy", 0) > 0)


def _covers(budget: Json, labels: dict[str, str] | None) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and selectors.from_object(selector).matches(labels)


def _internal(message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": 500}
