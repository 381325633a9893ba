"""One Ingress as HTTPRoutes: one for each host, and one more where plain HTTP is answered otherwise than HTTPS. Pure.

Sources: networking.k8s.io/v1 IngressRule and HTTPIngressPath; what annotations wish, by `annotations`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Literal, TypeAlias

import msgspec

from fairlead.api.gateway import ParentRef
from fairlead.api.httproute import (
    HeaderFilter,
    HTTPMatch,
    HTTPRoute,
    HTTPRouteSpec,
    HTTPRule,
    NamedMatch,
    PathMatch,
    PathModifier,
    RedirectFilter,
    RewriteFilter,
    RouteFilter,
)
from fairlead.api.ingress import Ingress, IngressBackend, IngressPath
from fairlead.model.gateway.annotations.values import groups
from fairlead.model.gateway.annotations.wishes import Canary, ClientCertificates, Matcher, Mode, Wishes
from fairlead.model.gateway.extended import KnownClientRule, NamedPortRef, PatternModifier, RankedRule
from fairlead.model.gateway.names import PART
from fairlead.plan.gateway.identity import ClientIdentity
from fairlead.world.events import ObjectKey

Place: TypeAlias = tuple[str, str, str, str]
"""Namespace, host, type of path and path: what a canary has in common with the Ingress that it is one for."""

HTTP, HTTPS = 80, 443
_KINDS = {"Exact": "Exact", "Prefix": "PathPrefix", "ImplementationSpecific": "PathPrefix"}
_MATCHES: Mapping[Matcher, Callable[[str], PathMatch]] = {
    "exact": lambda path: PathMatch(type="Exact", value=path),
    "text": lambda path: PathMatch(type="RegularExpression", value=f"(?i)(?:{re.escape(path)}).*"),
    "pattern": lambda path: PathMatch(type="RegularExpression", value=f"(?:{path})(?:.)*"),
    "pattern-anywhere": lambda path: PathMatch(type="RegularExpression", value=f".*(?:{path})(.*)"),
}
"""What becomes of a path of type ImplementationSpecific; patterns get ten characters, so that the longest goes first (`_path`)."""
_CHALLENGES = "/.well-known/acme-challenge"
"""Where a certificate authority looks before there is a certificate (RFC 8555, section 8.3)."""


class CanaryPath(msgspec.Struct, frozen=True):
    """A backend that gets some of a path's requests."""

    ingress: ObjectKey
    backend: IngressBackend
    canary: Canary


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What the class and its other Ingresses say that bears on one of them."""

    gateway: ObjectKey
    redirects: bool = False
    """Whether hosts with a certificate are redirected to HTTPS where an Ingress does not say."""
    https_only: bool = False
    """Whether hosts with a certificate of the Ingress's own are not served without it."""
    secured: frozenset[str] = frozenset()
    """Those of its hosts that have a certificate."""
    patterned: frozenset[str] = frozenset()
    """Those of its hosts for which some Ingress has patterns."""
    taken: frozenset[str] = frozenset()
    """Those of its aliases that are hosts of Ingresses."""
    canaries: tuple[tuple[Place, CanaryPath], ...] = ()
    clients: Mapping[str, ClientCertificates] = {}
    """Those of its hosts whose clients show certificates → what is wanted of these."""
    passed: Mapping[str, ObjectKey] = {}
    """Those of its hosts whose TLS is handed on → the Ingress whose backend gets it."""
    foreign: frozenset[str] = frozenset()
    """Hosts for which its certificate does not count, empty for all: an older Ingress of another namespace has them."""


def hosts_of(ingress: Ingress) -> tuple[str, ...]:
    """Return the hosts of an Ingress's rules in lower case, empty for all; the default backend is for all."""
    last = ("",) if ingress.spec.default_backend is not None else ()
    return tuple(dict.fromkeys((*((rule.host or "").lower() for rule in ingress.spec.rules or ()), *last)))


