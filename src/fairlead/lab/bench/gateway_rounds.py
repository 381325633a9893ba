"""What rounds of requests tell of servers, on a machine whose other work disturbs many of them. Pure.

Servers are measured in turns, in rounds so short that what disturbs one disturbs its neighbors as well: a ratio is the median of the ratios within
a round. A part of what makes a server slow goes with its process, not with the round (where its memory lies), so there are rounds of several
starts of all servers. The spread of a ratio is what nine of ten draws of as many starts, and of as many of their rounds, find.
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
_DRAWS = 1000
_LOW, _HIGH = 0.05, 0.95


class Sample(msgspec.Struct, frozen=True):
    """One round of one server."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the server for one request."""


Start = Mapping[str, Sequence[Sample]]
"""Name of a server → its rounds; the compared ones have as many as each other, in the same order."""


def rows(case: str, starts: Sequence[Start], ours: str, peers: Sequence[str]) -> Iterator[Measurement]:
    """Yield each server's figures, and ours against each of the peers."""
    for metric, unit, field, better in _METRICS:
        values = [{name: [getattr(each, field) for each in found] for name, found in start.items()} for start in starts]
        figures = {name: median(value for start in values for value in start[name]) for name in values[0]}
        for name in figures:
            if name != ours:
                yield Measurement(case=f"{case}: {name}", metric=metric, value=figures[name], unit=unit)
        for peer in peers:
            ratios = [
                [(mine / theirs) ** better for mine, theirs in zip(start[ours], start[peer], strict=True)]
                for start in values
            ]
            yield Measurement(
                case=f"{case}: {ours}",
                metric=metric,
                value=figures[ours],
                unit=unit,
                against=peer,
                ratio=_median(ratios),
            )
            low, high = _spread(ratios)
            for what, ratio in (
                ("least ratio of nine draws in ten", low),
                ("highest ratio of nine draws in ten", high),
                ("least ratio of a start", min(map(median, ratios))),
                ("highest ratio of a start", max(map(median, ratios))),
            ):
                yield Measurement(
                    case=f"{case}: {ours}", metric=f"{metric}, {what}", value=ratio, unit="x", against=peer
                )


def _median(starts: Sequence[Sequence[float]]) -> float:
    return median(ratio for start in starts for ratio in start)


def _spread(starts: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return between which ratios nine of ten draws are, the same ones for the same rounds."""
    chance = random.Random(0)
    found = [
        _median([chance.choices(start, k=len(start)) for start in chance.choices(starts, k=len(starts))])
        for _ in range(_DRAWS)
    ]
    return quantile(found, _LOW), quantile(found, _HIGH)
