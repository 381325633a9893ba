"""What a pod asks for: the class of its quality of service, and what it needs at its greatest. Pure.

Source: kubernetes.io, "Pod Quality of Service Classes"; core/v1 PodSpec; KEP-753 (sidecars).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

from fairlead.base import quantity

Json = dict[str, Any]
Number = TypeVar("Number", int, Fraction)

_COUNTED = ("cpu", "memory")


def peak(spec: Json, of_container: Callable[[Json], Mapping[str, Number]]) -> dict[str, Number]:
    """Return what the pod needs at its greatest: its containers together, or one init container beside the sidecars before it.

    `of_container` says what one container needs, by resource.
    """
    total: dict[str, Number] = {}
    for container in spec.get("containers") or ():
        _add(total, of_container(container))
    sidecars: dict[str, Number] = {}
    highest: dict[str, Number] = {}
    for container in spec.get("initContainers") or ():
        own = dict(of_container(container))
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _add(total, own)
            own = sidecars
        else:
            _add(own, sidecars)
        for name, number in own.items():
            highest[name] = max(highest.get(name, number), number)
    for name, number in highest.items():
        total[name] = max(total.get(name, number), number)
    return total


def _add(total: dict[str, Number], more: Mapping[str, Number]) -> None:
    for name, number in more.items():
        total[name] = total[name] + number if name in total else number


def qos_class(spec: Json) -> str:
    """Return Guaranteed, Burstable or BestEffort; only cpu and memory count."""
    requests: dict[str, Fraction] = {}
    limits: dict[str, Fraction] = {}
    guaranteed = True
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        own_limits = _counted(resources.get("limits") or {})
        _add(requests, _counted(resources.get("requests") or {}))
        _add(limits, own_limits)
        if set(own_limits) != set(_COUNTED):
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and len(requests) == len(limits) and all(limits[name] == requests[name] for name in requests):
        return "Guaranteed"
    return "Burstable"


def _counted(amounts: Json) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for name in _COUNTED:
        try:
            amount = quantity.parse(amounts[name]) if name in amounts else Fraction(0)
        except quantity.QuantityError:
            continue
        if amount > 0:
            found[name] = amount
    return found
