from __future__ import annotations

from fairlead.lab.kubelet.backoff import Backoff, go_duration


def test_delays_double_to_five_minutes():
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(8):
        delays.append(backoff.retry_at(now) - now)
        now = backoff.retry_at(now)
        backoff.restarted(now, now)
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]


def test_ten_quiet_minutes_are_forgiven():
    backoff = Backoff()
    backoff.restarted(0.0, 0.0)
    backoff.restarted(10.0, 10.0)
    assert backoff.retry_at(500.0) == 520.0
    assert backoff.retry_at(611.0) == 611.0


def test_a_restarted_kubelet_continues_the_delays():
    assert Backoff(restarts=3, last_start=100.0).retry_at(101.0) == 141.0
    assert Backoff(restarts=0).retry_at(101.0) == 101.0


def test_durations_print_as_in_go():
    assert [go_duration(seconds) for seconds in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]
