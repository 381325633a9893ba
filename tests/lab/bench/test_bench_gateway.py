"""The benchmark of Gateways at a small size."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import gateway, gateway_peers, gateway_serving
from fairlead.lab.bench.gateway_peers import AS_MANY, ONE_HOST, SILENT
from fairlead.lab.bench.gateway_rounds import Sample, rows
from fairlead.lab.bench.gateway_serving import OURS
from fairlead.lab.bench.processes import cpu_s


def test_everything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_CHANGES", 30)
    report = gateway.run(routes=20, starts=2, rounds=1, requests=200, step=lambda _: nullcontext())
    changes = [row for row in report.rows if row.case == "20 routes"]
    assert len(changes) == 18
    requests = {(row.case, row.against) for row in report.rows if row.metric == "requests"}
    few, many = "serving 10 routes", "serving 20 routes"
    assert {(f"{few}: {OURS}", ONE_HOST), (f"{many}: {OURS}", ONE_HOST), (f"{many}: {OURS}", AS_MANY)} <= requests
    assert {(f"{few}: {each}", None) for each in (ONE_HOST, SILENT)} <= requests
    assert {(f"{many}: {each}", None) for each in (ONE_HOST, AS_MANY)} <= requests
    assert all(row.value > 0 for row in report.rows)


def test_few_routes_are_served_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_CHANGES", 1)
    steps: list[str] = []

    def step(words: str) -> nullcontext[None]:
        steps.append(words)
        return nullcontext()

    gateway.run(routes=10, starts=1, rounds=1, requests=100, step=step)
    assert [each for each in steps if OURS in each] == ["10 routes, start 1 of 1: starting fairlead"]


def test_the_log_of_the_load_generator_is_read() -> None:
    # 100 requests, one after the other, which take 1, 2, ... 100 ms.
    begun = [sum(range(number + 1)) * 1000 for number in range(100)]
    lines = [f"{1_700_000_000_000_000 + at}\t200\t{(number + 1) * 1000}" for number, at in enumerate(begun)]
    found = gateway_serving._sample("\n".join(lines), 100, 0.005)
    assert found == Sample(pytest.approx(100 / 5.05), 51.0, 100.0, pytest.approx(50))
    for broken in ([], lines[:-1], [*lines[:-1], lines[-1].replace("\t200\t", "\t503\t")], [*lines[:-1], "no socket"]):
        with pytest.raises(UserError, match="requests failed"):
            gateway_serving._sample("\n".join(broken), 100, 0.005)


def sample(busy: float, speed: float = 1.0) -> Sample:
    return Sample(100.0 / busy * speed, 2.0 * busy, 4.0 * busy, 50.0 * busy / speed)


# What else the machine does in each round, from nothing to twice as much as it can.
BUSY = (1, 1, 1.02, 1, 3, 1.5, 1, 1.01, 1, 2)
STARTS: dict[str, tuple[list[float], Sequence[float], Sequence[float], float]] = {
    "both are disturbed alike": ([0.9], BUSY, BUSY, 0.9),
    "each by itself": ([0.9], BUSY, BUSY[::-1], 0.9),
    "ours in four rounds of ten": ([1.2], (3, 1.5, 2, 3, *[1] * 6), [1] * 10, 1.2),
    "as fast as each other": ([1.0], BUSY, BUSY, 1.0),
    "a part goes with the start": ([0.8, 0.9, 1.2], BUSY, BUSY, 0.9),
}


@pytest.mark.parametrize("case", STARTS, ids=str)
def test_disturbed_rounds_hide_no_ratio(case: str) -> None:
    speeds, mine, theirs, expected = STARTS[case]
    starts = [{OURS: [sample(each, speed) for each in mine], ONE_HOST: list(map(sample, theirs))} for speed in speeds]
    found = {row.metric: row for row in rows("c", starts, OURS, [ONE_HOST]) if row.against}
    ratios = {metric: row.ratio for metric, row in found.items() if row.ratio is not None}
    assert ratios == {
        "requests": pytest.approx(expected),
        "request, p50": pytest.approx(1.0),
        "request, p99": pytest.approx(1.0),
        "processor time per request": pytest.approx(expected),
    }
    for metric, ratio in ratios.items():
        low, high = (found[f"{metric}, {each} ratio of nine draws in ten"].value for each in ("least", "highest"))
        assert low <= ratio <= high
    assert found["requests, least ratio of a start"].value == pytest.approx(min(speeds))
    assert found["requests, highest ratio of a start"].value == pytest.approx(max(speeds))


def test_processor_time_is_that_of_a_process() -> None:
    before = time.process_time()
    found = cpu_s(os.getpid())
    assert before <= found <= time.process_time()
    with pytest.raises(OSError):
        cpu_s(1 << 22)


def test_what_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nginx").write_text("#!/bin/sh\n")
    (tmp_path / "nginx").chmod(0o755)
    monkeypatch.setattr(gateway_peers, "_path", lambda: str(tmp_path))
    assert gateway_peers.absent() == ["haproxy is not there and not measured; apt-get install haproxy"]


def test_without_the_load_generator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="h2load"):
        gateway.run(routes=10, starts=1, rounds=1, requests=100, step=lambda _: nullcontext())
