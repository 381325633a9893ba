"""The benchmark of Gateways at a small size."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import gateway, gateway_serving
from fairlead.lab.bench.gateway_serving import OURS, PEER, SILENT, Sample


def test_everything_is_measured() -> None:
    report = gateway.run(routes=20, rounds=1, seconds=1, step=lambda _: nullcontext())
    changes = [row for row in report.rows if row.case == "20 routes"]
    assert len(changes) == 18
    requests = {row.case: row for row in report.rows if row.metric == "requests"}
    assert {f"serving: {each}" for each in (OURS, PEER, SILENT)} <= requests.keys()
    assert requests[f"serving: {OURS}"].against == PEER
    assert all(row.value > 0 for row in report.rows)


def test_the_report_of_the_load_generator_is_read() -> None:
    report = """
  Thread Stats   Avg      Stdev     Max   +/- Stdev
  Latency Distribution
     50%  812.00us
     75%    1.02ms
     90%    1.50ms
     99%    2.50ms
  1000 requests in 2.00s, 0.94MB read
Requests/sec:    500.25
"""
    assert gateway_serving._sample(report, 0.1) == Sample(500.25, 0.812, 2.5, pytest.approx(100))
    for broken in ("", report + "  Non-2xx or 3xx responses: 3", report.replace("1000 requests", "0 requests")):
        with pytest.raises(UserError, match="requests failed"):
            gateway_serving._sample(broken, 0.1)


def test_ratios_are_of_the_same_round() -> None:
    # Twice as busy in the second round, three times in the third: ours always does 0.9 of what the peer does.
    peer = [Sample(100.0 / busy, 2.0 * busy, 4.0 * busy, 50.0 * busy) for busy in (1, 2, 3)]
    ours = [Sample(90.0 / busy, 4.0 * busy, 4.0 * busy, 100.0 * busy) for busy in (1, 2, 3)]
    found = {row.metric: row for row in gateway_serving._rows({OURS: ours, PEER: peer}) if row.against}
    assert {metric: row.ratio for metric, row in found.items()} == {
        "requests": pytest.approx(0.9),
        "request, p50": pytest.approx(0.5),
        "request, p99": pytest.approx(1.0),
        "processor time per request": pytest.approx(0.5),
    }
    assert found["requests"].value == 45


def test_what_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nginx").write_text("#!/bin/sh\n")
    (tmp_path / "nginx").chmod(0o755)
    monkeypatch.setattr(gateway_serving, "_path", lambda: str(tmp_path))
    assert gateway_serving.absent() == ["haproxy is not there and not measured; apt-get install haproxy"]


def test_without_the_load_generator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="wrk"):
        gateway.run(routes=10, rounds=1, seconds=1, step=lambda _: nullcontext())
