"""In which order rules of one host are tried where some of them say so themselves (`router.priority` of Traefik). Pure.

Source: Traefik's documents on routers, "Priority Calculation". There a rule without a priority has the length of its own text, and the highest goes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from fairlead.api.httproute import HTTPMatch, HTTPRule, PathMatch
from fairlead.model.gateway.annotations import traefik
from fairlead.model.gateway.annotations.wishes import Remark, Wishes
from fairlead.model.gateway.extended import RankedRule

_BEHIND_ALL = 20
"""No text of a rule for an exact host is as short: `Host("a") && Path("/")` has 25 characters."""
_ANYWHERE = re.compile(r"\.\*\(\?:(.*)\)\(\.\*\)", re.DOTALL)
"""What becomes of a pattern that may match anywhere in a path (`ingress_routes`)."""
_BESIDE_PATTERNS = "(?:[/].*)?"
"""How prefixes end that stand beside patterns."""


def possible(wishes: Wishes, hosts: Iterable[str]) -> Wishes:
    """Return the wishes of an Ingress of some hosts, refused where a priority would put a wildcard before an exact host."""
    if wishes.priority <= _BEHIND_ALL or all(host and not host.startswith("*.") for host in hosts):
        return wishes
    message = f"more than {_BEHIND_ALL} may mean before exact hosts, which go first here, and some rule is for a wildcard or all hosts"
    refusal = Remark(f"{traefik.PREFIX}router.priority", message, "write an Ingress of its own for each exact host")
    return msgspec.structs.replace(wishes, refusals=(*wishes.refusals, refusal))


def is_ranked(rules: Iterable[object]) -> bool:
    """Tell whether some rule has a priority of its own."""
    return any(isinstance(each, RankedRule) for each in rules)


def rank(rule: object, host: str) -> int:
    """Return how early a rule is tried among those of its host: the higher the earlier."""
    if isinstance(rule, RankedRule):
        return rule.priority
    match = next(iter(rule.matches or ()), HTTPMatch()) if isinstance(rule, HTTPRule) else HTTPMatch()
    path = _path(match.path)
    return len(f'Host("{host}") && {path}' if host else path)


def _path(match: PathMatch) -> str:
    """Return what Traefik calls a path that is matched."""
    if match.type == "Exact":
        return f'Path("{match.value}")'
    if match.type != "RegularExpression":
        return f'PathPrefix("{match.value}")'
    if (pattern := _ANYWHERE.fullmatch(match.value)) is not None:
        return f'PathRegexp("{pattern[1]}")'
    prefix = re.sub(r"\\(.)", r"\1", match.value.removesuffix(_BESIDE_PATTERNS))
    return f'PathPrefix("{prefix}")'