def other_hosts(ingress: Ingress, wishes: Wishes) -> dict[str, str]:
    """Return hosts that an Ingress has by annotation → the host of its rules that each stands for; those of `www.` lead there."""
    named = [host for host in hosts_of(ingress) if host and not host.startswith("*.")]
    found = {alias: host for host in named[:1] for alias in (*wishes.moved, *wishes.aliases)}
    if wishes.with_www:
        found |= {host.removeprefix("www.") if host.startswith("www.") else f"www.{host}": host for host in named}
    return {alias: host for alias, host in found.items() if alias not in named}


def places(key: ObjectKey, ingress: Ingress) -> Iterator[tuple[Place, IngressPath]]:
    """Yield the paths of an Ingress and where they are."""
    for rule in ingress.spec.rules or ():
        for path in rule.http.paths if rule.http else ():
            yield (key[0], (rule.host or "").lower(), path.path_type, path.path or "/"), path


def routes(
    key: ObjectKey, ingress: Ingress, wishes: Wishes, served: Mapping[str, Wishes], around: Around
) -> Iterator[tuple[ObjectKey, HTTPRoute]]:
    """Yield the routes of an Ingress: (namespace, `NAME~HOST`) or, for plain HTTP alone, (namespace, `NAME~HOST~http`).

    `served` are the wishes of requests for Services that say something themselves.
    """
    if wishes.canary is not None:
        return
    by_host: dict[str, list[HTTPRule]] = {host: [] for host in hosts_of(ingress)}
    canaries = dict(around.canaries)
    challenges: set[PathMatch] = set()
    for place, path in places(key, ingress):
        found = _rules(
            path, _of_service(path.backend, wishes, served), place[1] in around.patterned, canaries.get(place)
        )
        by_host[place[1]] += [_ranked(each, wishes.priority) for each in found]
        if place[3].startswith(_CHALLENGES):
            challenges |= {match.path for rule in found for match in rule.matches or ()}
    for rules in by_host.values():
        if wishes.app_root and rules and not wishes.refusals:
            rules.insert(0, _app_root(wishes.app_root))
        if ingress.spec.default_backend is not None:
            last = IngressPath(backend=ingress.spec.default_backend, path="/", path_type="Prefix")
            whole = msgspec.structs.replace(_of_service(last.backend, wishes, served), patterns=False, target=None)
            rules += _rules(last, whole, False, None)
    others = {alias: host for alias, host in other_hosts(ingress, wishes).items() if alias not in around.taken}
    for alias, host in others.items():
        by_host[alias] = by_host[host] if alias in wishes.aliases else [_to_host(host, wishes)]
    for host, rules in by_host.items():
        yield from _of_host(_Host(key, ingress, host, tuple(rules), wishes, around, challenges))


def _of_service(backend: IngressBackend, wishes: Wishes, served: Mapping[str, Wishes]) -> Wishes:
    """Return what requests for a backend wish."""
    if wishes.refusals or backend.service is None:
        return wishes
    return served.get(backend.service.name, wishes)


class _Host(msgspec.Struct, frozen=True):
    """A host of an Ingress: its rules, and what bears on them."""

    key: ObjectKey
    ingress: Ingress
    host: str
    rules: tuple[HTTPRule, ...]
    wishes: Wishes
    around: Around
    challenges: Set[PathMatch]

    @property
    def name(self) -> str:
        return f"{self.key[1]}{PART}{self.host or '*'}"

    @property
    def redirects(self) -> bool:
        """Whether plain HTTP is redirected to HTTPS."""
        if self.wishes.refusals:
            return False
        if self.wishes.secured == "always":
            return True
        wanted = self.wishes.secured == "with-certificate" or (not self.wishes.secured and self.around.redirects)
        return wanted and self.host in self.around.secured

    def to_https(self) -> tuple[HTTPRule, ...]:
        """Return what plain HTTP gets where it is redirected."""
        return tuple(each for rule in self.rules for each in _to_https(rule, self.wishes, self.challenges))

    def route(
        self, rules: tuple[HTTPRule, ...], ports: tuple[int, ...], listener: str | None = None
    ) -> tuple[ObjectKey, HTTPRoute]:
        """Return the host's route for some ports, all where there are none."""
        return (self.key[0], self.name), _route(self.ingress, self.host, rules, ports, self.around.gateway, listener)

    def plain_route(self, rules: tuple[HTTPRule, ...]) -> tuple[ObjectKey, HTTPRoute]:
        """Return the route beside it that is for plain HTTP alone."""
        route = _route(self.ingress, self.host, rules, (HTTP,), self.around.gateway)
        return (self.key[0], f"{self.name}{PART}http"), route


