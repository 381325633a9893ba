"""The quality-of-service class of a pod, from the requests and limits of its containers.

Source: kubernetes.io, "Pod Quality of Service Classes"; only cpu and memory count.
"""

from __future__ import annotations

from typing import Any

from fairlead.base import quantity

_COUNTED = ("cpu", "memory")


def qos_class(spec: dict[str, Any]) -> str:
    """Return Guaranteed, Burstable or BestEffort."""
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    guaranteed = True
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources", {})
        own_limits = _counted(resources.get("limits", {}))
        own_requests = _counted(resources.get("requests", {}))
        for total, own in ((requests, own_requests), (limits, own_limits)):
            for name, amount in own.items():
                total[name] = total.get(name, 0) + amount
        if set(own_limits) != set(_COUNTED):
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    if (
        guaranteed
        and all(limits.get(name) == amount for name, amount in requests.items())
        and len(requests) == len(limits)
    ):
        return "Guaranteed"
    return "Burstable"


def _counted(amounts: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name in _COUNTED:
        if name in amounts:
            try:
                amount = quantity.parse(amounts[name])
            except quantity.QuantityError:
                continue
            if amount > 0:
                result[name] = amount
    return result
