"""Pods that wait for a node: those to be tried now, by priority and age, and those that wait for the cluster to change.

Pure; the caller passes the time. A pod that failed is tried again when something changes that may help, not earlier than its back-off says,
and in any case after a minute, lest a hint that we do not know of be missed.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass, field

from fairlead.controllers.scheduler.facts import Pod
from fairlead.controllers.scheduler.filters import Cause

_FIRST_BACKOFF_S = 0.2
_MOST_BACKOFF_S = 10.0
_ANYWAY_S = 60.0


@dataclass(slots=True)
class _Waiting:
    pod: Pod
    failures: int = 0
    parked: bool = False
    causes: frozenset[Cause] = frozenset()
    not_before: float = 0.0
    turn: int = 0
    """Entries of the heaps with another turn are void."""


@dataclass(slots=True)
class SchedulingQueue:
    """Every pod without a node, by uid."""

    _pods: dict[str, _Waiting] = field(default_factory=dict)
    _active: list[tuple[int, float, int, str]] = field(default_factory=list)
    _delayed: list[tuple[float, int, str]] = field(default_factory=list)
    _turns: int = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, pod: Pod, now: float) -> None:
        """Learn of a pod, or of a change of it that makes it worth a try."""
        waiting = self._pods.get(pod.uid)
        if waiting is None:
            waiting = self._pods[pod.uid] = _Waiting(pod)
        elif waiting.pod == pod:
            return
        waiting.pod = pod
        self._activate(waiting, now)

    def remove(self, uid: str) -> None:
        """Forget a pod that is scheduled or gone."""
        self._pods.pop(uid, None)

    def park(self, uid: str, causes: frozenset[Cause], now: float) -> None:
        """Let a pod that was taken wait for one of `causes`."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        waiting.parked, waiting.causes = True, causes
        waiting.not_before = now + min(_FIRST_BACKOFF_S * 2 ** min(waiting.failures, 10), _MOST_BACKOFF_S)
        waiting.failures += 1
        self._delay(waiting, now + _ANYWAY_S)

    def retry(self, uid: str, now: float) -> None:
        """Try a pod that was taken again after its back-off."""
        self.park(uid, frozenset(), now)
        waiting = self._pods.get(uid)
        if waiting is not None:
            waiting.parked = False
            self._delay(waiting, waiting.not_before)

    def wake(self, causes: Collection[Cause], now: float) -> None:
        """Something of `causes` changed: try those again for which it may matter."""
        for waiting in self._pods.values():
            if waiting.parked and not waiting.causes.isdisjoint(causes):
                self._activate(waiting, now)

    def take(self, now: float) -> Pod | None:
        """Return the next pod to be tried, the most important and oldest; None when none is due."""
        while self._delayed and self._delayed[0][0] <= now:
            _, turn, uid = heapq.heappop(self._delayed)
            waiting = self._pods.get(uid)
            if waiting is not None and waiting.turn == turn:
                waiting.not_before = now
                self._activate(waiting, now)
        while self._active:
            _, _, turn, uid = heapq.heappop(self._active)
            waiting = self._pods.get(uid)
            if waiting is not None and waiting.turn == turn:
                return waiting.pod
        return None

    def next_due(self) -> float | None:
        """Return when a delayed pod is due."""
        while self._delayed:
            due, turn, uid = self._delayed[0]
            waiting = self._pods.get(uid)
            if waiting is not None and waiting.turn == turn:
                return due
            heapq.heappop(self._delayed)
        return None

    def _activate(self, waiting: _Waiting, now: float) -> None:
        waiting.parked = False
        if waiting.not_before > now:
            self._delay(waiting, waiting.not_before)
            return
        self._turns += 1
        waiting.turn = self._turns
        pod = waiting.pod
        heapq.heappush(self._active, (-pod.priority, pod.created, waiting.turn, pod.uid))

    def _delay(self, waiting: _Waiting, due: float) -> None:
        self._turns += 1
        waiting.turn = self._turns
        heapq.heappush(self._delayed, (due, waiting.turn, waiting.pod.uid))
