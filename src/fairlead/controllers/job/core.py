"""The decisions of a Job: which pods to start or end, and when it is over.

Pure. Source: batch/v1 Job; back-off between failures from 10 s doubling to 10 min.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api.resources import JOBS, PODS
from fairlead.base.selectors import from_object
from fairlead.controllers import conditions, moments, ownership, podstate
from fairlead.controllers.actions import Action, Again, Create, Delete, Event, Status, adopt, release
from fairlead.controllers.job import indexes, pods, verdict
from fairlead.controllers.job.pods import Tally
from fairlead.controllers.job.verdict import Verdict

Json = dict[str, Any]

_FIRST_BACKOFF_S = 10.0
_MOST_BACKOFF_S = 600.0
_BURST = 500


def reconcile(job: Json, owned: Sequence[Json], orphans: Sequence[Json], *, now: float) -> list[Action]:
    """Return the next steps of `job`."""
    claims = ownership.claims(job, from_object(job["spec"]["selector"]), owned, orphans)
    actions: list[Action] = [release(PODS, pod, job["metadata"]["uid"]) for pod in claims.release]
    actions += [adopt(PODS, pod, ownership.reference_to(job, JOBS)) for pod in claims.adopt]
    if claims.adopt:
        return actions
    mine = claims.owned
    if "deletionTimestamp" in job["metadata"]:
        return [*actions, *(pods.let_go(pod) for pod in mine if pods.is_tracked(pod))]
    actions += [pods.let_go(pod) for pod in pods.settled(job, mine)]
    if pods.is_over(job):
        leftover = [pod for pod in mine if podstate.is_active(pod)]
        return [*actions, *(Delete(PODS, pod, job) for pod in leftover), *_expire(job, now)]
    return actions + _Step(job, mine, now).actions()


def _expire(job: Json, now: float) -> list[Action]:
    """Return what removes a finished Job when its time to live has passed."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return []
    ended = next(
        (
            moments.seconds(each["lastTransitionTime"]) or now
            for each in job["status"]["conditions"]
            if each["type"] in ("Complete", "Failed") and each["status"] == "True"
        ),
        now,
    )
    left = ended + ttl - now
    return [Again(left + 0.01)] if left > 0 else [Delete(JOBS, job, propagation="Foreground")]


