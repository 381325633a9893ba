"""What a benchmark found, as JSON with stable keys and as aligned text. It must never measure."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured: numbers of different machines do not compare."""

    kernel: str
    processors: int
    model: str
    memory_mb: int
    python: str


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One number; `against` names the peer's measurement in the same run, and `ratio` says how many times better we are."""

    case: str
    metric: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one benchmark."""

    name: str
    machine: Machine
    rows: tuple[Measurement, ...]

    def as_json(self) -> str:
        """Return it as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def as_text(self) -> str:
        """Return it as an aligned table."""
        machine = self.machine
        head = f"{self.name}: kernel {machine.kernel}, {machine.processors} x {machine.model}, {machine.memory_mb} MB"
        cells = [("CASE", "METRIC", "VALUE", "AGAINST", "RATIO")]
        for row in self.rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.{1 if row.ratio >= 10 else 2}f}x"
            cells.append((row.case, row.metric, f"{row.value:.4g} {row.unit}", row.against or "", ratio))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        return "\n".join((head, "", *lines))


def machine() -> Machine:
    """Return this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        kernel=platform.release(),
        processors=os.cpu_count() or 1,
        model=_model(),
        memory_mb=memory >> 20,
        python=platform.python_version(),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie; raises ValueError when there are none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()
