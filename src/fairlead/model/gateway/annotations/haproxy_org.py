"""Annotations of haproxy.org. Source: documentation/annotations.md of haproxytech/kubernetes-ingress 3.2."""

from __future__ import annotations

import re

import msgspec

from fairlead.api.httproute import (
    HeaderFilter,
    PathModifier,
    RedirectFilter,
)
from fairlead.api.trafficpolicy import RateLimit, RateRule, TrafficPolicySpec
from fairlead.model.gateway.annotations import haproxy, values
from fairlead.model.gateway.annotations.cors import Defaults, cors
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.sessions import by_cookie
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.extended import PatternModifier
from fairlead.model.gateway.patterns import last_named

PREFIX, OTHER_PREFIX = "haproxy.org/", "haproxy.com/"
"""Two names of one."""
_CORS = Defaults(
    methods=("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
    headers=("*",),
    credentials=False,
    max_age_s=5,
)


def read(reader: Reader) -> Wishes:
    """Return what an Ingress's annotations with the prefix haproxy.org/ wish."""
    take = reader.take
    # Dynamic or not is about what the cookie says, which nobody but the proxy reads.
    cookie = take("cookie-persistence", values.token, "") or take("cookie-persistence-no-dynamic", values.token, "")
    request, response = (take(name, _set_headers, None) for name in ("request-set-header", "response-set-header"))
    take("ssl-redirect-port", values.one_of("443"), "")
    wishes = Wishes(
        secured=haproxy.secured(reader),
        secured_status=take("ssl-redirect-code", values.status, 302),
        passthrough=take("ssl-passthrough", values.truth, False),
        rewrite=take("path-rewrite", _path_rewrite, None),
        redirect=_redirect(reader),
        host_header=take("set-host", values.hostname, ""),
        request=request,
        response=response,
        cors=cors(reader, "cors-enable", _CORS, haproxy.cors_age_s),
        timeouts=haproxy.timeouts(reader),
        traffic=haproxy.traffic(reader, "load-balance", "send-proxy-protocol"),
        security=haproxy.security(
            haproxy.addresses(reader, ("allow-list", "whitelist"), ("deny-list", "blacklist")), None
        ),
        limits=_rate(reader),
        session=by_cookie(cookie) if cookie else None,
        encrypted=take("server-ssl", values.truth, False),
        protocol="h2c" if take("server-proto", values.one_of("h2"), "") else "",
    )
    return reader.finish(wishes)


def _rate(reader: Reader) -> TrafficPolicySpec | None:
    """Return how many requests a client may send in a period that is a unit of time."""
    requests = reader.take("rate-limit-requests", values.number(1, 1_000_000), 0)
    unit = reader.take("rate-limit-period", _unit, "Second")
    exempt = reader.take("rate-limit-whitelist", values.prefixes, None)
    if not requests:
        return None
    rule = RateRule(requests=requests, unit=unit, by="ClientAddress")
    return TrafficPolicySpec(rate_limit=RateLimit(rules=(rule,), exempt_cidrs=exempt))


def _unit(text: str) -> str:
    units = {1000: "Second", 60_000: "Minute", 3_600_000: "Hour", 86_400_000: "Day"}
    found = units.get(haproxy.duration_ms(text))
    if found is None:
        raise ValueError(f"{text!r} is none of 1s, 1m, 1h, 1d")
    return found


def _redirect(reader: Reader) -> RedirectFilter | None:
    """Return where `request-redirect` leads: a host, with a port or not; path and query stay."""
    code = reader.take("request-redirect-code", values.status, 302)
    wanted = reader.take("request-redirect", lambda text: values.redirect(f"http://{text}$request_uri"), None)
    return msgspec.structs.replace(wanted, scheme=None, status_code=code) if wanted is not None else None


def _path_rewrite(text: str) -> PathModifier:
    """Return a new path, or a pattern and what replaces it."""
    pattern, _, new = text.partition(" ")
    if not new:
        return PathModifier(type="ReplaceFullPath", replace_full_path=values.path(pattern))
    new = new.strip()
    if not re.fullmatch(r"(?:/|\\[1-9])(?:[^\s\\?#%]|\\[1-9])*", new):
        raise ValueError(f"{new!r} is no path that may hold \\1 to \\9")
    groups = values.groups(values.pattern(pattern))
    if last_named(new) > groups:
        raise ValueError(f"{new!r} names a group that {pattern!r} does not have")
    # There the pattern may match anywhere, and what takes its place is the whole path.
    return PatternModifier(type="ReplacePattern", pattern=f"^.*?(?:{pattern}).*", substitution=new)


def _set_headers(text: str) -> HeaderFilter:
    """Return the headers that an annotation sets."""
    return HeaderFilter(set=haproxy.header_lines(text))
