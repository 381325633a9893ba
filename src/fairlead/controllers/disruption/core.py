"""The status of a PodDisruptionBudget: how many of its pods may be evicted now. Pure. Source: policy/v1 PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairlead.controllers import conditions, moments, podstate, rolling

Json = dict[str, Any]

_FORGET_S = 120.0


def status(budget: Json, pods: Sequence[Json], scale_of: Callable[[Json], int | None], now: float) -> Json:
    """Return the status; `pods` are those that the budget selects, `scale_of` tells how many pods the owner of a pod wants."""
    spec, former = budget["spec"], budget.get("status") or {}
    counted = [pod for pod in pods if not podstate.is_finished(pod)]
    evicting = _evicting(former.get("disruptedPods") or {}, counted, now)
    healthy = sum(
        podstate.is_ready(pod) and not podstate.is_terminating(pod) and pod["metadata"]["name"] not in evicting
        for pod in counted
    )
    if spec.get("maxUnavailable") is not None:
        expected = _expected(counted, scale_of)
        desired = max(expected - rolling.scaled(spec["maxUnavailable"], expected, up=True), 0)
    elif isinstance(spec.get("minAvailable"), str):
        expected = _expected(counted, scale_of)
        desired = rolling.scaled(spec["minAvailable"], expected, up=True)
    else:
        expected = len(counted)
        minimum = spec.get("minAvailable")
        desired = 1 if minimum is None else int(minimum)
    allowed = max(healthy - desired, 0) if expected else 0
    reason, value = ("SufficientPods", "True") if allowed else ("InsufficientPods", "False")
    found = conditions.with_condition(
        former.get("conditions"), "DisruptionAllowed", value, reason=reason, message="", now=now
    )
    generation = budget["metadata"].get("generation", 1)
    for each in found:
        if each["type"] == "DisruptionAllowed" and each.get("observedGeneration") != generation:
            found = [{**one, "observedGeneration": generation} if one is each else one for one in found]
    result: Json = {
        "observedGeneration": generation,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": found,
    }
    if evicting:
        result["disruptedPods"] = evicting
    return result


def _expected(pods: Sequence[Json], scale_of: Callable[[Json], int | None]) -> int:
    """Return how many pods the owners want together; pods without one count for themselves."""
    owners: dict[str, int] = {}
    single = 0
    for pod in pods:
        scale = scale_of(pod)
        if scale is None:
            single += 1
        else:
            reference = next(each for each in pod["metadata"]["ownerReferences"] if each.get("controller"))
            owners[reference["uid"]] = scale
    return single + sum(owners.values())


def _evicting(disrupted: dict[str, str], pods: Sequence[Json], now: float) -> dict[str, str]:
    """Return the evicted pods that are still to go; an eviction that led to nothing is forgotten after two minutes."""
    names = {pod["metadata"]["name"] for pod in pods if not podstate.is_terminating(pod)}
    return {
        name: at for name, at in disrupted.items() if name in names and (moments.seconds(at) or 0.0) + _FORGET_S > now
    }
