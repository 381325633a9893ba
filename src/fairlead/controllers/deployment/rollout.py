"""The sizes of a Deployment's ReplicaSets: one step of a rolling update, and proportional scaling.

Pure arithmetic on wanted and available numbers. It must never want more than replicas + maxSurge pods, nor take away available ones below
replicas - maxUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.controllers.deployment import names
from fairlead.controllers.deployment.names import available_of, replicas_of, total

Json = dict[str, Any]


def new_size(deployment: Json, new: Json | None, all_sets: Sequence[Json]) -> int:
    """Return the number of replicas that the new ReplicaSet (None: still to be made, with 0) may have now."""
    wanted = replicas_of(deployment)
    current = replicas_of(new) if new is not None else 0
    if names.is_recreate(deployment):
        return wanted
    if current >= wanted:
        return wanted
    surge, _ = names.surge_and_unavailable(deployment)
    room = wanted + surge - total(all_sets)
    return min(wanted, current + max(room, 0))


def shrink_old(deployment: Json, new: Json, old: Sequence[Json]) -> list[tuple[Json, int]]:
    """Return the old ReplicaSets to be scaled down now, with their new sizes; oldest first, unavailable pods before available ones."""
    everything = [*old, new]
    _, unavailable = names.surge_and_unavailable(deployment)
    least = replicas_of(deployment) - unavailable
    # What is not available yet of the new one must be expected to come up before old pods may go for it.
    allowed = total(everything) - least - (replicas_of(new) - available_of(new))
    sizes = {replica_set["metadata"]["uid"]: replicas_of(replica_set) for replica_set in old}
    by_age = sorted((found for found in old if replicas_of(found)), key=names.age_order)
    for replica_set in by_age:
        broken = replicas_of(replica_set) - available_of(replica_set)
        removed = max(min(broken, allowed), 0)
        sizes[replica_set["metadata"]["uid"]] -= removed
        allowed -= removed
    spare = min(sum(map(available_of, everything)) - least, allowed)
    for replica_set in by_age:
        uid = replica_set["metadata"]["uid"]
        removed = max(min(sizes[uid], spare), 0)
        sizes[uid] -= removed
        spare -= removed
    return [
        (replica_set, sizes[replica_set["metadata"]["uid"]])
        for replica_set in by_age
        if sizes[replica_set["metadata"]["uid"]] != replicas_of(replica_set)
    ]


def proportional(deployment: Json, new: Json | None, old: Sequence[Json]) -> list[tuple[Json, int]]:
    """Return the sizes after the number of replicas changed, in the midst of a rollout in proportion to the former sizes."""
    wanted = replicas_of(deployment)
    everything = [*old, *([new] if new is not None else [])]
    active = [found for found in everything if replicas_of(found)]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=names.revision_of, default=None)
        return [(only, wanted)] if only is not None else []
    if new is not None and replicas_of(new) == wanted == available_of(new):
        return [(found, 0) for found in old if replicas_of(found)]
    if names.is_recreate(deployment):
        return []
    surge, _ = names.surge_and_unavailable(deployment)
    allowed = wanted + surge if wanted else 0
    missing = allowed - total(active)
    # Growing, the newest of equal size gets the rest; shrinking, the oldest.
    order = sorted(active, key=names.age_order, reverse=missing > 0)
    order.sort(key=replicas_of, reverse=True)
    left, sizes = missing, []
    for replica_set in order:
        change = _share(replica_set, allowed, total(active)) if left else 0
        change = max(min(change, left), 0) if missing > 0 else min(max(change, left), 0)
        sizes.append(replicas_of(replica_set) + change)
        left -= change
    sizes[0] = max(sizes[0] + left, 0)
    return list(zip(order, sizes, strict=True))


def _share(replica_set: Json, allowed: int, present: int) -> int:
    """Return by how much one ReplicaSet changes when all together may have `allowed` replicas."""
    current = replicas_of(replica_set)
    if not allowed:
        return -current
    stated = (replica_set["metadata"].get("annotations") or {}).get(names.MAXIMUM, "")
    former = int(stated) if stated.isdecimal() and int(stated) else present
    # Rounds halves away from zero, for these are never negative.
    return (2 * current * allowed + former) // (2 * former) - current
