"""Numbers that are given as a count or as a percentage, as rolling updates use them. Source: apps/v1, intstr.IntOrString."""

from __future__ import annotations

import math


def scaled(value: int | str | None, total: int, *, up: bool) -> int:
    """Return `value`, or that percentage of `total` rounded up or down; 0 for None."""
    if value is None:
        return 0
    if isinstance(value, str):
        if not value.endswith("%"):
            return int(value)
        share = int(value[:-1]) * total
        return math.ceil(share / 100) if up else share // 100
    return value


def bounds(max_surge: int | str | None, max_unavailable: int | str | None, replicas: int) -> tuple[int, int]:
    """Return how many pods may be too many and how many too few during an update of `replicas`; never both zero."""
    surge = scaled(max_surge, replicas, up=True)
    unavailable = scaled(max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas) if replicas else unavailable
