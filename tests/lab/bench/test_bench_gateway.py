"""The benchmark of Gateways at a small size."""

from __future__ import annotations

from contextlib import nullcontext

from fairlead.lab.bench import gateway


def test_everything_is_measured() -> None:
    report = gateway.run(routes=20, step=lambda _: nullcontext())
    assert {row.case for row in report.rows} == {"20 routes"}
    assert len(report.rows) == 11
    assert all(row.value > 0 for row in report.rows)
