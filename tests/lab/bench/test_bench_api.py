"""The benchmark of the API server: small runs measure every case, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab.bench.test_bench_sync import silent

from fairlead.base.errors import UserError
from fairlead.lab.bench import api


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path))
    return tmp_path


def test_a_small_run_measures_every_case(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "WATCHERS", 3)
    monkeypatch.setattr(api, "_etcd", lambda: None)
    report = api.run(pods=60, writes=8, rounds=1, step=silent)
    assert [(row.case, row.metric) for row in report.rows] == [
        ("1 clients", "durable creates of pods"),
        ("16 clients", "durable creates of pods"),
        ("64 clients", "durable creates of pods"),
        ("16 clients", "durable creates of HTTPRoutes"),
        ("3 watchers, 16 clients", "deliveries"),
        ("3 watchers, 16 clients", "processor time per delivery"),
        ("60 pods", "list, p50"),
        ("60 pods", "list, slowest"),
        ("60 pods", "memory of the server"),
    ]
    assert all(row.value > 0 for row in report.rows if row.metric != "processor time per delivery")
    assert list(home.iterdir()) == []


def test_the_peer_is_compared_client_by_client() -> None:
    found = api._Rounds(creates={16: [2000.0, 1000.0, 3000.0]}, puts={16: [1000.0]})
    found.routes = [1.0]
    found.deliveries, found.delivery_us, found.lists_s, found.memory_mb = [1.0], [1.0], [0.25, 0.125], [1.0]
    rows = list(api._rows(found, 10))
    assert [(row.value, row.against, row.ratio) for row in rows[:2]] == [
        (2000.0, None, None),
        (1000.0, "etcd, JSON", 2.0),
    ]
    assert (rows[-3].value, rows[-2].value) == (250.0, 250.0)


def test_a_server_that_does_not_start_is_an_error_with_its_words(home: Path) -> None:
    with api._folder() as place, pytest.raises(UserError, match="does not start: no such thing"):
        with api._running(["sh", "-c", "echo no such thing >&2; exit 3"], place, api._free_port(), "/readyz"):
            raise AssertionError("unreachable")
    assert list(home.iterdir()) == []


def test_clients_that_are_refused_are_an_error() -> None:
    with api._folder() as place, pytest.raises(UserError, match="the clients failed"):
        api._Clients(api._free_port(), place.pki, "/", "{}").read("/", 1)
