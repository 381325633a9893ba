"""What dashboards for kube-proxy read, under its names: how long synchronization takes and how old a change is when it is in force.

Source: the metrics of kube-proxy (pkg/proxy/metrics) and the SLO of network programming latency. Text format 0.0.4 of Prometheus. It must
do no I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_SYNC_BUCKETS_S = tuple(0.001 * 2**power for power in range(15))
_PROGRAMMING_BUCKETS_S = (
    0.25,
    0.5,
    *(float(n) for n in range(1, 60)),
    *(60.0 + 5 * n for n in range(12)),
    *(120.0 + 30 * n for n in range(7)),
)


class Histogram:
    """Counts values in cumulative buckets."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ends, ascending."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Return the samples."""
        found, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            text = "+Inf" if bound == float("inf") else f"{bound:g}"
            found.append(f'{name}_bucket{{le="{text}"}} {total}')
        return [*found, f"{name}_sum {self._sum:.9g}", f"{name}_count {total}"]


class ProxyMetrics:
    """The figures of one node. Times are seconds since the epoch, durations seconds."""

    def __init__(self) -> None:
        self._sync = Histogram(_SYNC_BUCKETS_S)
        self._programming = Histogram(_PROGRAMMING_BUCKETS_S)
        self._waiting: list[tuple[int, float]] = []
        """(number of the plan, when the change happened) of changes that are not in force yet."""
        self._totals = {"service": 0, "endpoint": 0}
        self._pending: list[tuple[int, int, int]] = []
        self._last_s = 0.0
        self._queued_s = 0.0
        self._failures = 0
        self._checks: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        return f"<ProxyMetrics {self._totals} waiting={len(self._waiting)}>"

    def queued(self, serial: int, *, services: int, endpoints: int, triggers: Sequence[float], now_s: float) -> None:
        """Count changes that the plan with this number is the first to hold; `triggers` are when endpoints changed."""
        self._totals["service"] += services
        self._totals["endpoint"] += endpoints
        if services or endpoints:
            self._queued_s = now_s
            self._pending.append((serial, services, endpoints))
        self._waiting += [(serial, at) for at in triggers]

    def applied(self, serial: int, *, duration_s: float, good: bool, now_s: float) -> None:
        """Count one synchronization of the kernel with the plan of this number."""
        self._sync.observe(duration_s)
        if not good:
            self._failures += 1
            return
        self._last_s = now_s
        for number, at in self._waiting:
            if number <= serial:
                self._programming.observe(max(0.0, now_s - at))
        self._waiting = [each for each in self._waiting if each[0] > serial]
        self._pending = [each for each in self._pending if each[0] > serial]

    def checked(self, which: str, status: int) -> None:
        """Count one answer of `healthz` or `livez`."""
        self._checks[which, status] = self._checks.get((which, status), 0) + 1

    def render(self, *, without_local: tuple[int, int] = (0, 0)) -> bytes:
        """Return all samples; `without_local` counts services that lack local endpoints under policy (internal, external) Local."""
        prefix = "kubeproxy_sync_proxy_rules_"
        lines = _head(f"{prefix}duration_seconds", "histogram", "How long one synchronization of the kernel takes")
        lines += self._sync.lines(f"{prefix}duration_seconds")
        name = "kubeproxy_network_programming_duration_seconds"
        lines += _head(name, "histogram", "From the change of an endpoint until it is in force on this node")
        lines += self._programming.lines(name)
        for position, what in enumerate(("service", "endpoint"), 1):
            lines += _head(f"{prefix}{what}_changes_total", "counter", f"Changes of {what}s that were seen")
            lines.append(f"{prefix}{what}_changes_total {self._totals[what]}")
            lines += _head(f"{prefix}{what}_changes_pending", "gauge", f"Changes of {what}s that are not in force yet")
            lines.append(f"{prefix}{what}_changes_pending {sum(each[position] for each in self._pending)}")
        lines += _head(f"{prefix}last_timestamp_seconds", "gauge", "When the kernel was last synchronized")
        lines.append(f"{prefix}last_timestamp_seconds {self._last_s:.3f}")
        lines += _head(f"{prefix}last_queued_timestamp_seconds", "gauge", "When a change was last seen")
        lines.append(f"{prefix}last_queued_timestamp_seconds {self._queued_s:.3f}")
        lines += _head(f"{prefix}nftables_sync_failures_total", "counter", "Synchronizations that failed")
        lines.append(f"{prefix}nftables_sync_failures_total {self._failures}")
        name = f"{prefix}no_local_endpoints_total"
        lines += _head(name, "gauge", "Services with a policy Local and no endpoint on this node")
        for policy, count in zip(("internal", "external"), without_local, strict=True):
            lines.append(f'{name}{{traffic_policy="{policy}"}} {count}')
        for which in ("healthz", "livez"):
            lines += _head(f"kubeproxy_proxy_{which}_total", "counter", f"Answers of /{which} by status")
            for (asked, status), count in sorted(self._checks.items()):
                if asked == which:
                    lines.append(f'kubeproxy_proxy_{which}_total{{code="{status}"}} {count}')
        return ("\n".join(lines) + "\n").encode()


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
