"""The rows of the kinds that make pods.

Source: the printers of the kube-apiserver.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fairlead.apiserver.kinds.ages import age, human, parse_time
from fairlead.base import selectors

Object = dict[str, Any]

NONE = "<none>"


def format_labels(labels: dict[str, str] | None) -> str:
    """Return labels as `a=b,c=d`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def format_selector(selector: Object | None) -> str:
    """Return a LabelSelector as kubectl writes it."""
    if not selector:
        return NONE
    try:
        return str(selectors.from_object(selector)) or NONE
    except selectors.SelectorError:
        return "<error>"


def _names(obj: Object, path: tuple[str, ...] = ("spec", "template", "spec")) -> tuple[str, str]:
    for step in path:
        obj = obj.get(step) or {}
    containers = obj.get("containers") or ()
    return ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)


def _start(obj: Object) -> tuple[Object, Object, Object]:
    return obj.get("metadata", {}), obj.get("spec", {}), obj.get("status", {})


def deployment_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Deployment."""
    meta, spec, status = _start(obj)
    return [
        meta.get("name", ""),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(meta.get("creationTimestamp"), now),
        *_names(obj),
        format_selector(spec.get("selector")),
    ]


def replica_set_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ReplicaSet."""
    meta, spec, status = _start(obj)
    return [
        meta.get("name", ""),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(meta.get("creationTimestamp"), now),
        *_names(obj),
        format_selector(spec.get("selector")),
    ]


def replication_controller_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ReplicationController."""
    return [
        *replica_set_cells(obj | {"spec": obj.get("spec", {}) | {"selector": None}}, now)[:-1],
        format_labels(obj.get("spec", {}).get("selector")),
    ]


def daemon_set_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a DaemonSet."""
    meta, spec, status = _start(obj)
    return [
        meta.get("name", ""),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        format_labels(spec.get("template", {}).get("spec", {}).get("nodeSelector")),
        age(meta.get("creationTimestamp"), now),
        *_names(obj),
        format_selector(spec.get("selector")),
    ]


def stateful_set_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a StatefulSet."""
    meta, spec, status = _start(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [meta.get("name", ""), ready, age(meta.get("creationTimestamp"), now), *_names(obj)]


def job_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a Job."""
    meta, spec, status = _start(obj)
    succeeded = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    elif spec.get("parallelism", 0) > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    started, ended = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    duration = human(((ended or now) - started).total_seconds()) if started else ""
    return [
        meta.get("name", ""),
        completions,
        duration,
        age(meta.get("creationTimestamp"), now),
        *_names(obj),
        format_selector(spec.get("selector")),
    ]


def cron_job_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a CronJob."""
    meta, spec, status = _start(obj)
    last = status.get("lastScheduleTime")
    return [
        meta.get("name", ""),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        age(last, now) if last else NONE,
        age(meta.get("creationTimestamp"), now),
        *_names(obj, ("spec", "jobTemplate", "spec", "template", "spec")),
        format_selector(spec.get("jobTemplate", {}).get("spec", {}).get("selector")),
    ]


def controller_revision_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a ControllerRevision."""
    meta = obj.get("metadata", {})
    owner = next((o for o in meta.get("ownerReferences", ()) if o.get("controller")), None)
    name = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        name = f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"
    return [meta.get("name", ""), name, obj.get("revision", 0), age(meta.get("creationTimestamp"), now)]


def pod_template_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a PodTemplate."""
    template = obj.get("template", {})
    names = _names(obj, ("template", "spec"))
    return [obj.get("metadata", {}).get("name", ""), *names, format_labels(template.get("metadata", {}).get("labels"))]


def hpa_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a HorizontalPodAutoscaler."""
    meta, spec, status = _start(obj)
    target = spec.get("scaleTargetRef", {})
    metrics = spec.get("metrics") or []
    if (percent := spec.get("targetCPUUtilizationPercentage")) is not None:
        # As autoscaling/v1 has it.
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": percent}}}]
    return [
        meta.get("name", ""),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(metrics, status.get("currentMetrics") or []),
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else "<unset>",
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(meta.get("creationTimestamp"), now),
    ]


def _targets(metrics: list[Object], current: list[Object]) -> str:
    texts = []
    for index, metric in enumerate(metrics):
        source = metric.get(metric.get("type", "").replace("Resource", "resource"), {}) or metric.get("resource") or {}
        goal = source.get("target", {})
        seen = (current[index].get("resource") or {}).get("current", {}) if index < len(current) else {}
        if goal.get("averageUtilization") is not None:
            now = f"{seen['averageUtilization']}%" if seen.get("averageUtilization") is not None else "<unknown>"
            texts.append(f"{source.get('name', '')}: {now}/{goal['averageUtilization']}%")
        else:
            amount = goal.get("averageValue") or goal.get("value") or "<auto>"
            texts.append(f"{seen.get('averageValue') or seen.get('value') or '<unknown>'}/{amount}")
    if not texts:
        return NONE
    return ", ".join(texts[:2]) + (f" + {len(texts) - 2} more..." if len(texts) > 2 else "")


def pod_disruption_budget_cells(obj: Object, now: datetime) -> list[Any]:
    """Return the cells of a PodDisruptionBudget."""
    meta, spec, status = _start(obj)
    return [
        meta.get("name", ""),
        str(spec["minAvailable"]) if spec.get("minAvailable") is not None else "N/A",
        str(spec["maxUnavailable"]) if spec.get("maxUnavailable") is not None else "N/A",
        status.get("disruptionsAllowed", 0),
        age(meta.get("creationTimestamp"), now),
    ]
