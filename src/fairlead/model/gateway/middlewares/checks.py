"""Middlewares that let requests pass or not: addresses, passwords, somebody who decides, rates, sizes; and compression and retries. Pure.

Each raises ValueError in words for its owner.
"""

from __future__ import annotations

import re

from fairlead.api.gateway import BackendRef, ObjectRef
from fairlead.api.httproute import RouteRetry
from fairlead.api.middleware import (
    BasicAuth,
    Buffering,
    Compress,
    ForwardAuth,
    IPAllowList,
    IPStrategy,
    RateLimit,
    Retry,
)
from fairlead.api.securitypolicy import AuthBody, ClientCIDRs, ExtAuth, HttpAuth, SignIn
from fairlead.api.securitypolicy import BasicAuth as Passwords
from fairlead.api.trafficpolicy import UNITS, Compression, RateRule
from fairlead.model.gateway.annotations import external, values
from fairlead.model.gateway.extended import UnsentOrRepeatable
from fairlead.model.gateway.values import is_host

_MS = {"": 1000, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_MOST = 1_000_000
_MOST_CODES = 64
_MOST_BODY = 1 << 20
_ENCODINGS = {"gzip": "Gzip", "br": "Brotli", "zstd": "Zstd"}
_LEAST_ENCODED = 1024
"""Shorter answers stay as they are where a Middleware does not say."""
_ALWAYS_HEARD = ("X-Forwarded-For", "X-Forwarded-Proto")
_REFUSAL = ("Set-Cookie", "Content-Type", "Location")
"""What clients get of a refusal, beside what it says of how to authenticate."""
_PATIENCE = "30s"
"""For how long Traefik waits for who decides."""


def addresses(wanted: IPAllowList) -> ClientCIDRs:
    """Return whose requests are let in."""
    _of_connections(wanted.ip_strategy)
    if wanted.reject_status_code not in (0, 403):
        raise ValueError("rejectStatusCode: others are answered with 403")
    return ClientCIDRs(allow=values.prefixes(",".join(wanted.source_range)))


def passwords(wanted: BasicAuth) -> Passwords:
    """Return who knows a password; those are SHA-1's alone, or the policy says so."""
    if not is_host(wanted.secret):
        raise ValueError("secret: must be the name of a Secret of its namespace")
    name = values.token(wanted.header_field) if wanted.header_field else ""
    return Passwords(users=ObjectRef(name=wanted.secret), forward_username_header=name)


def decider(wanted: ForwardAuth) -> ExtAuth:
    """Return who decides."""
    namespace, name, port, path = values.service_url(wanted.address)
    asked = tuple(dict.fromkeys(values.token(each) for each in wanted.auth_request_headers))
    cookies = ("Set-Cookie",) if wanted.add_auth_cookies_to_response else ()
    body = None
    if wanted.forward_body:
        body = AuthBody(max_request_bytes=values.number(1, _MOST_BODY)(str(wanted.max_body_size or 0)))
    http = HttpAuth(
        backend_ref=BackendRef(name=name, namespace=namespace, port=port),
        replace_full_path=path or "/",
        method="" if wanted.preserve_request_method else "GET",
        sign_in=SignIn(url=_plain(wanted.auth_signin_url)) if wanted.auth_signin_url else None,
        headers_to_backend=tuple(dict.fromkeys(values.token(each) for each in wanted.auth_response_headers)) or None,
        headers_to_client=_REFUSAL,
        headers_to_client_on_success=cookies or None,
    )
    heard = tuple(dict.fromkeys((*asked, *_ALWAYS_HEARD))) if asked else external.ALL
    return ExtAuth(http=http, headers_to_ext_auth=heard, body_to_ext_auth=body, timeout=_PATIENCE)


def _plain(url: str) -> str:
    """Return where clients sign in, which holds no variable there."""
    if "$" in url:
        raise ValueError("authSigninURL: must hold no variables ($)")
    return external.location(url)


def rate(wanted: RateLimit) -> RateRule | None:
    """Return how many requests each client may send, None for any number."""
    if not wanted.average:
        return None
    by = wanted.source_criterion
    _of_connections(by.ip_strategy if by is not None else None)
    header = values.token(by.request_header_name) if by is not None and by.request_header_name else ""
    average = values.number(1, _MOST)(str(wanted.average))
    period = duration_ms(wanted.period) or 1000
    for unit, seconds in UNITS.items():
        requests, rest = divmod(average * seconds * 1000, period)
        if not rest and requests:
            burst = max(1, values.number(0, _MOST)(str(wanted.burst)))
            return RateRule(
                requests=requests, unit=unit, burst=burst, by="Header" if header else "ClientAddress", header=header
            )
    raise ValueError("average and period: must be a whole number of requests a second, minute, hour or day")


def largest(wanted: Buffering) -> int | None:
    """Return how many bytes a request may have, None for any number."""
    return values.number(0, (1 << 32) - 1)(str(wanted.max_request_body_bytes)) or None


def encodings(wanted: Compress) -> Compression:
    """Return how answers are encoded."""
    algorithms = tuple(_ENCODINGS[values.one_of(*_ENCODINGS)(each)] for each in wanted.encodings)
    least = _LEAST_ENCODED if wanted.min_response_body_bytes is None else wanted.min_response_body_bytes
    return Compression(
        algorithms=tuple(dict.fromkeys(algorithms)),
        content_types=tuple(values.header_value(each) for each in wanted.included_content_types) or None,
        min_bytes=max(30, values.number(0, 1 << 30)(str(least))),
    )


def again(wanted: Retry) -> RouteRetry | None:
    """Return when a request is sent again; the first time it is sent counts, as there."""
    attempts = values.number(1, 6)(str(wanted.attempts)) - 1
    backoff = duration_ms(wanted.initial_interval)
    if not attempts:
        return None
    codes = tuple(dict.fromkeys(code for each in wanted.status for code in _codes(each)))
    if len(codes) > _MOST_CODES:
        raise ValueError(f"status: at most {_MOST_CODES} codes are possible")
    return UnsentOrRepeatable(attempts=attempts, codes=codes, backoff=f"{backoff}ms" if backoff else None)


def duration_ms(given: str | int) -> int:
    """Return a duration of Go's, or a number of seconds, in milliseconds."""
    text = str(given)
    parts = re.findall(r"([0-9]{1,6})(ms|s|m|h|)", text)
    if "".join(f"{number}{unit}" for number, unit in parts) != text or not text:
        raise ValueError(f"{text[:64]!r} is no duration such as 30s")
    found = sum(int(number) * _MS[unit] for number, unit in parts)
    if found > 86_400_000:
        raise ValueError(f"{text[:64]!r} is more than a day")
    return found


def _codes(text: str) -> range:
    first, dash, last = text.partition("-")
    low = values.number(100, 599)(first)
    high = values.number(low, 599)(last) if dash else low
    return range(low, high + 1)


def _of_connections(strategy: IPStrategy | None) -> None:
    """Raise ValueError where who is taken for the client is said by a Middleware."""
    if strategy is not None and strategy != IPStrategy():
        raise ValueError("ipStrategy: a ClientTrafficPolicy with forwardedFor says whose word about clients counts")
