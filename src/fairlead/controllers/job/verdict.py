"""Whether a Job is done, and why. Pure. Source: batch/v1 Job, KEP-3998 (SuccessCriteriaMet), KEP-3329 (podFailurePolicy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.controllers import conditions, moments, podstate
from fairlead.controllers.job.pods import Tally

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the Job ends: the condition that will be True, with its reason and message."""

    condition: Literal["Complete", "Failed"]
    reason: str
    message: str

    @property
    def target(self) -> str:
        """Return the condition that announces the end while pods are still there."""
        return "SuccessCriteriaMet" if self.condition == "Complete" else "FailureTarget"


COMPLETE = Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")


def of(job: Json, pods: Sequence[Json], counts: Tally, active: int, now: float) -> Verdict | None:
    """Return how the Job ends, None while it goes on. A verdict that was announced stands."""
    announced = _announced(job)
    if announced is not None:
        return announced
    spec, status = job["spec"], job.get("status") or {}
    refused = _by_policy(job, pods)
    if refused is not None:
        return refused
    limit = spec.get("backoffLimit")
    limit = 6 if limit is None else int(limit)
    if counts.all_failed > limit or _restarted_too_often(job, pods, limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    deadline, started = spec.get("activeDeadlineSeconds"), moments.seconds(status.get("startTime"))
    if deadline is not None and started is not None and not spec.get("suspend") and started + deadline <= now:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = spec.get("completions")
    if completions is None:
        done = counts.all_succeeded > 0 and active == 0
    else:
        done = (
            len(counts.completed) if spec.get("completionMode") == "Indexed" else counts.all_succeeded
        ) >= completions
    return COMPLETE if done else None


def _announced(job: Json) -> Verdict | None:
    for target, condition in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        for kind in (condition, target):
            found = conditions.condition(job, kind)
            if found is not None and found["status"] == "True":
                name: Literal["Complete", "Failed"] = "Complete" if condition == "Complete" else "Failed"
                return Verdict(name, found.get("reason", ""), found.get("message", ""))
    return None


def _restarted_too_often(job: Json, pods: Sequence[Json], limit: int) -> bool:
    """A pod that restarts its containers itself counts by its restarts."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in pods:
        if podstate.phase(pod) not in ("Running", "Pending"):
            continue
        for field in ("initContainerStatuses", "containerStatuses"):
            restarts += sum(each.get("restartCount", 0) for each in pod.get("status", {}).get(field) or ())
    return restarts > 0 if limit == 0 else restarts >= limit


def ignored(job: Json, pod: Json) -> bool:
    """Tell whether the failure policy says that the end of this pod does not count."""
    rule = _rule_for(job, pod)
    return rule is not None and rule[1]["action"] == "Ignore"


def _by_policy(job: Json, pods: Sequence[Json]) -> Verdict | None:
    for pod in pods:
        rule = _rule_for(job, pod)
        if rule is not None and rule[1]["action"] == "FailJob":
            message = f"{rule[2]} matching FailJob rule at index {rule[0]}"
            return Verdict("Failed", "PodFailurePolicy", message)
    return None


def _rule_for(job: Json, pod: Json) -> tuple[int, Json, str] | None:
    """Return the first rule of the failure policy that matches a failed pod: index, rule, what matched."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    if not rules or podstate.phase(pod) != "Failed":
        return None
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for number, rule in enumerate(rules):
        codes = rule.get("onExitCodes")
        if codes:
            container, code = _exit_code(pod, codes)
            if container:
                return number, rule, f"Container {container} for pod {name} failed with exit code {code}"
        for wanted in rule.get("onPodConditions") or ():
            found = conditions.condition(pod, wanted["type"])
            if found is not None and found["status"] == wanted.get("status", "True"):
                return number, rule, f"Pod {name} has condition {wanted['type']}"
    return None


def _exit_code(pod: Json, codes: Json) -> tuple[str, int]:
    for field in ("initContainerStatuses", "containerStatuses"):
        for each in pod.get("status", {}).get(field) or ():
            ended = (each.get("state") or {}).get("terminated")
            if ended is None or not ended["exitCode"]:
                continue
            if codes.get("containerName") and codes["containerName"] != each["name"]:
                continue
            if (ended["exitCode"] in codes["values"]) == (codes["operator"] == "In"):
                return each["name"], ended["exitCode"]
    return "", 0
