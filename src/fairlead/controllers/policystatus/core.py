"""From what nodes report of one policy to its conditions. Pure.

A condition says only what every node concerned has reported of the present generation; until then it says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.controllers import moments
from fairlead.controllers.actions import Event
from fairlead.controllers.conditions import of_list

Json = dict[str, Any]

ACCEPTED, ENFORCED, SELECTS, RESOLVED = TYPES = tuple(
    f"fairlead.dev/{name}" for name in ("Accepted", "Enforced", "SelectsPods", "Resolved")
)
"""Types of conditions: it makes sense; it is in force on every node; it governs a pod; its names resolve to something."""
_NAMED = 3
_MESSAGE_CHARACTERS = 1024


class _Verdict(msgspec.Struct, frozen=True):
    status: str
    reason: str
    message: str


def conditions(policy: Json, entries: Mapping[str, Json | None], now_s: float) -> list[Json]:
    """Return the four conditions of a policy; `entries` maps each node to what it reported of it, None when it did not.

    A condition whose status did not change keeps its time. Those of others are not among them.
    """
    generation = policy["metadata"].get("generation", 0)
    current = {node: each for node, each in entries.items() if each and each["generation"] == generation}
    waiting = sorted(entries.keys() - current.keys())
    selecting = [each for each in current.values() if each.get("selects")]
    found = (
        _accepted(current.values()),
        _enforced(generation, len(entries), waiting),
        _selects(len(selecting), waiting),
        _resolved(selecting, waiting),
    )
    stamp = moments.text(now_s)
    former = (policy.get("status") or {}).get("conditions")
    return [_written(former, kind, generation, each, stamp) for kind, each in zip(TYPES, found, strict=True)]


def merged(policy: Json, ours: Sequence[Json]) -> list[Json]:
    """Return the policy's conditions with ours in place of earlier ones; those of others stay."""
    others = [each for each in (policy.get("status") or {}).get("conditions") or () if each["type"] not in TYPES]
    return [*others, *ours]


def events(policy: Json, former: Sequence[Json] | None, new: Sequence[Json]) -> list[Event]:
    """Return what people should hear of: a policy that has come into force everywhere, and what is wrong with one."""
    found: list[Event] = []
    for each in new:
        before = of_list(list(former or ()), each["type"])
        same = before is not None and all(
            before.get(field) == each[field] for field in ("status", "message", "observedGeneration")
        )
        if same:
            continue
        if each["type"] == ENFORCED and each["status"] == "True":
            found.append(Event(policy, "Normal", each["reason"], each["message"]))
        elif each["type"] in (ACCEPTED, RESOLVED) and each["status"] == "False":
            found.append(Event(policy, "Warning", each["reason"], each["message"]))
    return found


def _accepted(entries: Iterable[Json]) -> _Verdict:
    problems = sorted({line for each in entries for line in each.get("problems") or ()})
    if problems:
        return _Verdict("False", "Invalid", "; ".join(problems))
    return _Verdict("True", "Accepted", "every part of it makes sense")


def _enforced(generation: int, nodes: int, waiting: Sequence[str]) -> _Verdict:
    if not nodes:
        return _Verdict("Unknown", "NoNodes", "the cluster has no nodes")
    if not waiting:
        return _Verdict("True", "Enforced", f"generation {generation} is in force on all {nodes} nodes")
    message = (
        f"generation {generation} is in force on {nodes - len(waiting)} of {nodes} nodes, not yet on {_few(waiting)}"
    )
    return _Verdict("False", "Pending", message)


def _selects(selecting: int, waiting: Sequence[str]) -> _Verdict:
    if selecting:
        return _Verdict("True", "PodsSelected", f"it governs pods on {selecting} nodes")
    if waiting:
        return _Verdict("Unknown", "Pending", f"{_few(waiting)} did not report yet")
    return _Verdict("False", "NoPods", "no pod that runs is selected")


def _resolved(selecting: Sequence[Json], waiting: Sequence[str]) -> _Verdict:
    if not selecting:
        reason = "Pending" if waiting else "NoPods"
        return _Verdict("Unknown", reason, "names are resolved where pods are selected")
    # What one node's pods lack, another's may declare.
    missing = set.intersection(*(set(each.get("unresolved") or ()) for each in selecting))
    # Names are the same everywhere, but only where somebody asked anything is known.
    missing |= {line for each in selecting for line in each.get("absent") or ()}
    if missing:
        return _Verdict("False", "NotResolved", "; ".join(sorted(missing)))
    return _Verdict("True", "Resolved", "every name resolves to something")


def _few(nodes: Sequence[str]) -> str:
    rest = len(nodes) - _NAMED
    return ", ".join(nodes[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _written(former: list[Json] | None, kind: str, generation: int, verdict: _Verdict, stamp: str) -> Json:
    before = of_list(former, kind)
    kept = before is not None and before["status"] == verdict.status
    return {
        "type": kind,
        "status": verdict.status,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and kept else stamp,
        "reason": verdict.reason,
        "message": verdict.message[:_MESSAGE_CHARACTERS],
    }
