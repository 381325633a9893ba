"""The benchmark of Gateways at a small size."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import gateway, gateway_peers, gateway_serving
from fairlead.lab.bench.gateway_peers import AS_MANY, ONE_HOST, SILENT
from fairlead.lab.bench.gateway_rounds import Sample, rows
from fairlead.lab.bench.gateway_serving import OURS


def test_everything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_CHANGES", 30)
    report = gateway.run(routes=20, rounds=1, seconds=1, step=lambda _: nullcontext())
    changes = [row for row in report.rows if row.case == "20 routes"]
    assert len(changes) == 18
    requests = [(row.case, row.against) for row in report.rows if row.metric == "requests"]
    ours = f"serving: {OURS}"
    assert {(ours, ONE_HOST), (ours, AS_MANY)} <= set(requests)
    assert {(f"serving: {each}", None) for each in (ONE_HOST, AS_MANY, SILENT)} <= set(requests)
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


def sample(busy: float, speed: float = 1.0) -> Sample:
    return Sample(100.0 / busy * speed, 2.0 * busy, 4.0 * busy, 50.0 * busy / speed)


# What else the machine does in each round, from nothing to twice as much as it can.
BUSY = (1, 1, 1.02, 1, 3, 1.5, 1, 1.01, 1, 2)
ROUNDS: dict[str, tuple[list[Sample], list[Sample], float, float]] = {
    "both are disturbed alike": ([sample(each, 0.9) for each in BUSY], [sample(each) for each in BUSY], 0.9, 0.9),
    "each by itself": ([sample(each, 0.9) for each in BUSY], [sample(each) for each in BUSY[::-1]], 0.9, 0.9),
    "ours more often": ([sample(each, 1.2) for each in (*BUSY[4:7], *BUSY[:7])], [sample(1)] * 10, 1.2, 1.2),
}


@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_disturbed_rounds_hide_no_ratio(case: str) -> None:
    ours, peer, requests, processor = ROUNDS[case]
    found = {row.metric: row for row in rows({OURS: ours, ONE_HOST: peer}, OURS, [ONE_HOST]) if row.against}
    ratios = {metric: row.ratio for metric, row in found.items() if row.ratio is not None}
    assert ratios == {
        "requests": pytest.approx(requests),
        "request, p50": pytest.approx(1.0),
        "request, p99": pytest.approx(1.0),
        "processor time per request": pytest.approx(processor),
    }
    for metric, ratio in ratios.items():
        low, high = (found[f"{metric}, {each} ratio of nine draws in ten"].value for each in ("least", "highest"))
        assert low <= ratio <= high


def test_what_a_round_costs_is_seen_in_the_same_round() -> None:
    busy = (1, 2, 3, 4, 5)
    found = rows(
        {OURS: [sample(each, 0.9) for each in busy], ONE_HOST: [sample(each) for each in busy]}, OURS, [ONE_HOST]
    )
    ratio = next(row.value for row in found if row.metric == "requests, median ratio of a round")
    assert ratio == pytest.approx(0.9)


def test_what_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nginx").write_text("#!/bin/sh\n")
    (tmp_path / "nginx").chmod(0o755)
    monkeypatch.setattr(gateway_peers, "_path", lambda: str(tmp_path))
    assert gateway_peers.absent() == ["haproxy is not there and not measured; apt-get install haproxy"]


def test_without_the_load_generator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="wrk"):
        gateway.run(routes=10, rounds=1, seconds=1, step=lambda _: nullcontext())
