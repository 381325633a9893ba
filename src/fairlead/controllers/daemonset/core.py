"""The decisions of a DaemonSet: on which nodes to create or delete pods, and which to renew.

Pure. During an update at most maxUnavailable nodes are without an available pod on its account; with maxSurge the new pod comes first.
Source: apps/v1 DaemonSet, KEP-1591.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.api.resources import DAEMONSETS, PODS
from fairlead.base.selectors import from_object
from fairlead.controllers import ownership, podstate, revisions, rolling
from fairlead.controllers.actions import Action, Again, Create, Delete, Event, Status, adopt, release
from fairlead.controllers.daemonset import nodes as placement
from fairlead.controllers.revisions import HASH_LABEL
from fairlead.controllers.scheduler.facts import Node

Json = dict[str, Any]

_FAILED_PAUSE_S = 1.0


def reconcile(
    owner: Json,
    owned: Sequence[Json],
    orphans: Sequence[Json],
    existing: Sequence[Json],
    nodes: Sequence[Node],
    *,
    now: float,
) -> list[Action]:
    """Return the next steps; `existing` are its ControllerRevisions."""
    found = ownership.claims(owner, from_object(owner["spec"]["selector"]), owned, orphans)
    actions: list[Action] = [release(PODS, pod, owner["metadata"]["uid"]) for pod in found.release]
    actions += [adopt(PODS, pod, ownership.reference_to(owner, DAEMONSETS)) for pod in found.adopt]
    if found.adopt:
        return actions
    collisions = (owner.get("status") or {}).get("collisionCount") or 0
    history = revisions.history(owner, DAEMONSETS, existing, hash_label=HASH_LABEL, collisions=collisions)
    actions += history.actions
    plan = _Plan(owner, found.owned, history.update, nodes, now)
    if "deletionTimestamp" not in owner["metadata"]:
        actions += plan.manage()
    status = plan.status()
    if status != owner.get("status"):
        actions.append(Status(DAEMONSETS, {**owner, "status": status}))
    used = {_hash(pod) for pod in found.owned}
    in_use = {history.update["metadata"]["name"]} | {
        each["metadata"]["name"] for each in history.known if revisions.hash_of(each, HASH_LABEL) in used
    }
    actions += revisions.clean_up(history, in_use, owner["spec"].get("revisionHistoryLimit"))
    return [*actions, *plan.waits()]


class _Plan:
    """One reconciliation, with its inputs arranged by node."""

    def __init__(self, owner: Json, owned: Sequence[Json], update: Json, nodes: Sequence[Node], now: float) -> None:
        self._owner, self._update, self._now = owner, update, now
        self._hash = revisions.hash_of(update, HASH_LABEL)
        self._min_ready_s = int(owner["spec"].get("minReadySeconds") or 0)
        self._pods = owned
        where = placement.Placement(owner)
        self._wanted = [node.name for node in nodes if where.belongs(node)]
        self._staying = {node.name for node in nodes if where.may_stay(node)}
        self._by_node: dict[str, list[Json]] = {}
        for pod in owned:
            self._by_node.setdefault(placement.node_of(pod), []).append(pod)
        strategy = owner["spec"].get("updateStrategy") or {}
        settings = strategy.get("rollingUpdate") or {}
        self._on_delete = strategy.get("type") == "OnDelete"
        total = len(self._wanted)
        self._surge = rolling.scaled(settings.get("maxSurge"), total, up=True)
        self._unavailable = rolling.scaled(settings.get("maxUnavailable", 1), total, up=True)
        self._later: list[float] = []

    def manage(self) -> list[Action]:
        """Return the creations and deletions."""
        creations: list[Action] = []
        deletions: list[Action] = []
        for node in self._wanted:
            pods = [pod for pod in self._by_node.get(node, ()) if not podstate.is_terminating(pod)]
            failed = [pod for pod in pods if podstate.is_finished(pod)]
            alive = [pod for pod in pods if not podstate.is_finished(pod)]
            for pod in failed:
                deletions += self._bury(pod)
            if not self._by_node.get(node):
                creations.append(self._create(node))
            elif len(alive) > 1:
                deletions += [Delete(PODS, pod, self._owner) for pod in self._superfluous(alive)]
        wanted = set(self._wanted)
        for node, found in self._by_node.items():
            if node in wanted or (node in self._staying and node):
                continue
            # Where the node itself is gone, the pod collector ends what this begins.
            deletions += [Delete(PODS, pod, self._owner) for pod in found if not podstate.is_terminating(pod)]
        if not self._on_delete and not creations:
            more_creations, more_deletions = self._renew()
            creations += more_creations
            deletions += more_deletions
        return [*deletions, *creations]

    def _superfluous(self, alive: Sequence[Json]) -> list[Json]:
        """Return which of several pods on one node go: with a surge, the old one once the new one is available; else all but the best."""
        new = [pod for pod in alive if _hash(pod) == self._hash]
        old = [pod for pod in alive if _hash(pod) != self._hash]
        if self._surge and new and old:
            available = any(self._is_available(pod) for pod in new)
            return [*old, *new[1:]] if available else [*old[1:], *new[1:]]
        # The one that has been there longest stays.
        return sorted(alive, key=lambda pod: (not self._is_available(pod), podstate.created_at(pod)))[1:]

    def _bury(self, pod: Json) -> list[Action]:
        age = self._now - podstate.created_at(pod)
        if age < _FAILED_PAUSE_S:
            self._later.append(_FAILED_PAUSE_S - age)
            return []
        metadata = pod["metadata"]
        message = f"Found failed daemon pod {metadata['namespace']}/{metadata['name']} on node {placement.node_of(pod)}, will try to kill it"
        return [Event(self._owner, "Warning", "FailedDaemonPod", message), Delete(PODS, pod, self._owner)]

    def _renew(self) -> tuple[list[Action], list[Action]]:
        current: Mapping[str, list[Json]] = {
            node: [pod for pod in self._by_node.get(node, ()) if not podstate.is_terminating(pod)]
            for node in self._wanted
        }
        outdated = {node: pods[0] for node, pods in current.items() if len(pods) == 1 and _hash(pods[0]) != self._hash}
        if self._surge:
            surging = sum(len(pods) > 1 for pods in current.values())
            room = max(self._surge - surging, 0)
            # A node whose old pod serves nobody gains most.
            order = sorted(outdated, key=lambda node: (self._is_available(outdated[node]), self._wanted.index(node)))
            return [self._create(node) for node in order[:room]], []
        missing = sum(not any(map(self._is_available, pods)) for pods in current.values())
        deletions: list[Action] = []
        room = self._unavailable - missing
        for pod in outdated.values():
            if self._is_available(pod):
                if room <= 0:
                    continue
                room -= 1
            deletions.append(Delete(PODS, pod, self._owner))
        return [], deletions

    def status(self) -> Json:
        """Return the status."""
        former = self._owner.get("status") or {}
        wanted = set(self._wanted)
        scheduled = ready = available = updated = misplaced = 0
        for node, pods in self._by_node.items():
            if node not in wanted:
                misplaced += bool(node and pods)
                continue
            alive = [pod for pod in pods if not podstate.is_terminating(pod)] or pods
            # With two pods on a node, the better one counts.
            pod = max(alive, key=lambda each: (self._is_available(each), podstate.is_ready(each)))
            scheduled += 1
            ready += podstate.is_ready(pod)
            available += self._is_available(pod)
            updated += any(_hash(each) == self._hash for each in alive)
        status: Json = {
            "currentNumberScheduled": scheduled,
            "numberMisscheduled": misplaced,
            "desiredNumberScheduled": len(wanted),
            "numberReady": ready,
            "observedGeneration": self._owner["metadata"].get("generation", 1),
        }
        optional = {
            "updatedNumberScheduled": updated,
            "numberAvailable": available,
            "numberUnavailable": len(wanted) - available,
        }
        status |= {name: count for name, count in optional.items() if count}
        for name in ("collisionCount", "conditions"):
            if former.get(name):
                status[name] = former[name]
        return status

    def waits(self) -> list[Action]:
        """Return when to look again although nothing changes."""
        found = [
            wait for pod in self._pods if (wait := podstate.available_in(pod, self._min_ready_s, self._now)) is not None
        ]
        found += self._later
        return [Again(min(found) + 0.01)] if found else []

    def _create(self, node: str) -> Create:
        return Create(PODS, placement.pod_for(self._owner, self._update, node), self._owner)

    def _is_available(self, pod: Json) -> bool:
        return podstate.is_available(pod, self._min_ready_s, self._now) and not podstate.is_terminating(pod)


def _hash(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))
