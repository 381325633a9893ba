"""HorizontalPodAutoscalers are stored as autoscaling/v2 and served as v1 too, which knows one metric: the CPU in percent.

Clients as old as kubectl 1.20 create them as v1. What v1 cannot say travels in annotations, so that an update through v1 loses nothing.
Source: the conversion of k8s.io/api/autoscaling/v1 (API field HorizontalPodAutoscaler).
"""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]

_ANNOTATIONS = {
    "metrics": "autoscaling.alpha.kubernetes.io/metrics",
    "behavior": "autoscaling.alpha.kubernetes.io/behavior",
    "currentMetrics": "autoscaling.alpha.kubernetes.io/current-metrics",
    "conditions": "autoscaling.alpha.kubernetes.io/conditions",
}


def from_v2(obj: Json) -> Json:
    """Return a stored (v2) autoscaler as v1; shares nested values with it."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    said: Json = {}
    target, said["metrics"] = _split(spec.pop("metrics", []), "target")
    current, said["currentMetrics"] = _split(status.pop("currentMetrics", []), "current")
    said["behavior"], said["conditions"] = spec.pop("behavior", None), status.pop("conditions", None)
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    meta = dict(obj.get("metadata") or {})
    notes = {_ANNOTATIONS[field]: msgspec.json.encode(value).decode() for field, value in said.items() if value}
    if notes:
        meta["annotations"] = {**(meta.get("annotations") or {}), **notes}
    found = {**obj, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec}
    return found | ({"status": status} if "status" in obj else {})


def to_v2(obj: Json) -> Json:
    """Return a v1 autoscaler in the stored form (v2); what is wrong in our annotations is left out."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    notes = dict(meta.get("annotations") or {})
    said = {field: _decoded(notes.pop(name, "")) for field, name in _ANNOTATIONS.items()}
    _join(spec, "metrics", _cpu("target", spec.pop("targetCPUUtilizationPercentage", None)), said["metrics"])
    percent = status.pop("currentCPUUtilizationPercentage", None)
    _join(status, "currentMetrics", _cpu("current", percent), said["currentMetrics"])
    if isinstance(said["behavior"], dict):
        spec["behavior"] = said["behavior"]
    if isinstance(said["conditions"], list):
        status["conditions"] = said["conditions"]
    if "annotations" in meta:
        meta["annotations"] = notes
        if not notes:
            del meta["annotations"]
    found = {**obj, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec}
    return found | ({"status": status} if status or "status" in obj else {})


def _split(metrics: list[Json], side: str) -> tuple[int | None, list[Json]]:
    """Return the CPU's percentage and the other metrics."""
    percent, others = None, []
    for metric in metrics:
        source = metric.get("resource") or {}
        found = (source.get(side) or {}).get("averageUtilization")
        if percent is None and source.get("name") == "cpu" and found is not None:
            percent = found
        else:
            others.append(metric)
    return percent, others


def _join(into: Json, field: str, cpu: Json | None, others: Any) -> None:
    found = [*([cpu] if cpu else []), *(others if isinstance(others, list) else [])]
    if found:
        into[field] = found


def _cpu(side: str, percent: int | None) -> Json | None:
    if percent is None:
        return None
    value = {"averageUtilization": percent} | ({"type": "Utilization"} if side == "target" else {})
    return {"type": "Resource", "resource": {"name": "cpu", side: value}}


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return None