class _Step:
    """One reconciliation of a Job that is not over."""

    def __init__(self, job: Json, mine: Sequence[Json], now: float) -> None:
        self._job, self._pods, self._now = job, mine, now
        self._spec = job["spec"]
        self._status: Json = dict(job.get("status") or {})
        counted = [pod for pod in mine if not verdict.ignored(job, pod)]
        self._tally: Tally = pods.tally(job, counted)
        self._ignored = [pod for pod in mine if verdict.ignored(job, pod)]
        self._active = [pod for pod in mine if podstate.is_active(pod)]
        self._conditions: list[Json] = list(self._status.get("conditions") or ())

    def actions(self) -> list[Action]:
        actions: list[Action] = [pods.let_go(pod) for pod in self._ignored if pods.is_tracked(pod)]
        self._start()
        end = verdict.of(self._job, self._pods, self._tally, len(self._active), self._now)
        if end is not None:
            actions += self._end(end)
        elif self._spec.get("suspend"):
            actions += self._suspend()
        else:
            actions += self._resume()
            actions += self._manage()
        status = self._report(ended=end)
        if status != self._job.get("status"):
            actions.append(Status(JOBS, {**self._job, "status": status}))
        return actions

    def _start(self) -> None:
        if not self._status.get("startTime") and not self._spec.get("suspend"):
            self._status["startTime"] = moments.text(self._now)

    def _end(self, end: Verdict) -> list[Action]:
        actions: list[Action] = [Delete(PODS, pod, self._job) for pod in self._active]
        self._set(end.target, "True", end.reason, end.message)
        noted = (self._job.get("status") or {}).get("uncountedTerminatedPods") or {}
        waiting = [pod for pod in self._pods if pods.is_tracked(pod) or not podstate.is_finished(pod)]
        if (
            not waiting
            and not self._tally.uncounted_succeeded
            and not self._tally.uncounted_failed
            and not any(noted.values())
        ):
            self._set(end.condition, "True", end.reason, end.message)
            if end.condition == "Complete":
                self._status["completionTime"] = moments.text(self._now)
                actions.append(Event(self._job, "Normal", "Completed", "Job completed"))
            else:
                actions.append(Event(self._job, "Warning", end.reason, end.message))
        return actions

    def _suspend(self) -> list[Action]:
        if not conditions.is_true({"status": {"conditions": self._conditions}}, "Suspended"):
            self._set("Suspended", "True", "JobSuspended", "Job suspended")
            self._status.pop("startTime", None)
            stop: list[Action] = [Delete(PODS, pod, self._job) for pod in self._active]
            return [*stop, Event(self._job, "Normal", "Suspended", "Job suspended")]
        return [Delete(PODS, pod, self._job) for pod in self._active]

    def _resume(self) -> list[Action]:
        former = conditions.of_list(self._conditions, "Suspended")
        if former is None or former["status"] != "True":
            return []
        self._set("Suspended", "False", "JobResumed", "Job resumed")
        self._status["startTime"] = moments.text(self._now)
        return [Event(self._job, "Normal", "Resumed", "Job resumed")]

    def _manage(self) -> list[Action]:
        parallelism = self._spec.get("parallelism")
        parallelism = 1 if parallelism is None else int(parallelism)
        completions = self._spec.get("completions")
        if completions is None:
            wanted = len(self._active) if self._tally.all_succeeded else parallelism
            wanted = min(wanted, parallelism)
        else:
            wanted = min(completions - self._succeeded(), parallelism)
        deadline = self._deadline()
        surplus = len(self._active) - wanted
        if surplus > 0:
            order = sorted(self._active, key=lambda pod: (podstate.is_ready(pod), -podstate.created_at(pod)))
            return [*(Delete(PODS, pod, self._job) for pod in order[:surplus]), *deadline]
        occupied = len(self._active)
        if self._spec.get("podReplacementPolicy") == "Failed":
            occupied += sum(podstate.is_terminating(pod) and not podstate.is_finished(pod) for pod in self._pods)
        missing = min(wanted - occupied, _BURST)
        if missing <= 0:
            return deadline
        wait = self._backoff()
        if wait > 0:
            return [*deadline, Again(wait)]
        made: list[Action] = [Create(PODS, pods.pod_for(self._job, index), self._job) for index in self._free(missing)]
        return [*made, *deadline]

    def _free(self, missing: int) -> list[int | None]:
        if not pods.is_indexed(self._job):
            return [None] * missing
        taken = {pods.index_of(pod) for pod in self._active} | self._tally.completed
        free = [index for index in range(self._spec["completions"]) if index not in taken]
        return list(free[:missing])

    def _succeeded(self) -> int:
        return len(self._tally.completed) if pods.is_indexed(self._job) else self._tally.all_succeeded

    def _deadline(self) -> list[Action]:
        deadline, started = self._spec.get("activeDeadlineSeconds"), moments.seconds(self._status.get("startTime"))
        if deadline is None or started is None:
            return []
        return [Again(max(started + deadline - self._now, 0) + 0.01)]

    def _backoff(self) -> float:
        """Return for how many seconds to wait after the failures since the last success."""
        ends = {"Succeeded": [0.0], "Failed": [0.0]}
        for pod in self._pods:
            if podstate.is_finished(pod):
                ends[podstate.phase(pod)].append(_ended_at(pod))
        last_success = max(ends["Succeeded"])
        failures = [at for at in ends["Failed"] if at > last_success]
        if not failures:
            return 0.0
        pause = min(_FIRST_BACKOFF_S * 2.0 ** min(len(failures) - 1, 20), _MOST_BACKOFF_S)
        return max(failures) + pause - self._now

    def _set(self, kind: str, value: str, reason: str, message: str) -> None:
        self._conditions = conditions.with_condition(
            self._conditions, kind, value, reason=reason, message=message, now=self._now, touch="lastProbeTime"
        )

    def _report(self, *, ended: Verdict | None) -> Json:
        status = self._status
        counts = self._tally
        active = 0 if ended is not None else len(self._active)
        numbers = {
            "active": active,
            "ready": sum(podstate.is_ready(pod) for pod in self._active) if active else 0,
            "terminating": sum(
                (podstate.is_terminating(pod) and not podstate.is_finished(pod))
                or (ended is not None and podstate.is_active(pod))
                for pod in self._pods
            ),
            "succeeded": counts.succeeded,
            "failed": counts.failed,
        }
        for name, number in numbers.items():
            if number or name in ("ready", "terminating"):
                status[name] = number
            else:
                status.pop(name, None)
        if pods.is_indexed(self._job) and counts.completed:
            status["completedIndexes"] = indexes.render(counts.completed)
        noted = {
            name: list(uids)
            for name, uids in (("succeeded", counts.uncounted_succeeded), ("failed", counts.uncounted_failed))
            if uids
        }
        status["uncountedTerminatedPods"] = noted
        if self._conditions:
            status["conditions"] = self._conditions
        return status


def _ended_at(pod: Json) -> float:
    ends = [
        moments.seconds(ended.get("finishedAt")) or 0.0
        for each in pod.get("status", {}).get("containerStatuses") or ()
        if (ended := (each.get("state") or {}).get("terminated"))
    ]
    return max(ends, default=0.0) or podstate.created_at(pod)
