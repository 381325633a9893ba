"""The Middleware `headers` as filters of a rule: headers of requests and answers, security headers, and the CORS protocol. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from fairlead.api.httproute import CorsFilter, HeaderFilter, HeaderValue
from fairlead.api.middleware import Headers
from fairlead.model.gateway.annotations import values

_MOST = 64
_CORS_METHODS = ("GET", "HEAD", "POST")
"""Those that scripts of other origins need no leave for (Fetch standard, CORS-safelisted)."""


def of_requests(wanted: Headers) -> tuple[HeaderFilter, str]:
    """Return what becomes of requests' headers, and the Host that backends get, empty for the client's."""
    host = next((value for name, value in wanted.custom_request_headers.items() if name.lower() == "host"), "")
    others = {name: value for name, value in wanted.custom_request_headers.items() if name.lower() != "host"}
    return _filter(others, "customRequestHeaders"), values.hostname(host) if host else ""


def of_answers(wanted: Headers) -> HeaderFilter:
    """Return what becomes of answers' headers."""
    custom = _filter(wanted.custom_response_headers, "customResponseHeaders")
    own = {each.name.lower() for each in custom.set or ()} | {each.lower() for each in custom.remove or ()}
    secure = tuple(HeaderValue(name=name, value=value) for name, value in _secure(wanted) if name.lower() not in own)
    return msgspec.structs.replace(custom, set=(*(custom.set or ()), *secure) or None)


def of_other_origins(wanted: Headers) -> CorsFilter | None:
    """Return who of other origins may, None where nothing is said of them."""
    said = (
        wanted.access_control_allow_headers, wanted.access_control_allow_methods, wanted.access_control_allow_origin_list,
        wanted.access_control_expose_headers, wanted.access_control_allow_credentials, wanted.access_control_max_age,
    )  # fmt: skip
    if not any(each not in ((), None, False) for each in said):
        return None
    if not wanted.access_control_allow_origin_list:
        raise ValueError("accessControlAllowOriginList: name the origins; without one nobody of another origin may")
    everybody = "*" in wanted.access_control_allow_origin_list
    if everybody and wanted.access_control_allow_credentials:
        raise ValueError("accessControlAllowCredentials: name the origins, as any origin must not have credentials")
    return CorsFilter(
        allow_origins=_each(wanted.access_control_allow_origin_list, values.origin),
        allow_methods=_each(wanted.access_control_allow_methods, values.token) or _CORS_METHODS,
        allow_headers=_each(wanted.access_control_allow_headers, values.token) or None,
        expose_headers=_each(wanted.access_control_expose_headers, values.token) or None,
        allow_credentials=wanted.access_control_allow_credentials,
        max_age=values.number(0, 1 << 30)(str(wanted.access_control_max_age or 0)),
    )


def joined(first: HeaderFilter | None, later: HeaderFilter | None) -> HeaderFilter | None:
    """Return what two filters do one after the other: what the later one says of a header counts."""
    if first is None or later is None:
        return later or first
    said = {each.name.lower() for each in later.set or ()} | {each.lower() for each in later.remove or ()}
    kept = tuple(each for each in first.set or () if each.name.lower() not in said)
    removed = tuple(each for each in first.remove or () if each.lower() not in said)
    return HeaderFilter(set=(*kept, *(later.set or ())) or None, remove=(*removed, *(later.remove or ())) or None)


def _filter(wanted: Mapping[str, str], field: str) -> HeaderFilter:
    if len(wanted) > _MOST:
        raise ValueError(f"{field}: at most {_MOST} headers are possible")
    try:
        given = {values.token(name): values.header_value(value) for name, value in wanted.items()}
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    return HeaderFilter(
        set=tuple(HeaderValue(name=name, value=value) for name, value in given.items() if value) or None,
        remove=tuple(name for name, value in given.items() if not value) or None,
    )


def _secure(wanted: Headers) -> Iterator[tuple[str, str]]:
    """Yield security headers. Browsers heed Strict-Transport-Security over HTTPS alone (RFC 6797), so that it may stand everywhere."""
    if wanted.sts_seconds:
        parts = [f"max-age={values.number(0, 1 << 31)(str(wanted.sts_seconds))}"]
        parts += ["includeSubDomains"] * wanted.sts_include_subdomains + ["preload"] * wanted.sts_preload
        yield "Strict-Transport-Security", "; ".join(parts)
    for name, text in (
        ("X-Frame-Options", wanted.custom_frame_options_value or ("DENY" if wanted.frame_deny else "")),
        ("X-Content-Type-Options", "nosniff" if wanted.content_type_nosniff else ""),
        ("X-XSS-Protection", wanted.custom_browser_xss_value or ("1; mode=block" if wanted.browser_xss_filter else "")),
        ("Content-Security-Policy", wanted.content_security_policy),
        ("Content-Security-Policy-Report-Only", wanted.content_security_policy_report_only),
        ("Referrer-Policy", wanted.referrer_policy),
        ("Permissions-Policy", wanted.permissions_policy),
    ):
        if text:
            yield name, values.header_value(text)


def _each(found: Iterable[str], parse: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse(each) for each in found))
