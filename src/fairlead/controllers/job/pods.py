"""The pods of a Job: how they are made and how they are counted, each exactly once.

Pure. A pod of a Job carries a finalizer until its end is noted in the Job's status, first by uid, then, when the finalizer is off, as a number:
whatever dies in between, no pod is counted twice or not at all. Source: batch/v1 Job, KEP-2307, KEP-2214.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import JOBS, PODS
from fairlead.controllers import ownership, podstate, templates
from fairlead.controllers.actions import Patch
from fairlead.controllers.job import indexes

Json = dict[str, Any]

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of the ends of a Job's pods. `uncounted_…` are uids noted in the status but not yet in its numbers."""

    succeeded: int
    failed: int
    uncounted_succeeded: tuple[str, ...]
    uncounted_failed: tuple[str, ...]
    completed: frozenset[int]

    @property
    def all_succeeded(self) -> int:
        """Return how many pods succeeded."""
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def all_failed(self) -> int:
        """Return how many pods failed."""
        return self.failed + len(self.uncounted_failed)


def is_tracked(pod: Json) -> bool:
    """Tell whether the pod's end is not settled yet."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_indexed(job: Json) -> bool:
    """Tell whether each completion has an index of its own."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Json) -> int | None:
    """Return the completion index of a pod."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return int(text) if text is not None and text.isdecimal() else None


def has_failed(pod: Json, job: Json) -> bool:
    """Tell whether the pod counts as failed; one that is being deleted does, unless only ended ones are replaced."""
    if _is_suspended_away(pod, job):
        return False
    if podstate.phase(pod) == "Failed":
        return True
    if job["spec"].get("podReplacementPolicy") == "Failed":
        return False
    return podstate.is_terminating(pod) and podstate.phase(pod) != "Succeeded"


def _is_suspended_away(pod: Json, job: Json) -> bool:
    """Tell whether the pod ends because the Job is suspended, which is nobody's failure."""
    return bool(job["spec"].get("suspend")) and podstate.is_terminating(pod) and podstate.phase(pod) != "Succeeded"


def tally(job: Json, pods: Sequence[Json]) -> Tally:
    """Return the counts, given the status of `job` and its pods."""
    status = job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    by_uid = {pod["metadata"]["uid"]: pod for pod in pods}
    completions = job["spec"].get("completions")
    completed = indexes.parse(status.get("completedIndexes"), completions or 0) if is_indexed(job) else set()
    counts: dict[str, int] = {}
    uncounted: dict[str, list[str]] = {}
    for kind in ("succeeded", "failed"):
        counts[kind] = int(status.get(kind) or 0)
        uncounted[kind] = []
        for uid in noted.get(kind) or ():
            pod = by_uid.get(uid)
            if pod is not None and is_tracked(pod):
                uncounted[kind].append(uid)
            else:
                counts[kind] += 1
    known = {uid for uids in uncounted.values() for uid in uids}
    for pod in sorted(pods, key=lambda pod: pod["metadata"]["name"]):
        uid = pod["metadata"]["uid"]
        if not is_tracked(pod) or uid in known:
            continue
        if podstate.phase(pod) == "Succeeded":
            index = index_of(pod)
            if is_indexed(job):
                if index is None or index >= (completions or 0) or index in completed:
                    # Nobody waits for this one: its finalizer goes without a count.
                    continue
                completed.add(index)
            uncounted["succeeded"].append(uid)
        elif has_failed(pod, job):
            uncounted["failed"].append(uid)
    return Tally(
        succeeded=len(completed) if is_indexed(job) else counts["succeeded"],
        failed=counts["failed"],
        uncounted_succeeded=tuple(uncounted["succeeded"]),
        uncounted_failed=tuple(uncounted["failed"]),
        completed=frozenset(completed),
    )


def settled(job: Json, pods: Sequence[Json]) -> list[Json]:
    """Return the pods whose finalizer may go: noted by uid in the status that the API server holds, or of no interest."""
    noted = (job.get("status") or {}).get("uncountedTerminatedPods") or {}
    uids = {*(noted.get("succeeded") or ()), *(noted.get("failed") or ())}
    over = is_over(job)
    completed = indexes.parse((job.get("status") or {}).get("completedIndexes"), job["spec"].get("completions") or 0)
    found = []
    for pod in pods:
        if not is_tracked(pod):
            continue
        ended = podstate.is_finished(pod) or podstate.is_terminating(pod)
        surplus = is_indexed(job) and podstate.phase(pod) == "Succeeded" and index_of(pod) in completed
        if pod["metadata"]["uid"] in uids or surplus or (over and ended) or _is_suspended_away(pod, job):
            found.append(pod)
    return found


def is_over(job: Json) -> bool:
    """Tell whether the Job is complete or has failed for good."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)


def let_go(pod: Json) -> Patch:
    """Return the patch that takes the finalizer off a pod."""
    left = [name for name in pod["metadata"].get("finalizers") or () if name != FINALIZER]
    return Patch(
        PODS,
        pod,
        {
            "metadata": {
                "uid": pod["metadata"]["uid"],
                "resourceVersion": pod["metadata"]["resourceVersion"],
                "finalizers": left or None,
            }
        },
    )


def pod_for(job: Json, index: int | None) -> Json:
    """Return a new pod of the Job, for one completion index where those count."""
    metadata, template = job["metadata"], job["spec"]["template"]
    owner = ownership.reference_to(job, JOBS)
    if index is None:
        return templates.pod_from(
            template,
            namespace=metadata["namespace"],
            owner=owner,
            prefix=metadata["name"] + "-",
            finalizers=[FINALIZER],
        )
    pod = templates.pod_from(
        template,
        namespace=metadata["namespace"],
        owner=owner,
        prefix=f"{metadata['name']}-{index}-",
        labels={INDEX: str(index)},
        annotations={INDEX: str(index)},
        finalizers=[FINALIZER],
    )
    variable = {
        "name": _INDEX_VARIABLE,
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    spec = {**pod["spec"], "hostname": f"{metadata['name']}-{index}"}
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [_with_variable(container, variable) for container in spec[field]]
    return {**pod, "spec": spec}


def _with_variable(container: Json, variable: Json) -> Json:
    env = container.get("env") or []
    if any(each["name"] == _INDEX_VARIABLE for each in env):
        return container
    return {**container, "env": [*env, variable]}
