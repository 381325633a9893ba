"""What a node's proxy counts of Gateways, as samples for Prometheus (text format 0.0.4). It must do no I/O.

For each port of each Gateway: as many samples as there are listeners, however many routes, hosts and Services stand behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fairlead.plan.gateway.listener import AnyListener

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_COUNTERS = {
    "fairlead_gateway_connections_total": ("counter", "Connections of clients", "downstream_cx_total"),
    "fairlead_gateway_connections": ("gauge", "Connections of clients that are open", "downstream_cx_active"),
    "fairlead_gateway_rejected_connections_total": (
        "counter",
        "Connections closed at once, as there were as many as a policy allows",
        "downstream_cx_overflow",
    ),
    "fairlead_gateway_unserved_connections_total": (
        "counter",
        "Connections closed as no listener has their server name",
        "no_filter_chain_match",
    ),
    "fairlead_gateway_tls_errors_total": ("counter", "TLS handshakes that failed", "ssl.connection_error"),
}
_REQUESTS = "fairlead_gateway_requests_total"
_READY = "fairlead_gateway_listener_ready"
_DURATION = "fairlead_gateway_request_duration_seconds"


class Counted(msgspec.Struct, frozen=True):
    """A port of a Gateway here, and whether it serves what the plan says."""

    listener: AnyListener
    ready: bool


def render(listeners: Iterable[Counted], counts: Mapping[str, int], durations: Mapping[str, int]) -> str:
    """Return the samples; `counts` and `durations` are the proxy's own, by its names and by the ends of steps in milliseconds."""
    found = sorted(listeners, key=lambda each: each.listener.name)
    if not found:
        return ""
    lines = list(_head(_READY, "gauge", "Whether the proxy serves what the listener of this generation says"))
    lines += [f"{_READY}{{{_labels(each.listener)}}} {int(each.ready)}" for each in found]
    for name, (kind, words, counter) in _COUNTERS.items():
        lines += _head(name, kind, words)
        for each in found:
            if (value := counts.get(f"{_prefix(each.listener)}{counter}")) is not None:
                lines.append(f"{name}{{{_labels(each.listener)}}} {value}")
    lines += _head(_REQUESTS, "counter", "Requests that were answered, by class of the status")
    for each in found:
        for code in _CLASSES:
            value = counts.get(f"{_prefix(each.listener)}http.gateway.downstream_rq_{code}")
            if value is not None:
                lines.append(f'{_REQUESTS}{{{_labels(each.listener)},code_class="{code}"}} {value}')
    return "\n".join((*lines, *_durations(durations))) + "\n"


def _durations(found: Mapping[str, int]) -> Iterator[str]:
    if "count" not in found:
        return
    yield from _head(
        _DURATION, "histogram", "How long requests of all Gateways took at this node, the client's own part included"
    )
    for end, value in found.items():
        if end not in ("sum", "count"):
            yield f'{_DURATION}_bucket{{le="{end if end == "+Inf" else f"{float(end) / 1000:g}"}"}} {value}'
    yield f"{_DURATION}_sum {found.get('sum', 0) / 1000:g}"
    yield f"{_DURATION}_count {found['count']}"


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _labels(listener: AnyListener) -> str:
    namespace, gateway, *_ = listener.name.split("/")
    return f'namespace="{namespace}",gateway="{gateway}",port="{listener.public_port}",protocol="{listener.protocol}"'


def _prefix(listener: AnyListener) -> str:
    return f"listener.{listener.stat_prefix}."
