"""What rounds of requests tell of servers, on a machine whose other work disturbs some of them. Pure.

Disturbance only takes away. So a server's figure is the quartile of its rounds on the good side: disturbed rounds move it less than the median, and
a lucky one less than the best. A ratio is that of two such figures, and its spread is what nine of ten draws of the same rounds find. The
median of the ratios within a round stands beside it: it needs no such belief, and moves more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import msgspec

from fairlead.lab.bench.report import Measurement, quantile

_METRICS = (
    ("requests", "1/s", "per_second", 1),
    ("request, p50", "ms", "p50_ms", -1),
    ("request, p99", "ms", "p99_ms", -1),
    ("processor time per request", "µs", "cpu_us", -1),
)
"""Name, unit, field of a sample, and whether more of it is better (1) or less (-1)."""
_GOOD = 0.75
_DRAWS = 1000
_LOW, _HIGH = 0.05, 0.95


class Sample(msgspec.Struct, frozen=True):
    """One round of one server."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the server for one request."""


def rows(samples: Mapping[str, Sequence[Sample]], ours: str, peers: Sequence[str]) -> Iterator[Measurement]:
    """Yield each server's figures, and ours against each of the peers, which were measured in the same rounds."""
    for metric, unit, field, better in _METRICS:
        values = {name: [getattr(each, field) for each in found] for name, found in samples.items()}
        for name, found in values.items():
            if name != ours:
                yield Measurement(case=f"serving: {name}", metric=metric, value=_good(found, better), unit=unit)
        for peer in peers:
            pairs = list(zip(values[ours], values[peer], strict=True))
            low, high = _spread(pairs, better)
            yield Measurement(
                case=f"serving: {ours}",
                metric=metric,
                value=_good(values[ours], better),
                unit=unit,
                against=peer,
                ratio=_ratio(pairs, better),
            )
            for what, ratio in (
                ("least ratio of nine draws in ten", low),
                ("highest ratio of nine draws in ten", high),
                ("median ratio of a round", median((mine / theirs) ** better for mine, theirs in pairs)),
            ):
                yield Measurement(
                    case=f"serving: {ours}", metric=f"{metric}, {what}", value=ratio, unit="x", against=peer
                )


def _good(values: Sequence[float], better: int) -> float:
    """Return the quartile on the good side."""
    return quantile(values, _GOOD) if better > 0 else -quantile([-each for each in values], _GOOD)


def _ratio(pairs: Sequence[tuple[float, float]], better: int) -> float:
    """Return how many times better the first of each pair are, by their figures."""
    mine, theirs = ([pair[at] for pair in pairs] for at in (0, 1))
    return float((_good(mine, better) / _good(theirs, better)) ** better)


def _spread(pairs: Sequence[tuple[float, float]], better: int) -> tuple[float, float]:
    """Return between which ratios nine of ten draws of rounds are, the same ones for the same rounds."""
    chance = random.Random(0)
    found = [_ratio(chance.choices(pairs, k=len(pairs)), better) for _ in range(_DRAWS)]
    return quantile(found, _LOW), quantile(found, _HIGH)
