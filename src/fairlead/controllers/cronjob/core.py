"""The decisions of a CronJob: which run is due, what happens to the one before, which finished Jobs go.

Pure. The name of a Job is made of its due time, so that no run happens twice. Source: batch/v1 CronJob.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api.resources import CRONJOBS, JOBS
from fairlead.controllers import conditions, moments, ownership, podstate
from fairlead.controllers.actions import Action, Again, Create, Delete, Event, Status
from fairlead.controllers.cronjob.schedule import ScheduleError, parse

Json = dict[str, Any]

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY_MISSED = 100


def reconcile(cron: Json, jobs: Sequence[Json], *, now: float) -> list[Action]:
    """Return the next steps; `jobs` are those that it controls."""
    if "deletionTimestamp" in cron["metadata"]:
        return []
    spec, status = cron["spec"], dict(cron.get("status") or {})
    running = [job for job in jobs if _outcome(job) is None]
    actions = _clean_up(spec, jobs)
    active = {job["metadata"]["uid"]: _reference(job) for job in running}
    successes = [
        ended for job in jobs if _outcome(job) == "Complete" and (ended := job["status"].get("completionTime"))
    ]
    if successes and max(successes) > (status.get("lastSuccessfulTime") or ""):
        status["lastSuccessfulTime"] = max(successes)
    if not spec.get("suspend"):
        steps, started = _run(cron, jobs, running, now)
        actions += steps
        if started is not None:
            status["lastScheduleTime"] = moments.text(started)
    if active:
        status["active"] = [active[uid] for uid in sorted(active)]
    else:
        status.pop("active", None)
    if status != (cron.get("status") or {}):
        # Before the Again, after the Job: a run that fails to start is tried again.
        actions.append(Status(CRONJOBS, {**cron, "status": status}))
    return actions


def _run(cron: Json, jobs: Sequence[Json], running: Sequence[Json], now: float) -> tuple[list[Action], float | None]:
    """Return the steps for the latest run that is due, and its time if it starts (or would have, but for its predecessor)."""
    spec = cron["spec"]
    try:
        schedule = parse(spec["schedule"], spec.get("timeZone"))
    except ScheduleError as error:
        message = f"invalid schedule {spec['schedule']!r}: {error}"
        return [Event(cron, "Warning", "UnparseableSchedule", message)], None
    actions: list[Action] = []
    earliest = moments.seconds((cron.get("status") or {}).get("lastScheduleTime")) or podstate.created_at(cron)
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - deadline)
    due: float | None = None
    missed = 0
    for at in schedule.after(earliest):
        if at > now:
            actions.append(Again(at - now + 0.05))
            break
        due = at
        missed += 1
    if due is None:
        return actions, None
    if missed > _TOO_MANY_MISSED:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        actions.append(Event(cron, "Warning", "TooManyMissedTimes", message))
    name = f"{cron['metadata']['name']}-{int(due) // 60}"
    if any(job["metadata"]["name"] == name for job in jobs):
        return actions, due
    policy = spec.get("concurrencyPolicy") or "Allow"
    if policy == "Forbid" and running:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [*actions, Event(cron, "Normal", "JobAlreadyActive", message)], None
    if policy == "Replace":
        actions += [Delete(JOBS, job, propagation="Background") for job in running]
    actions.append(Create(JOBS, _job(cron, name, due), tolerant=True))
    actions.append(Event(cron, "Normal", "SuccessfulCreate", f"Created job {name}"))
    return actions, due


def _job(cron: Json, name: str, due: float) -> Json:
    template = cron["spec"]["jobTemplate"]
    source = template.get("metadata") or {}
    metadata: Json = {
        "name": name,
        "namespace": cron["metadata"]["namespace"],
        "annotations": {**(source.get("annotations") or {}), SCHEDULED_AT: moments.text(due)},
        "ownerReferences": [ownership.reference_to(cron, CRONJOBS)],
    }
    if source.get("labels"):
        metadata["labels"] = source["labels"]
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": template["spec"]}


def _outcome(job: Json) -> str | None:
    return next((kind for kind in ("Complete", "Failed") if conditions.is_true(job, kind)), None)


def _reference(job: Json) -> Json:
    metadata = job["metadata"]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }


def _clean_up(spec: Json, jobs: Sequence[Json]) -> list[Action]:
    actions: list[Action] = []
    for outcome, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = spec.get(field)
        limit = default if limit is None else int(limit)
        finished = [job for job in jobs if _outcome(job) == outcome and "deletionTimestamp" not in job["metadata"]]
        finished.sort(key=lambda job: (job["status"].get("startTime") or "", job["metadata"]["name"]))
        actions += [Delete(JOBS, job, propagation="Background") for job in finished[: max(len(finished) - limit, 0)]]
    return actions
