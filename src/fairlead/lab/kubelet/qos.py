"""The quality-of-service class of a pod, which its status names (core/v1 PodQOSClass)."""

from __future__ import annotations

from fairlead.base import quantity
from fairlead.lab.kubelet.pod import Pod, Resources

_COUNTED = ("cpu", "memory")


def qos_class(pod: Pod) -> str:
    """Return Guaranteed, Burstable or BestEffort."""
    stated = [container.resources or Resources() for container in (*pod.init, *pod.spec.containers)]
    if not any(_positive(part) for resources in stated for part in (resources.requests, resources.limits)):
        return "BestEffort"
    for resources in stated:
        limits = _positive(resources.limits)
        requests = limits | _positive(resources.requests)
        if set(limits) != set(_COUNTED) or any(
            quantity.parse(requests[name]) != quantity.parse(limits[name]) for name in _COUNTED
        ):
            return "Burstable"
    return "Guaranteed"


def _positive(amounts: dict[str, str | int | float] | None) -> dict[str, str | int | float]:
    return {name: amount for name, amount in (amounts or {}).items() if name in _COUNTED and quantity.parse(amount) > 0}