def _of_host(own: _Host) -> Iterator[tuple[ObjectKey, HTTPRoute]]:
    wishes, around = own.wishes, own.around
    if wishes.passthrough or own.host in around.passed:
        yield own.route(own.to_https() if own.redirects else own.rules, (HTTP,))
        return
    if wishes.clients is not None or own.host in around.clients:
        yield from _of_known_clients(own)
        return
    ports = wishes.ports
    if not ports and around.https_only and own.ingress.spec.tls and own.host in around.secured:
        ports = (HTTPS,)
    if ports == (HTTPS,) or not own.redirects:
        yield own.route(own.rules, ports)
    elif ports == (HTTP,) or own.host not in around.secured:
        yield own.route(own.to_https(), (HTTP,))
    else:
        yield own.route(own.rules, (HTTPS,))
        yield own.plain_route(own.to_https())


def _of_known_clients(own: _Host) -> Iterator[tuple[ObjectKey, HTTPRoute]]:
    """Yield the routes of a host whose clients show certificates: they hold for its own listener alone, which asks for them.

    What one Ingress wants of a host's clients holds for the others that have the host.
    """
    plain, rules, wanted, ports = own.rules, own.rules, own.wishes.clients, own.wishes.ports
    required = wanted is not None and wanted.mode == "required"
    if not own.wishes.refusals and (required or own.redirects):
        plain = own.to_https()
    if wanted is not None and own.around.clients.get(own.host) != wanted:
        plain = rules = tuple(HTTPRule(matches=rule.matches) for rule in rules)
    shown: Mapping[Mode, Literal["always", "maybe", "untrusted"]] = {
        "required": "always",
        "optional": "maybe",
        "any": "untrusted",
    }
    identity = None
    if wanted is not None:
        identity = ClientIdentity(headers=wanted.told, subject=wanted.subject, shown=shown[wanted.mode])
    if own.host in own.around.secured and HTTPS in (ports or (HTTPS,)):
        known = tuple(_of_clients(rule, identity) for rule in rules)
        yield own.route(known, (HTTPS,), tls_listener(own.host))
    if HTTP in (ports or (HTTP,)):
        yield own.plain_route(plain)


def _of_clients(rule: HTTPRule, client: ClientIdentity | None) -> KnownClientRule:
    fields = {each.name: getattr(rule, each.name) for each in msgspec.structs.fields(rule)}
    return KnownClientRule(**fields, client=client)


def tls_listener(host: str) -> str:
    """Return the name of the listener of a host with TLS, whose name is empty for all."""
    return "tls-" + hashlib.sha256(host.lower().encode()).hexdigest()[:16]


def _route(
    ingress: Ingress,
    host: str,
    rules: tuple[HTTPRule, ...],
    ports: tuple[int, ...],
    gateway: ObjectKey,
    listener: str | None = None,
) -> HTTPRoute:
    parents = tuple(
        ParentRef(namespace=gateway[0], name=gateway[1], section_name=listener, port=port) for port in ports or (None,)
    )
    labels = _one_label(host)
    if labels:
        rules = tuple(_also(rule, labels) for rule in rules)
    spec = HTTPRouteSpec(parent_refs=parents, hostnames=(host,) if host else None, rules=rules)
    return HTTPRoute(metadata=ingress.metadata, spec=spec)


def _to_https(rule: HTTPRule, wishes: Wishes, challenges: Set[PathMatch]) -> list[HTTPRule]:
    """Return what plain HTTP gets in place of a rule."""
    if any(each.path in challenges for each in rule.matches or ()):
        return [rule]
    redirect = RedirectFilter(scheme="https", status_code=wishes.secured_status)
    filters = (RouteFilter(type="RequestRedirect", request_redirect=redirect),)
    bare = HTTPRule(matches=rule.matches, filters=filters)
    return _redirecting(_ranked(bare, rule.priority if isinstance(rule, RankedRule) else 0), wishes)


