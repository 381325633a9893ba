"""Exponential back-off with jitter: how long to wait before the next try of something that failed."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(*, first_s: float = 0.05, factor: float = 2.0, most_s: float = 10.0, jitter: float = 0.2) -> Iterator[float]:
    """Yield delays in seconds without end, growing by `factor` up to `most_s`, each varied by ± `jitter` of itself."""
    delay = first_s
    while True:
        yield delay * random.uniform(1 - jitter, 1 + jitter)
        delay = min(delay * factor, most_s)
