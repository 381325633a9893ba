"""The rules of the kinds that make pods, and what of them may change.

Source: kube-apiserver apps, batch and autoscaling validation.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds.common_rules import (
    amount_is_zero,
    check_at_most_all,
    check_int_or_percent,
    check_label_selector,
    check_not_negative,
    check_one_of,
    go_selector,
    go_string_map,
    immutable,
)
from fairlead.apiserver.kinds.field_error import FieldError, forbidden, invalid, not_supported, required
from fairlead.apiserver.kinds.pod_rules import check_pod_template, check_template_metadata
from fairlead.base import selectors

Object = dict[str, Any]


def _selector_and_template(spec: Object, kind: str, *, pods_checked: bool = True) -> list[FieldError]:
    selector = spec.get("selector")
    errors: list[FieldError] = []
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        errors += check_label_selector(selector, "spec.selector")
        if not selector:
            errors.append(invalid("spec.selector", go_selector(selector), f"empty selector is invalid for {kind}"))
    template = spec.get("template", {})
    labels = template.get("metadata", {}).get("labels", {})
    if not _matches(selector, labels):
        text = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", go_string_map(labels), text))
    if pods_checked:
        errors += check_pod_template(template, "spec.template")
    else:
        errors += check_template_metadata(template, "spec.template")
    pod = template.get("spec", {})
    if pod.get("restartPolicy") in ("OnFailure", "Never"):
        errors.append(not_supported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",)))
    if pod.get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(forbidden("spec.template.spec.activeDeadlineSeconds", text))
    return errors


def _matches(selector: Object | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    if not selector:
        return True
    try:
        return selectors.from_object(selector).matches(labels)
    except selectors.SelectorError:
        return True


def check_deployment(obj: Object) -> list[FieldError]:
    """Check a Deployment."""
    spec = obj.get("spec", {})
    errors = check_not_negative(spec, "spec", "replicas")
    errors += _selector_and_template(spec, "deployment")
    errors += _deployment_strategy(spec.get("strategy", {}), "spec.strategy")
    errors += check_not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and 0 <= deadline <= spec.get("minReadySeconds", 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _deployment_strategy(strategy: Object, field: str) -> list[FieldError]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{field}.rollingUpdate", text)] if rolling is not None else []
    if kind != "RollingUpdate":
        return [not_supported(f"{field}.type", kind, ("Recreate", "RollingUpdate"))]
    return _rolling_update(rolling or {}, f"{field}.rollingUpdate")


def _rolling_update(rolling: Object, field: str) -> list[FieldError]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    errors = check_int_or_percent(unavailable, f"{field}.maxUnavailable")
    errors += check_int_or_percent(surge, f"{field}.maxSurge")
    if amount_is_zero(unavailable) and amount_is_zero(surge):
        errors.append(invalid(f"{field}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return errors + check_at_most_all(unavailable, f"{field}.maxUnavailable")


def _selector_kept(new: Object, old: Object) -> list[FieldError]:
    selector = new.get("spec", {}).get("selector")
    return immutable(selector, old.get("spec", {}).get("selector"), "spec.selector", go_selector(selector))


def check_deployment_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed Deployment; the selector stays."""
    return check_deployment(new) + _selector_kept(new, old)


def check_replica_set(obj: Object) -> list[FieldError]:
    """Check a ReplicaSet."""
    spec = obj.get("spec", {})
    return check_not_negative(spec, "spec", "replicas", "minReadySeconds") + _selector_and_template(spec, "deployment")


def check_replica_set_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed ReplicaSet; the selector stays."""
    return check_replica_set(new) + _selector_kept(new, old)


def check_replication_controller(obj: Object) -> list[FieldError]:
    """Check a ReplicationController."""
    spec = obj.get("spec", {})
    errors = check_not_negative(spec, "spec", "minReadySeconds", "replicas")
    if not spec.get("selector"):
        errors.append(required("spec.selector"))
    template = spec.get("template")
    if template is None:
        return [*errors, required("spec.template")]
    labels = template.get("metadata", {}).get("labels", {})
    if any(labels.get(key) != value for key, value in spec.get("selector", {}).items()):
        text = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", go_string_map(labels), text))
    errors += check_pod_template(template, "spec.template")
    if template.get("spec", {}).get("restartPolicy") in ("OnFailure", "Never"):
        errors.append(not_supported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",)))
    return errors


def check_daemon_set(obj: Object) -> list[FieldError]:
    """Check a DaemonSet."""
    spec = obj.get("spec", {})
    errors = _selector_and_template(spec, "daemonset")
    errors += check_not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
    strategy = spec.get("updateStrategy", {})
    kind = strategy.get("type", "")
    if kind == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        where = "spec.updateStrategy.rollingUpdate"
        unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        errors += check_int_or_percent(unavailable, f"{where}.maxUnavailable")
        errors += check_int_or_percent(surge, f"{where}.maxSurge")
        if amount_is_zero(unavailable) and amount_is_zero(surge):
            errors.append(required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
        elif not amount_is_zero(unavailable) and not amount_is_zero(surge):
            errors.append(invalid(f"{where}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif kind != "OnDelete":
        errors.append(not_supported("spec.updateStrategy.type", kind, ("OnDelete", "RollingUpdate")))
    return errors


def check_daemon_set_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed DaemonSet; the selector stays."""
    return check_daemon_set(new) + _selector_kept(new, old)


