"""The DNS benchmark measures what it says and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import dns as benchmark

pytestmark = pytest.mark.kernel


def left_behind() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"fl-bench-dns-{os.getpid()}-" in line]


def test_ours_is_measured() -> None:
    with benchmark._places() as (server, client):
        sample = benchmark._measure(benchmark._ours(50), server, client, 50, 0.3)
        assert len(left_behind()) == 2
    assert sample.per_second > 1000
    assert 0 < sample.cpu_us < 1000
    assert left_behind() == []


def test_a_server_that_ends_is_an_error_and_leaves_nothing() -> None:
    with pytest.raises(UserError, match="does not answer"), benchmark._places() as (server, client):
        benchmark._measure(["true"], server, client, 5, 0.1)
    assert left_behind() == []


def test_without_the_peer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_path", lambda: "/nowhere")
    with pytest.raises(UserError, match="apt-get install unbound"):
        benchmark.run(count=5, rounds=1, seconds=0.1, step=lambda _: contextlib.nullcontext())


@pytest.mark.skipif(shutil.which("unbound", path=benchmark._path()) is None, reason="unbound is not installed")
def test_the_report_compares_with_unbound() -> None:
    report = benchmark.run(count=50, rounds=1, seconds=0.3, step=lambda _: contextlib.nullcontext())
    rows = json.loads(report.as_json())["rows"]
    assert [row["against"] for row in rows] == [None, "unbound", None, "unbound"]
    queries, cpu = rows[1], rows[3]
    assert queries["ratio"] == pytest.approx(queries["value"] / rows[0]["value"])
    assert cpu["ratio"] == pytest.approx(rows[2]["value"] / cpu["value"])
    assert left_behind() == []