def _redirecting(rule: HTTPRule, wishes: Wishes) -> list[HTTPRule]:
    """Return a rule that redirects, behind one for GET where that gets another status."""
    if not wishes.get_status:
        return [rule]
    matches = tuple(msgspec.structs.replace(each, method="GET") for each in rule.matches or ())
    filters = tuple(
        each
        if each.request_redirect is None
        else msgspec.structs.replace(
            each, request_redirect=msgspec.structs.replace(each.request_redirect, status_code=wishes.get_status)
        )
        for each in rule.filters or ()
    )
    return [msgspec.structs.replace(rule, matches=matches, filters=filters), rule]


def _ranked(rule: HTTPRule, priority: int) -> HTTPRule:
    """Return a rule with a priority of its own, if it has one."""
    return RankedRule(**msgspec.structs.asdict(rule), priority=priority) if priority else rule


def _app_root(path: str) -> HTTPRule:
    new = PathModifier(type="ReplaceFullPath", replace_full_path=path)
    found = RouteFilter(type="RequestRedirect", request_redirect=RedirectFilter(path=new, status_code=302))
    return HTTPRule(matches=(HTTPMatch(path=PathMatch(type="Exact", value="/")),), filters=(found,))


def _to_host(host: str, wishes: Wishes) -> HTTPRule:
    redirect = RedirectFilter(hostname=host, status_code=wishes.moved_status)
    filters = (RouteFilter(type="RequestRedirect", request_redirect=redirect),)
    return HTTPRule(matches=(HTTPMatch(),), filters=None if wishes.refusals else filters)


def _rules(path: IngressPath, wishes: Wishes, patterned: bool, canary: CanaryPath | None) -> list[HTTPRule]:
    """Return the rules of a path: its own, behind those for requests that a canary's header or cookie decides about."""
    match = HTTPMatch(path=_path(path, matcher=wishes.matcher, patterns=wishes.patterns, patterned=patterned))
    if wishes.refusals:
        # Without a backend it is answered with 500, and no other route gets what is this one's.
        return [HTTPRule(matches=(match,))]
    filters = _filters(path, wishes)
    if wishes.redirect is not None:
        return _redirecting(HTTPRule(matches=(match,), filters=filters), wishes)
    whole = HTTPRule(
        matches=(match,),
        filters=filters or None,
        timeouts=wishes.timeouts,
        retry=wishes.retry,
        session_persistence=wishes.session,
    )
    own = backend_refs(path.backend, wishes, 1)
    if canary is None:
        return [msgspec.structs.replace(whole, backend_refs=own)]
    wanted = canary.canary
    found = [
        _also(
            msgspec.structs.replace(whole, backend_refs=backend_refs(canary.backend, wishes, 1) if there else own),
            (header,),
        )
        for header, there in _deciders(wanted)
    ]
    weight = min(wanted.weight, wanted.total)
    parts = (
        *backend_refs(path.backend, wishes, wanted.total - weight),
        *(backend_refs(canary.backend, wishes, weight) if weight else ()),
    )
    return [*found, msgspec.structs.replace(whole, backend_refs=parts if weight else own)]


def _deciders(canary: Canary) -> Iterator[tuple[NamedMatch, bool]]:
    """Yield headers that decide, and whether for the canary; earlier ones go first."""
    if canary.header and canary.value:
        yield NamedMatch(name=canary.header, value=canary.value), True
    elif canary.header and canary.pattern:
        pattern = f".*(?:{canary.pattern}).*"
        yield NamedMatch(name=canary.header, value=pattern, type="RegularExpression"), True
    elif canary.header:
        yield NamedMatch(name=canary.header, value="always"), True
        yield NamedMatch(name=canary.header, value="never"), False
    if canary.cookie:
        for word, there in (("always", True), ("never", False)):
            pattern = f"(?:.*; *)?{re.escape(canary.cookie)}={word}(?: *;.*)?"
            yield NamedMatch(name="cookie", value=pattern, type="RegularExpression"), there