def check_stateful_set(obj: Object) -> list[FieldError]:
    """Check a StatefulSet. Its pods are checked when they are made: their mounts may name claims, as upstream."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec.get("updateStrategy", {})
    kind = strategy.get("type", "")
    if not kind:
        errors.append(required("spec.updateStrategy"))
    elif kind == "OnDelete":
        if strategy.get("rollingUpdate") is not None:
            text = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"], text))
    elif kind == "RollingUpdate":
        errors += check_not_negative(
            strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate", "partition"
        )
    else:
        errors.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    errors += check_not_negative(spec, "spec", "replicas", "minReadySeconds")
    return errors + _selector_and_template(spec, "statefulset", pods_checked=False)


_STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def check_stateful_set_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed StatefulSet; most of its spec stays."""
    errors = check_stateful_set(new)
    kept, before = (
        {name: value for name, value in obj.get("spec", {}).items() if name not in _STATEFUL_SET_MUTABLE}
        for obj in (new, old)
    )
    if kept != before:
        text = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        errors.append(forbidden("spec", text))
    return errors


_JOB_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")


def check_job(obj: Object) -> list[FieldError]:
    """Check a Job."""
    spec = obj.get("spec", {})
    errors = _job_spec(spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        return [*errors, required("spec.selector")]
    errors += check_label_selector(selector, "spec.selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    if not _matches(selector, labels):
        text = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", go_string_map(labels), text))
    return errors


def _job_spec(spec: Object, field: str) -> list[FieldError]:
    errors = check_not_negative(spec, field, *_JOB_COUNTS)
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{field}.completions", f"when completion mode is {mode}"))
    errors += check_pod_template(spec.get("template", {}), f"{field}.template")
    policy = spec.get("template", {}).get("spec", {}).get("restartPolicy")
    if policy == "Always":
        errors.append(required(f"{field}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return errors


def check_job_update(new: Object, old: Object) -> list[FieldError]:
    """Check a changed Job; completions, selector and template stay, the template of a suspended one excepted."""
    errors = check_job(new)
    spec, before = new.get("spec", {}), old.get("spec", {})
    indexed = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if not indexed:
        errors += immutable(spec.get("completions"), before.get("completions"), "spec.completions")
    selector = spec.get("selector")
    errors += immutable(selector, before.get("selector"), "spec.selector", go_selector(selector))
    if not before.get("suspend") or old.get("status", {}).get("startTime"):
        errors += immutable(spec.get("template"), before.get("template"), "spec.template")
    errors += immutable(spec.get("completionMode"), before.get("completionMode"), "spec.completionMode")
    return errors + immutable(
        spec.get("backoffLimitPerIndex"), before.get("backoffLimitPerIndex"), "spec.backoffLimitPerIndex"
    )


def check_cron_job(obj: Object) -> list[FieldError]:
    """Check a CronJob."""
    spec = obj.get("spec", {})
    schedule = spec.get("schedule", "")
    errors: list[FieldError] = []
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        problem = schedule_problem(schedule)
        if problem:
            errors.append(invalid("spec.schedule", schedule, problem))
    errors += check_not_negative(
        spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    errors += check_one_of(spec.get("concurrencyPolicy"), "spec.concurrencyPolicy", ("Allow", "Forbid", "Replace"))
    job = spec.get("jobTemplate", {}).get("spec", {})
    if job.get("manualSelector"):
        errors.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    return errors + _job_spec(job, "spec.jobTemplate.spec")


_CRON_RANGES = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
_CRON_NAMES = {
    **{name: index + 1 for index, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())},
    **{name: index for index, name in enumerate("sun mon tue wed thu fri sat".split())},
}
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def schedule_problem(schedule: str) -> str:
    """Return what is wrong with a cron schedule of five fields or a descriptor; empty if nothing."""
    if schedule.startswith("@"):
        good = schedule in _DESCRIPTORS or schedule.startswith("@every ")
        return "" if good else f"unrecognized descriptor: {schedule}"
    parts = schedule.split()
    if len(parts) != 5:
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    for part, (_, low, high) in zip(parts, _CRON_RANGES, strict=True):
        for item in part.split(","):
            problem = _cron_item(item, low, high)
            if problem:
                return problem
    return ""


def _cron_item(item: str, low: int, high: int) -> str:
    span, slash, step = item.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return f"failed to parse int from {step}: strconv.Atoi: parsing {step!r}: invalid syntax".replace("'", '"')
    if span in ("*", "?"):
        return ""
    numbers = []
    for text in span.split("-"):
        number = _CRON_NAMES.get(text.lower(), int(text) if text.isdecimal() else -1)
        if number < 0:
            return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
        numbers.append(number)
    if len(numbers) > 2:
        return f"too many hyphens: {item}"
    if numbers[0] < low:
        return f"beginning of range ({numbers[0]}) below minimum ({low}): {item}"
    if numbers[-1] > high:
        return f"end of range ({numbers[-1]}) above maximum ({high}): {item}"
    if numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {item}"
    return ""


def check_hpa(obj: Object) -> list[FieldError]:
    """Check a HorizontalPodAutoscaler."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if low is not None and low < 1:
        errors.append(invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high < 1:
        errors.append(invalid("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        errors.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef", {})
    return errors + [required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)]


def check_pod_disruption_budget(obj: Object) -> list[FieldError]:
    """Check a PodDisruptionBudget."""
    spec = obj.get("spec", {})
    errors: list[FieldError] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        errors.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name in ("minAvailable", "maxUnavailable"):
        errors += check_int_or_percent(spec.get(name), f"spec.{name}")
        errors += check_at_most_all(spec.get(name), f"spec.{name}")
    errors += check_label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget")))
    return errors
