"""What the resolver counts, under the names that CoreDNS gave them, so that dashboards go on working.

Source: the metrics of CoreDNS 1.11's plugins `metrics`, `cache`, `forward` and `health`. Counting on the hot path is one addition; text
is made only when somebody reads it. It must do no I/O.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.exchange import Upstream

_BUCKETS_S: Final = (
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.024,
    2.048,
    4.096,
    8.192,
)
_RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_TYPES: Final = {number: text for text, number in wire.TYPES.items()} | {
    wire.SOA: "SOA",
    wire.ANY: "ANY",
    15: "MX",
    65: "HTTPS",
}
_SERVER: Final = "dns://:53"


class Histogram(msgspec.Struct):
    """Durations in seconds by CoreDNS's buckets."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    total_s: float = 0.0

    def observe(self, duration_s: float, times: int = 1) -> None:
        """Count `times` events of this duration."""
        self.counts[bisect.bisect_left(_BUCKETS_S, duration_s)] += times
        self.total_s += duration_s * times

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield the lines of the text format."""
        seen = 0
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
        yield f"{name}_sum{{{labels}}} {self.total_s:.6f}"
        yield f"{name}_count{{{labels}}} {seen}"


class Meters:
    """All counters of one resolver."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[int, str, int]] = Counter()
        """(address family: 1 for IPv4, 2 for IPv6, as CoreDNS counts them; protocol; type) → questions."""
        self.responses: Counter[tuple[int, bool]] = Counter()
        """(response code, whether a search path was walked) → responses."""
        self.durations = {"cluster": Histogram(), "forward": Histogram()}
        self.prefetches = 0
        self.stale = 0
        self.unpermitted = 0
        """Answers that were not given because their addresses could not be permitted."""
        self.reloads = 0
        self.reload_failures = 0
        self._upstream: dict[Upstream, Histogram] = {}
        self._upstream_rcodes: Counter[tuple[Upstream, int]] = Counter()
        self._unwell: Counter[Upstream] = Counter()
        self._tallies: dict[tuple[int, int], list[int]] = {}

    def tally(self, kind: int, rcode: int) -> list[int]:
        """Return the counts of kept answers of a type and response code over UDP: of IPv4 and of IPv6 clients."""
        return self._tallies.setdefault((kind, rcode), [0, 0])

    def asked(self, version: int, protocol: str, kind: int, rcode: int, *, searched: bool = False) -> None:
        """Count one question and its response."""
        self.requests[version, protocol, kind] += 1
        self.responses[rcode, searched] += 1

    def _settle_tallies(self) -> None:
        for (kind, rcode), counts in self._tallies.items():
            for index, version in enumerate((1, 2)):
                if counts[index]:
                    self.requests[version, "udp", kind] += counts[index]
                    self.responses[rcode, False] += counts[index]
                    counts[index] = 0

    def forwarded(self, server: Upstream, rcode: int, duration_s: float) -> None:
        """Count an answer of another resolver."""
        self._upstream.setdefault(server, Histogram()).observe(duration_s)
        self._upstream_rcodes[server, rcode] += 1

    def unwell(self, server: Upstream) -> None:
        """Count a probe that failed."""
        self._unwell[server] += 1

    def text(self, *, cache_entries: int, cache_hits: int, cache_misses: int, failures: Mapping[str, int]) -> str:
        """Return everything in Prometheus' text format 0.0.4."""
        self._settle_tallies()
        return "\n".join(self._lines(cache_entries, cache_hits, cache_misses, failures)) + "\n"

    def _lines(self, entries: int, hits: int, misses: int, failures: Mapping[str, int]) -> Iterator[str]:
        server = f'server="{_SERVER}"'
        yield "# TYPE coredns_dns_requests_total counter"
        for (version, protocol, kind), count in sorted(self.requests.items()):
            labels = (
                f'family="{version}",proto="{protocol}",{server},type="{_TYPES.get(kind, "other")}",view="",zone="."'
            )
            yield f"coredns_dns_requests_total{{{labels}}} {count}"
        yield "# TYPE coredns_dns_responses_total counter"
        by_rcode: Counter[tuple[int, bool]] = self.responses
        for (rcode, searched), count in sorted(by_rcode.items()):
            plugin = "autopath" if searched else "kubernetes"
            labels = f'plugin="{plugin}",rcode="{_RCODES.get(rcode, str(rcode))}",{server},view="",zone="."'
            yield f"coredns_dns_responses_total{{{labels}}} {count}"
        yield "# TYPE coredns_autopath_success_total counter"
        searched_total = sum(count for (_, searched), count in by_rcode.items() if searched)
        yield f"coredns_autopath_success_total{{{server}}} {searched_total}"
        yield "# TYPE coredns_dns_request_duration_seconds histogram"
        for zone, histogram in self.durations.items():
            # Dashboards sum over zones; the label tells what was answered here from what was asked elsewhere.
            yield from histogram.lines("coredns_dns_request_duration_seconds", f'{server},view="",zone="{zone}"')
        cache = f'{server},view="",zones="."'
        yield "# TYPE coredns_cache_entries gauge"
        yield f'coredns_cache_entries{{{cache},type="success"}} {entries}'
        yield "# TYPE coredns_cache_hits_total counter"
        yield f'coredns_cache_hits_total{{{cache},type="success"}} {hits}'
        yield "# TYPE coredns_cache_misses_total counter"
        yield f"coredns_cache_misses_total{{{cache}}} {misses}"
        yield "# TYPE coredns_cache_requests_total counter"
        yield f"coredns_cache_requests_total{{{cache}}} {hits + misses}"
        yield "# TYPE coredns_cache_prefetch_total counter"
        yield f"coredns_cache_prefetch_total{{{cache}}} {self.prefetches}"
        yield "# TYPE coredns_cache_served_stale_total counter"
        yield f"coredns_cache_served_stale_total{{{cache}}} {self.stale}"
        yield from self._forward_lines()
        yield "# TYPE coredns_reload_failed_total counter"
        yield f"coredns_reload_failed_total {self.reload_failures}"
        for name, count in failures.items():
            yield f"# TYPE {name} counter"
            yield f"{name} {count}"

    def _forward_lines(self) -> Iterator[str]:
        yield "# TYPE coredns_forward_requests_total counter"
        for to, histogram in self._upstream.items():
            yield f'coredns_forward_requests_total{{to="{_place(to)}"}} {sum(histogram.counts)}'
        yield "# TYPE coredns_forward_responses_total counter"
        for (to, rcode), count in self._upstream_rcodes.items():
            labels = f'rcode="{_RCODES.get(rcode, str(rcode))}",to="{_place(to)}"'
            yield f"coredns_forward_responses_total{{{labels}}} {count}"
        # CoreDNS 1.11 renamed them; dashboards of both ages are about.
        for name, more in (("coredns_forward", ""), ("coredns_proxy", 'proxy_name="forward",')):
            yield f"# TYPE {name}_request_duration_seconds histogram"
            for to, histogram in self._upstream.items():
                yield from histogram.lines(f"{name}_request_duration_seconds", f'{more}to="{_place(to)}"')
        yield "# TYPE coredns_forward_healthcheck_failures_total counter"
        for to, count in self._unwell.items():
            yield f'coredns_forward_healthcheck_failures_total{{to="{_place(to)}"}} {count}'


def _place(server: Upstream) -> str:
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"
