"""The benchmark of synchronization: its peers' rulesets load, its report is complete, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.bench import sync
from fairlead.lab.bench.report import Machine, Measurement, Report, quantile


@contextlib.contextmanager
def silent(what: str) -> Iterator[None]:
    yield


@pytest.mark.kernel
def test_small_run_measures_ours_and_both_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "_CHANGES", 20)
    monkeypatch.setattr(sync, "_BULK", 30)
    report = sync.run([40], rounds=1, through_api=False, step=silent)
    found = {(row.metric, row.against) for row in report.rows}
    peers = ("kube-proxy 1.36 shape", "kube-proxy 1.33 shape")
    assert found >= {(metric, peer) for metric in ("full load", "one endpoint, p50") for peer in (None, *peers)}
    assert all(row.value > 0 for row in report.rows)
    assert f"fl-bench-{os.getpid()}-" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def test_report_reads_as_text_and_json() -> None:
    row = Measurement(case="10 services", metric="full load", value=37.7, unit="s", against="peer", ratio=41.2)
    here = Machine(kernel="6.18", processors=2, model="CPU", memory_mb=4096, python="3.11")
    report = Report(name="sync", machine=here, rows=(row,))
    assert report.as_text().splitlines() == [
        "sync: kernel 6.18, 2 x CPU, 4096 MB",
        "",
        "CASE         METRIC     VALUE   AGAINST  RATIO",
        "10 services  full load  37.7 s  peer     41.2x",
    ]
    assert json.loads(report.as_json())["rows"][0] == {
        "case": "10 services", "metric": "full load", "value": 37.7, "unit": "s", "against": "peer", "ratio": 41.2,
    }  # fmt: skip


def test_addresses_are_different_and_limited() -> None:
    made = sync.services(300)
    assert len({row.address for row in made}) == 300
    assert len({each for row in made for each in row.endpoints}) == 3000
    changed = sync.replaced(made[0], 5)
    assert len(set(changed.endpoints) - set(made[0].endpoints)) == 1
    with pytest.raises(UserError, match="between 1 and 65536"):
        sync.services(70000)


def test_quantile() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
