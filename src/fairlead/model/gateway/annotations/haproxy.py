"""What annotations of both controllers of HAProxy have in common: values of HAProxy's own, by different names."""

from __future__ import annotations

import re

from fairlead.api.backendtraffic import BackendTrafficPolicySpec, ConsistentHash, LoadBalancing
from fairlead.api.httproute import (
    HeaderValue,
    RouteTimeouts,
)
from fairlead.api.securitypolicy import ClientCIDRs, ExtAuth, SecurityPolicySpec
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import Secured
from fairlead.model.gateway.extended import StreamTimeouts

_UNIT_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1}
_MOST_MS = 86_400_000
_PROXY_PROTOCOLS = {"proxy": "V1", "proxy-v1": "V1", "proxy-v2": "V2", "v1": "V1", "v2": "V2"}
_MOST_HEADERS = 16


def traffic(reader: Reader, balance: str, announce: str) -> BackendTrafficPolicySpec | None:
    """Return how Services are spoken to; the names of what balances, and of what announces clients by the PROXY protocol."""
    found = BackendTrafficPolicySpec(
        load_balancing=reader.take(balance, _balancing, None),
        connect_timeout=reader.take("timeout-connect", lambda text: f"{duration_ms(text)}ms", None),
        proxy_protocol=reader.take(
            announce, lambda text: _PROXY_PROTOCOLS[values.one_of(*_PROXY_PROTOCOLS)(text)], None
        ),
    )
    return found if found != BackendTrafficPolicySpec() else None


def _balancing(text: str) -> LoadBalancing:
    kinds = {"roundrobin": "RoundRobin", "static-rr": "RoundRobin", "leastconn": "LeastRequest", "random": "Random"}
    header = re.fullmatch(r"hdr\(([^)]*)\)", text)
    parameter = re.fullmatch(r"url_param +(\S+)", text)
    if text == "source":
        by = ConsistentHash(key="SourceAddress")
    elif header is not None:
        by = ConsistentHash(key="Header", header=values.token(header[1]))
    elif parameter is not None:
        by = ConsistentHash(key="QueryParameter", query_parameter=values.token(parameter[1]))
    elif (kind := kinds.get(re.sub(r"\([0-9]{1,3}\)$", "", text))) is not None:
        return LoadBalancing(type=kind)
    else:
        raise ValueError(f"{text[:64]!r} is none of {', '.join(kinds)}, source, hdr(NAME), url_param NAME")
    return LoadBalancing(type="ConsistentHash", consistent_hash=by)


def addresses(reader: Reader, allowing: tuple[str, ...], denying: tuple[str, ...]) -> ClientCIDRs | None:
    """Return whose requests are let in; each list has several names."""
    found: list[tuple[str, ...] | None] = [None, None]
    for at, names in enumerate((allowing, denying)):
        for name in names:
            found[at] = reader.take(name, values.prefixes, None) or found[at]
    allow, deny = found
    return ClientCIDRs(allow=allow, deny=deny) if allow is not None or deny is not None else None


def security(allowed: ClientCIDRs | None, external: ExtAuth | None) -> SecurityPolicySpec | None:
    """Return who may ask."""
    found = SecurityPolicySpec(client_cidrs=allowed, ext_auth=external)
    return found if found != SecurityPolicySpec() else None


def secured(reader: Reader) -> Secured:
    """Return when plain HTTP is redirected."""
    if not reader.has("ssl-redirect"):
        return ""
    return "with-certificate" if reader.take("ssl-redirect", values.truth, True) else "never"


def header_lines(text: str) -> tuple[HeaderValue, ...]:
    """Return headers, one a line: a name and a value, with a colon between them or not."""
    found = []
    for line in filter(None, (each.strip() for each in text.splitlines())):
        parts = re.fullmatch(r"([^\s:]+)(?:\s*:\s*|\s+)(.*)", line)
        if parts is None:
            raise ValueError(f"{line[:64]!r} is no name and a value")
        plain = parts[2]
        if len(plain) > 1 and plain[0] == plain[-1] == '"':
            plain = plain[1:-1]
        if "%" in plain:
            raise ValueError("must have no expression of HAProxy (%)")
        found.append(HeaderValue(name=values.token(parts[1]), value=values.header_value(plain)))
    if not 1 <= len(found) <= _MOST_HEADERS:
        raise ValueError(f"must have 1 to {_MOST_HEADERS} lines, each a name and a value")
    return tuple(found)


def cors_age_s(text: str) -> int:
    """Return for how many seconds an answer to a preflight holds; without a unit it is one of seconds."""
    return duration_ms(text, unit="s") // 1000


def timeouts(reader: Reader) -> RouteTimeouts | None:
    """Return how long a request's streams may be silent: longer than the server, and a tunnel, may be."""
    found = [reader.take(name, duration_ms, 0) for name in ("timeout-server", "timeout-tunnel")]
    longest = max(found)
    # A duration has five digits at most.
    return StreamTimeouts(idle=f"{longest}ms" if longest < 100_000 else f"{longest // 1000}s") if longest else None


def duration_ms(text: str, *, unit: str = "ms") -> int:
    """Return a duration of HAProxy's in milliseconds; without its unit it is one of `unit`."""
    match = re.fullmatch(r"([0-9]{1,9})(us|ms|s|m|h|d|)", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 30s")
    found = int(int(match[1]) * _UNIT_MS[match[2] or unit])
    if found > _MOST_MS:
        raise ValueError(f"{text!r} is more than a day")
    return found
