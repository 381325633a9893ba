"""The benchmark of the datapath: each world carries packets to the server by its own way, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import datapath as benchmark
from fairlead.lab.bench import datapath_world as world
from fairlead.lab.bench.datapath_world import World

pytestmark = pytest.mark.kernel

WORLDS: dict[str, Callable[[], AbstractContextManager[World]]] = {
    "direct": lambda: world.direct("direct"),
    "no rules": lambda: world.routed("routed", 1, world.no_rules, world.SERVER),
    "ours": lambda: world.routed("ours", 1, world.our_rules, world.VIP),
    "ours, two nodes": lambda: world.routed("ours", 2, world.our_rules, world.VIP),
    "peer": lambda: world.routed("peer", 1, world.peer_rules, world.VIP),
    "peer, two nodes": lambda: world.routed("peer", 2, world.peer_rules, world.VIP),
}


def silent(_: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def left_behind() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"fl-bench-{os.getpid()}-" in line]


@pytest.mark.parametrize("name", WORLDS)
def test_connections_reach_the_server(name: str) -> None:
    with WORLDS[name]() as made:
        assert benchmark._connect_close(made, 0.05) > 0
    assert left_behind() == []


def test_round_trips_and_streams_are_measured_through_our_service() -> None:
    with WORLDS["ours"]() as made:
        assert 0 < benchmark._request_response(made, 1) < 1e6
        assert benchmark._stream(made, 1) > 0


def test_the_report_says_how_many_times_better_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(ours: float, theirs: float) -> Callable[[World, float], float]:
        return lambda place, _: ours if "-ours-" in place.client.name else theirs

    monkeypatch.setattr(benchmark, "_request_response", of(10, 20))
    monkeypatch.setattr(benchmark, "_connect_close", of(50, 40))
    monkeypatch.setattr(benchmark, "_stream", of(8, 16))
    rows = benchmark.run(rounds=1, seconds=1, step=silent).rows
    peers = [None, benchmark.DIRECT, benchmark.ROUTED, benchmark.PEER]
    assert [row.against for row in rows] == peers * 6
    ratios = {(row.case, row.metric): row.ratio for row in rows if row.against == benchmark.PEER}
    expected = {"request/response, p50": 2.0, "connect/close, p50": 0.8, "stream": 0.5}
    assert ratios == {
        (case, metric): ratio for case in ("same node", "cross-node") for metric, ratio in expected.items()
    }
    assert left_behind() == []


def test_without_the_programs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="apt-get install sockperf iperf3"):
        benchmark.run(rounds=1, seconds=1, step=silent)
