"""What Middlewares of Traefik wish, one after the other, as what the rules and policies of an Ingress do. Pure.

There each sees what those before it left. Here the order is always the same: addresses, CORS, rates, passwords, who decides, sizes, redirects,
headers, paths. Where another order would mean something else, the Middlewares are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from fairlead.api import middleware as api
from fairlead.api.httproute import HeaderFilter, PathModifier, RedirectFilter
from fairlead.api.securitypolicy import SecurityPolicySpec
from fairlead.api.trafficpolicy import RateLimit, TrafficPolicySpec
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.middlewares import checks, headers, paths
from fairlead.model.gateway.middlewares.known import FIXES
from fairlead.model.gateway.middlewares.lookup import MiddlewareError, Named, read

_REDIRECTED = re.compile(
    r"\^(?P<scheme>https\?|\(\?:http\|https\)|https|http)://(?P<host>[a-z0-9.\\-]{1,253})/\(\.[*+]\)\$?", re.IGNORECASE
)
_LED = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?/(?:\$1|\$\{1\})", re.IGNORECASE
)


class Asking(msgspec.Struct, frozen=True):
    """An Ingress that names Middlewares."""

    namespace: str
    hosts: tuple[str, ...]
    paths: tuple[str, ...]


def applied(wishes: Wishes, asking: Asking, named: Iterable[Named]) -> Wishes:
    """Return wishes with those of Middlewares; raises MiddlewareError."""
    way = _Way(wishes, asking)
    for each in named:
        take = way.kinds.get(each.kind)
        if take is None:
            message = f"Middleware {'/'.join(each.key)}: {each.kind[:64]} is not supported"
            raise MiddlewareError(message, FIXES.get(each.kind, "write what it does as an HTTPRoute, or as policies"))
        try:
            take(each, read(each.key, each.kind, each.value, api.KINDS[each.kind]))
        except ValueError as error:
            raise MiddlewareError(f"Middleware {'/'.join(each.key)}: spec.{each.kind}: {error}") from error
    return way.wishes


class _Way:
    """What requests have met so far."""

    def __init__(self, wishes: Wishes, asking: Asking) -> None:
        self.wishes = wishes
        self._asking = asking
        self._path: tuple[str, api.StripPrefix | None] | None = None
        """What changed the path."""
        self._changed: frozenset[str] = frozenset()
        """Headers of requests that changed."""
        self.kinds: Mapping[str, Callable[[Named, Any], None]] = {
            "addPrefix": self._add_prefix,
            "stripPrefix": self._strip_prefix,
            "stripPrefixRegex": lambda each, wanted: self._new_path(each, paths.stripped_by_pattern(wanted)),
            "replacePath": lambda each, wanted: self._new_path(each, paths.replaced(wanted)),
            "replacePathRegex": lambda each, wanted: self._new_path(each, paths.replaced_by_pattern(wanted)),
            "ipAllowList": self._addresses,
            "ipWhiteList": self._addresses,
            "headers": self._headers,
            "rateLimit": self._rate,
            "redirectRegex": self._redirect,
            "redirectScheme": self._scheme,
            "basicAuth": self._passwords,
            "forwardAuth": self._decider,
            "buffering": lambda _, wanted: self._limit(max_request_bytes=checks.largest(wanted)),
            "compress": lambda _, wanted: self._limit(compression=checks.encodings(wanted)),
            "retry": lambda _, wanted: self._take(retry=checks.again(wanted)),
            "contentType": lambda _each, _wanted: None,
        }

    def _take(self, **changes: Any) -> None:
        self.wishes = msgspec.structs.replace(self.wishes, **changes)

    def _guard(self, **changes: Any) -> None:
        self._take(security=msgspec.structs.replace(self.wishes.security or SecurityPolicySpec(), **changes))

    def _limit(self, **changes: Any) -> None:
        self._take(limits=msgspec.structs.replace(self.wishes.limits or TrafficPolicySpec(), **changes))

    def _new_path(self, each: Named, new: PathModifier, strip: api.StripPrefix | None = None) -> None:
        if self._path is not None:
            raise ValueError(f"changes the path after Middleware {self._path[0]}: write both as one replacePathRegex")
        self._path = ("/".join(each.key), strip)
        self._take(rewrite=new)

    def _strip_prefix(self, each: Named, wanted: api.StripPrefix) -> None:
        self._new_path(each, paths.stripped(wanted), wanted)
        (prefix, *others) = paths.prefixes(wanted)
        if not others and all(path.startswith(prefix) for path in self._asking.paths):
            told = {"X-Forwarded-Prefix": prefix}
            self._take(
                request=headers.joined(
                    self.wishes.request, headers.of_requests(api.Headers(custom_request_headers=told))[0]
                )
            )

    def _add_prefix(self, each: Named, wanted: api.AddPrefix) -> None:
        if self._path is not None and (strip := self._path[1]) is not None:
            self._take(rewrite=paths.stripped_and_added(strip, wanted, self._asking.paths))
            self._path = ("/".join(each.key), None)
        else:
            self._new_path(each, paths.added(wanted))

    def _addresses(self, _each: Named, wanted: api.IPAllowList) -> None:
        if self.wishes.security is not None and self.wishes.security.client_cidrs is not None:
            raise ValueError("is a second list of addresses: write one with the addresses that are in both")
        self._guard(client_cidrs=checks.addresses(wanted))

    def _passwords(self, each: Named, wanted: api.BasicAuth) -> None:
        self._unseen("authorization")
        if each.key[0] != self._asking.namespace:
            raise ValueError("secret: is in another namespace than the Ingress")
        if self.wishes.security is not None and self.wishes.security.basic_auth is not None:
            raise ValueError("asks for a second password")
        self._guard(basic_auth=checks.passwords(wanted))
        if wanted.remove_header:
            self._request(HeaderFilter(remove=("Authorization",)))

    def _decider(self, _each: Named, wanted: api.ForwardAuth) -> None:
        if self._changed or self._path is not None:
            raise ValueError("has to stand before what changes headers or paths of requests, as it sees them unchanged")
        if self.wishes.security is not None and self.wishes.security.ext_auth is not None:
            raise ValueError("is a second service that decides")
        self._guard(ext_auth=checks.decider(wanted))

    def _rate(self, _each: Named, wanted: api.RateLimit) -> None:
        rule = checks.rate(wanted)
        if rule is None:
            return
        self._unseen(rule.header.lower())
        known = self.wishes.limits.rate_limit if self.wishes.limits is not None else None
        self._limit(rate_limit=RateLimit(rules=(*(known.rules if known is not None else ()), rule)))

    def _headers(self, _each: Named, wanted: api.Headers) -> None:
        request, host = headers.of_requests(wanted)
        self._request(request)
        if host:
            self._changed |= {"host"}
            self._take(host_header=host)
        # Who stands first has the last word about answers.
        answers = headers.joined(_some(headers.of_answers(wanted)), self.wishes.response)
        self._take(response=answers)
        if (cors := headers.of_other_origins(wanted)) is not None:
            if self.wishes.cors is not None:
                raise ValueError("accessControl: says a second time who of other origins may")
            self._take(cors=cors)

    def _request(self, found: HeaderFilter) -> None:
        self._changed |= {each.name.lower() for each in found.set or ()} | {each.lower() for each in found.remove or ()}
        self._take(request=headers.joined(self.wishes.request, _some(found)))

    def _scheme(self, _each: Named, wanted: api.RedirectScheme) -> None:
        self._straight()
        if wanted.scheme != "https" or wanted.port not in ("", "443"):
            raise ValueError("scheme: https alone is possible, at port 443")
        self._take(secured="always", **_statuses(wanted.permanent))

    def _redirect(self, _each: Named, wanted: api.RedirectRegex) -> None:
        self._straight()
        found, led = _REDIRECTED.fullmatch(wanted.regex), _LED.fullmatch(wanted.replacement)
        if found is None or led is None:
            raise ValueError("regex and replacement: possible are ^https?://HOST/(.*) and https://OTHER/${1}")
        host = re.sub(r"\\([.-])", r"\1", found["host"]).lower()
        if self._asking.hosts != (host,) or "\\" in host:
            raise ValueError(
                f"regex: has to be about {', '.join(self._asking.hosts) or 'no host'}, the only host of the Ingress"
            )
        new = values.hostname(led["host"])
        plain = found["scheme"].lower() == "http"
        if new == host and plain and led["scheme"].lower() == "https" and led["port"] in (None, "443"):
            self._take(secured="always", **_statuses(wanted.permanent))
            return
        if new == host or found["scheme"].lower() in ("http", "https"):
            raise ValueError("regex: has to be about both schemes (https?), and replacement about another host")
        statuses = _statuses(wanted.permanent)
        port = values.number(1, 65535)(led["port"]) if led["port"] else None
        redirect = RedirectFilter(
            scheme=led["scheme"].lower(), hostname=new, port=port, status_code=statuses["secured_status"]
        )
        self._take(redirect=redirect, get_status=statuses["get_status"])

    def _straight(self) -> None:
        """Raise ValueError where a redirect would lead elsewhere: it sees the request as it came."""
        if self._path is not None or self._changed & {"host", "x-forwarded-proto"}:
            raise ValueError("has to stand before what changes paths, Host or X-Forwarded-Proto of requests")
        if self.wishes.redirect is not None or self.wishes.secured:
            raise ValueError("redirects after another Middleware that does")

    def _unseen(self, name: str) -> None:
        if name in self._changed:
            raise ValueError(f"has to stand before what changes the header {name} of requests")


def _some(found: HeaderFilter) -> HeaderFilter | None:
    return found if found != HeaderFilter() else None


def _statuses(permanent: bool) -> dict[str, int]:
    """Return the status of a redirect, which keeps the method, and that for GET."""
    return {"secured_status": 308, "get_status": 301} if permanent else {"secured_status": 307, "get_status": 302}