def _also(rule: HTTPRule, headers: tuple[NamedMatch, ...]) -> HTTPRule:
    """Return a rule whose matches want some more headers."""
    matches = tuple(
        msgspec.structs.replace(each, headers=(*(each.headers or ()), *headers)) for each in rule.matches or ()
    )
    return msgspec.structs.replace(rule, matches=matches)


def _path(path: IngressPath, *, matcher: Matcher, patterns: bool, patterned: bool) -> PathMatch:
    """Return the match of a path. Patterns go before prefixes however long those are, so beside patterns prefixes become some, too.

    What is added to both has the same length: the longest path goes first.
    """
    value = path.path or "/"
    kind = _KINDS.get(path.path_type, "PathPrefix")
    if path.path_type == "ImplementationSpecific" and matcher:
        return _MATCHES[matcher](value)
    if kind == "PathPrefix" and patterns:
        return PathMatch(type="RegularExpression", value=f"(?i)(?:{value}).*")
    if kind == "PathPrefix" and patterned and value.strip("/"):
        return PathMatch(type="RegularExpression", value=f"{re.escape(value.rstrip('/'))}(?:[/].*)?")
    return PathMatch(type=kind, value=value)


def _filters(path: IngressPath, wishes: Wishes) -> tuple[RouteFilter, ...]:
    found: list[RouteFilter] = []
    if isinstance(wishes.request, HeaderFilter):
        found.append(RouteFilter(type="RequestHeaderModifier", request_header_modifier=wishes.request))
    if isinstance(wishes.response, HeaderFilter):
        found.append(RouteFilter(type="ResponseHeaderModifier", response_header_modifier=wishes.response))
    if wishes.cors is not None:
        found.append(RouteFilter(type="CORS", cors=wishes.cors))
    if wishes.redirect is not None:
        return (*found, RouteFilter(type="RequestRedirect", request_redirect=wishes.redirect))
    if wishes.mirror is not None:
        found.append(RouteFilter(type="RequestMirror", request_mirror=wishes.mirror))
    new = _new_path(path, wishes)
    if new is not None or wishes.host_header:
        rewrite = RewriteFilter(hostname=wishes.host_header or None, path=new)
        found.append(RouteFilter(type="URLRewrite", url_rewrite=rewrite))
    return tuple(found)


def _new_path(path: IngressPath, wishes: Wishes) -> PathModifier | None:
    if wishes.target is None:
        return wishes.rewrite
    pattern = path.path or "/"
    # How many groups there are is asked where it can be known: a path that is no pattern makes its rule invalid by its match.
    known = groups(pattern) if path.path_type != "Exact" and _is_pattern(pattern) else 0
    new = re.sub(r"\$([1-9])", lambda found: rf"\{found[1]}" if int(found[1]) <= known else "", wishes.target)
    if not known:
        return PathModifier(type="ReplaceFullPath", replace_full_path=new)
    return PatternModifier(type="ReplacePattern", pattern=f"(?i)^(?:{pattern}).*", substitution=new)


def _is_pattern(text: str) -> bool:
    try:
        groups(text)
    except ValueError:
        return False
    return True


def _one_label(host: str) -> tuple[NamedMatch, ...]:
    """Return what keeps a wildcard to hosts with one label in place of the star (IngressRule.host)."""
    if not host.startswith("*."):
        return ()
    pattern = f"(?i)[^.]+{re.escape(host[1:])}(:[0-9]+)?"
    return (NamedMatch(name="host", type="RegularExpression", value=pattern),)


def backend_refs(backend: IngressBackend, wishes: Wishes, weight: int) -> tuple[NamedPortRef, ...]:
    """Return where a backend of an Ingress leads, nowhere for what is no Service."""
    service = backend.service
    if service is None:
        return ()
    return (
        NamedPortRef(
            name=service.name,
            port=service.port.number,
            port_name=service.port.name or "",
            protocol=wishes.protocol,
            encrypted=wishes.encrypted,
            weight=weight,
        ),
    )
