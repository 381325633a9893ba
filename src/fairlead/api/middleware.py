"""traefik.io/v1alpha1 Middleware, as far as it has an equal here. Source: the definition of the kind, Traefik 3.

The definition is its owner's; nobody here installs it. What the `spec` holds is read kind by kind, and a field that is not known is an error:
it may guard something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.api.meta import ObjectMeta


class Middleware(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What happens to requests on their way: exactly one kind of it."""

    metadata: ObjectMeta
    spec: Mapping[str, Any] = {}


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False, forbid_unknown_fields=True):
    """Something in a spec."""


class AddPrefix(Part, frozen=True, kw_only=True):
    """A prefix before the path."""

    prefix: str = ""


class StripPrefix(Part, frozen=True, kw_only=True):
    """The first of some prefixes that the path has is taken away."""

    prefixes: tuple[str, ...] = ()
    force_slash: bool | None = None


class StripPrefixRegex(Part, frozen=True, kw_only=True):
    """What the first of some patterns matches at the start of the path is taken away."""

    regex: tuple[str, ...] = ()


class ReplacePath(Part, frozen=True, kw_only=True):
    """Another path."""

    path: str = ""


class ReplacePathRegex(Part, frozen=True, kw_only=True):
    """Another text for what a pattern matches in the path."""

    regex: str = ""
    replacement: str = ""


class ChainRef(Part, frozen=True, kw_only=True):
    """One of a chain."""

    name: str
    namespace: str | None = None


class Chain(Part, frozen=True, kw_only=True):
    """Several, one after the other."""

    middlewares: tuple[ChainRef, ...] = ()


class IPStrategy(Part, frozen=True, kw_only=True):
    """Who is taken for the client."""

    depth: int = 0
    excluded_ips: tuple[str, ...] | None = msgspec.field(default=None, name="excludedIPs")
    ipv6_subnet: int | None = msgspec.field(default=None, name="ipv6Subnet")


class IPAllowList(Part, frozen=True, kw_only=True):
    """Addresses of clients that are let in."""

    source_range: tuple[str, ...] = ()
    ip_strategy: IPStrategy | None = None
    reject_status_code: int = 0


class Headers(Part, frozen=True, kw_only=True):
    """Headers of requests and answers, and the CORS protocol."""

    custom_request_headers: Mapping[str, str] = {}
    """An empty value takes the header away."""
    custom_response_headers: Mapping[str, str] = {}
    access_control_allow_credentials: bool = False
    access_control_allow_headers: tuple[str, ...] = ()
    access_control_allow_methods: tuple[str, ...] = ()
    access_control_allow_origin_list: tuple[str, ...] = ()
    access_control_expose_headers: tuple[str, ...] = ()
    access_control_max_age: int | None = None
    add_vary_header: bool = False
    sts_seconds: int | None = None
    sts_include_subdomains: bool = False
    sts_preload: bool = False
    force_sts_header: bool = msgspec.field(default=False, name="forceSTSHeader")
    frame_deny: bool = False
    custom_frame_options_value: str = ""
    content_type_nosniff: bool = False
    browser_xss_filter: bool = False
    custom_browser_xss_value: str = msgspec.field(default="", name="customBrowserXSSValue")
    content_security_policy: str = ""
    content_security_policy_report_only: str = ""
    referrer_policy: str = ""
    permissions_policy: str = ""


class SourceCriterion(Part, frozen=True, kw_only=True):
    """What has a count of its own."""

    ip_strategy: IPStrategy | None = None
    request_header_name: str = ""


class RateLimit(Part, frozen=True, kw_only=True):
    """How many requests on average, and at once."""

    average: int = 0
    period: str | int = "1s"
    burst: int = 1
    source_criterion: SourceCriterion | None = None


class RedirectRegex(Part, frozen=True, kw_only=True):
    """Another URL for what a pattern matches of the request's."""

    regex: str = ""
    replacement: str = ""
    permanent: bool = False


class RedirectScheme(Part, frozen=True, kw_only=True):
    """Another scheme."""

    scheme: str = ""
    port: str = ""
    permanent: bool = False


class BasicAuth(Part, frozen=True, kw_only=True):
    """User name and password."""

    secret: str = ""
    realm: str = ""
    remove_header: bool = False
    header_field: str = ""


class ForwardAuth(Part, frozen=True, kw_only=True):
    """Somebody else decides."""

    address: str = ""
    trust_forward_header: bool | None = None
    auth_response_headers: tuple[str, ...] = ()
    auth_request_headers: tuple[str, ...] = ()
    add_auth_cookies_to_response: tuple[str, ...] = ()
    max_response_body_size: int | None = None
    header_field: str = ""
    forward_body: bool = False
    max_body_size: int | None = None
    preserve_location_header: bool = False
    preserve_request_method: bool = False
    auth_signin_url: str = msgspec.field(default="", name="authSigninURL")


class Buffering(Part, frozen=True, kw_only=True):
    """How large requests may be."""

    max_request_body_bytes: int = 0
    mem_request_body_bytes: int = 0
    mem_response_body_bytes: int = 0


class Compress(Part, frozen=True, kw_only=True):
    """How answers are encoded."""

    included_content_types: tuple[str, ...] = ()
    min_response_body_bytes: int | None = None
    encodings: tuple[str, ...] = ("gzip", "br", "zstd")


class Retry(Part, frozen=True, kw_only=True):
    """When a request is sent again."""

    attempts: int = 0
    initial_interval: str | int = 0
    status: tuple[str, ...] = ()


class ContentType(Part, frozen=True, kw_only=True):
    """Whether a type is guessed for answers without one: never here, nor there without this."""

    auto_detect: bool | None = None


KINDS: Mapping[str, type[Part]] = {
    "addPrefix": AddPrefix,
    "stripPrefix": StripPrefix,
    "stripPrefixRegex": StripPrefixRegex,
    "replacePath": ReplacePath,
    "replacePathRegex": ReplacePathRegex,
    "chain": Chain,
    "ipAllowList": IPAllowList,
    "ipWhiteList": IPAllowList,
    "headers": Headers,
    "rateLimit": RateLimit,
    "redirectRegex": RedirectRegex,
    "redirectScheme": RedirectScheme,
    "basicAuth": BasicAuth,
    "forwardAuth": ForwardAuth,
    "buffering": Buffering,
    "compress": Compress,
    "retry": Retry,
    "contentType": ContentType,
}
"""Field of the spec → what it holds."""
