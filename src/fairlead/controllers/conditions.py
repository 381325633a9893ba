"""Conditions of a status: read one, and make a list with one changed.

Times: `lastTransitionTime` moves only when the status of the condition changes. Source: metav1.Condition and its ancestors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.controllers import moments

Json = dict[str, Any]


def condition(obj: Mapping[str, Any], kind: str) -> Json | None:
    """Return the condition of type `kind` in the status of `obj`."""
    return of_list(obj.get("status", {}).get("conditions"), kind)


def of_list(conditions: list[Json] | None, kind: str) -> Json | None:
    """Return the condition of type `kind`."""
    for found in conditions or ():
        if found["type"] == kind:
            return found
    return None


def is_true(obj: Mapping[str, Any], kind: str) -> bool:
    """Tell whether the condition of type `kind` is True."""
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"


def with_condition(
    conditions: list[Json] | None,
    kind: str,
    status: str,
    *,
    reason: str,
    message: str,
    now: float,
    touch: str | None = None,
) -> list[Json]:
    """Return the list with the condition set; equal to the former one where nothing changed.

    `touch` names a further time (lastUpdateTime, lastProbeTime) that moves with every change of reason, status or message.
    """
    former = of_list(conditions, kind)
    if former and (former["status"], former.get("reason"), former.get("message")) == (status, reason, message):
        return list(conditions or ())
    stamp = moments.text(now)
    new: Json = {"type": kind, "status": status}
    if touch:
        new[touch] = stamp
    new["lastTransitionTime"] = (
        former["lastTransitionTime"]
        if former and former["status"] == status and "lastTransitionTime" in former
        else stamp
    )
    new |= {"reason": reason, "message": message}
    return [*without(conditions, kind), new]


def without(conditions: list[Json] | None, kind: str) -> list[Json]:
    """Return the list without the condition of type `kind`."""
    return [found for found in conditions or () if found["type"] != kind]
