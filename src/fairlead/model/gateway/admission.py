"""Whose connections and datagrams a route takes, of all policies that say something about it. Pure.

Each check is decided by the most exact policy that names it, as for requests (`guards`). Of a SecurityPolicy only what asks for addresses can
hold: connections are refused before a byte of either side has gone through. What asks for more closes the route where the policy is attached
to it or to its listener; of a policy for a whole Gateway it goes by, as that is meant for the listeners with requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec

from fairlead.base.address_set import AddressSet
from fairlead.model.gateway.guards import KINDS, levels
from fairlead.model.gateway.listeners import BoundListener
from fairlead.model.gateway.policies import Policies
from fairlead.model.gateway.routes import BoundRoute
from fairlead.plan.gateway.policy import Access, Addresses

MOST_PREFIXES = 1 << 14
"""Of those that are refused: what lies between many single addresses of IPv6 takes a hundred prefixes for each."""

MOST_REFUSALS = 1 << 19
"""Prefixes for server names of one listener: Envoy makes a tree of them for each name, 7 µs and 170 bytes for each prefix of each."""


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Whose connections or datagrams are taken."""

    refused: tuple[str, ...] = ()
    """Prefixes of clients."""
    sources: tuple[tuple[str, str], ...] = ()
    """Check → the policy that decides it, by name."""
    problem: str = ""
    """Why nobody's are."""


def admission(policies: Policies, listener: BoundListener, route: BoundRoute) -> Admission:
    """Return whose connections or datagrams a route takes from a listener."""
    rule = next((each.name or "" for each in route.api.spec.rules or ()), "")
    fields: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problem = ""
    for kind in KINDS:
        exempt: frozenset[str] = frozenset()
        for level in levels(policies, kind, listener, route.key, rule):
            if level.reading.value is None:
                if kind == "SecurityPolicy" or level.exact:
                    problem = problem or f"{level.name} is not valid: {level.reading.accepted.problem}"
                continue
            value = level.reading.value
            unheld = policies.of(kind).kind.unheld(value, listener.transport)
            for check in (*value.checks, *value.problems):
                if check in sources or check in exempt or (check in unheld and not level.exact):
                    continue
                sources[check] = level.name
                if check in unheld:
                    problem = problem or f"{level.name}: spec.{check} asks about requests, of which there are none"
                else:
                    fields |= value.checks[check]
            exempt |= value.exempt
    refused = _refused(fields.get("addresses"), fields.get("access"))
    if len(refused) > MOST_PREFIXES:
        many = f"{len(refused)} prefixes lie between those that are allowed, more than {MOST_PREFIXES}: allow fewer"
        refused, problem = (), problem or many
    return Admission(refused=refused, sources=tuple(sorted(sources.items())), problem=problem)


def crowd(listener: str, refusals: int) -> str:
    """Return why nobody gets through to server names with policies at a listener, empty when it can hold so many prefixes for all names."""
    if refusals <= MOST_REFUSALS:
        return ""
    return (
        f"listener {listener}: policies of its server names refuse {refusals} prefixes together, more than {MOST_REFUSALS}: "
        "allow fewer, or deny in place of allowing"
    )


def words(
    policies: Policies, route: BoundRoute, listeners: Iterable[BoundListener], crowded: Callable[[BoundListener], str]
) -> tuple[str, str]:
    """Return (what decides whose connections a route takes from some listeners, why nobody's are), each empty where there is nothing.

    `crowded` says of a listener why nobody gets through to names of it with policies.
    """
    found: dict[tuple[str, str], None] = {}
    problem = ""
    for listener in listeners:
        each = admission(policies, listener, route)
        problem = problem or each.problem or (crowded(listener) if each.refused else "")
        found |= dict.fromkeys(each.sources)
    says = "; ".join(f"{check}: {source}" for check, source in found)
    return says, f"nobody gets through: {problem}" if problem else ""


@lru_cache(maxsize=256)
def _refused(addresses: Addresses | None, access: Access | None) -> tuple[str, ...]:
    """Return the prefixes of those who are not let in; remembered, as a Gateway's policy says the same for each of its routes."""
    everybody = AddressSet.everything()
    let_in = everybody
    if addresses is not None:
        let_in = AddressSet.of(addresses.allow) if addresses.allow is not None else everybody
        let_in -= AddressSet.of(addresses.deny)
    if access is not None:
        let_in &= _allowed(access)
    return (everybody - let_in).prefixes()


def _allowed(access: Access) -> AddressSet:
    """Return who is allowed by rules that ask for addresses alone: of several the first that fits decides."""
    rest, found = AddressSet.everything(), AddressSet()
    for rule in access.rules:
        who = AddressSet.of(rule.who.addresses) if rule.who.addresses else AddressSet.everything()
        if rule.allow:
            found |= rest & who
        rest -= who
    return found | rest if access.default else found
