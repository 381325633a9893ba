"""Policy rules: what one rule allows, many rules as an index, and whether some rights contain others. Pure.

Source: rbac.authorization.k8s.io/v1 PolicyRule and the semantics of its validation package (Covers).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

Json = dict[str, Any]

_ALL = "*"
_INDEXED = 1024
"""Combinations of one rule that are indexed at most; a rule of more is compared by itself."""
MOST_COMBINATIONS = 200_000
"""Combinations of a rule that are looked at when somebody grants it."""


class Rule(NamedTuple):
    """One rule. `names` empty means every object."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @property
    def combinations(self) -> int:
        """How many single rights the rule grants."""
        return len(self.verbs) * (len(self.groups) * len(self.resources) * max(1, len(self.names)) + len(self.urls))

    def allows(self, verb: str, group: str, resource: str, subresource: str, name: str | None) -> bool:
        """Tell whether the rule allows a request to a resource; `name` None: to every object."""
        combined = f"{resource}/{subresource}" if subresource else resource
        return (
            (verb in self.verbs or _ALL in self.verbs)
            and (group in self.groups or _ALL in self.groups)
            and (
                combined in self.resources
                or _ALL in self.resources
                or (bool(subresource) and f"*/{subresource}" in self.resources)
            )
            and (not self.names or name in self.names)
        )


def rules_of(role: Json) -> list[Rule]:
    """Return the rules of a Role or ClusterRole."""
    return [
        Rule(
            tuple(one.get("verbs") or ()),
            tuple(one.get("apiGroups") or ()),
            tuple(one.get("resources") or ()),
            tuple(one.get("resourceNames") or ()),
            tuple(one.get("nonResourceURLs") or ()),
        )
        for one in role.get("rules") or ()
    ]


def to_json(rule: Rule) -> Json:
    """Return a rule as a PolicyRule."""
    fields = {
        "verbs": rule.verbs,
        "apiGroups": rule.groups,
        "resources": rule.resources,
        "resourceNames": rule.names,
        "nonResourceURLs": rule.urls,
    }
    return {key: list(values) for key, values in fields.items() if values or key == "verbs"}


class Rights:
    """Many rules, asked in constant time."""

    __slots__ = ("_any", "_broad", "_named", "_urls")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._any: set[tuple[str, str, str]] = set()
        self._named: dict[tuple[str, str, str], set[str]] = {}
        self._broad: list[Rule] = []
        self._urls: list[tuple[tuple[str, ...], str]] = []
        for rule in rules:
            self._add(rule)

    def allow(self, verb: str, group: str, resource: str, subresource: str, name: str | None) -> bool:
        """Tell whether any rule allows a request to a resource; `name` None: to every object."""
        if (_ALL, _ALL, _ALL) in self._any:
            return True
        resources = (f"{resource}/{subresource}", f"*/{subresource}", _ALL) if subresource else (resource, _ALL)
        for key in product((verb, _ALL), (group, _ALL), resources):
            if key in self._any or name in self._named.get(key, ()):
                return True
        return any(rule.allows(verb, group, resource, subresource, name) for rule in self._broad)

    def allow_path(self, verb: str, path: str) -> bool:
        """Tell whether any rule allows a request outside of resources."""
        return any(
            (verb in verbs or _ALL in verbs)
            and (url in (_ALL, path) or (url.endswith(_ALL) and path.startswith(url.rstrip(_ALL))))
            for verbs, url in self._urls
        )

    def cover(self, rule: Rule) -> list[Rule]:
        """Return the single rights of `rule` that are not among these; raises ValueError for a rule of too many."""
        if rule.combinations > MOST_COMBINATIONS:
            raise ValueError(f"a rule may grant {MOST_COMBINATIONS} combinations at most")
        return [single for single in singles(rule) if not self._covers(single)]

    def _covers(self, single: Rule) -> bool:
        verb = single.verbs[0]
        if single.urls:
            return self._covers_url(verb, single.urls[0])
        resource, _, subresource = single.resources[0].partition("/")
        name = single.names[0] if single.names else None
        return self.allow(verb, single.groups[0], resource, subresource, name)

    def _covers_url(self, verb: str, wanted: str) -> bool:
        return any(
            (verb in verbs or _ALL in verbs)
            and (url == wanted or (url.endswith(_ALL) and wanted.startswith(url.rstrip(_ALL))))
            for verbs, url in self._urls
        )

    def _add(self, rule: Rule) -> None:
        self._urls += [(rule.verbs, url) for url in rule.urls]
        if rule.combinations > _INDEXED:
            self._broad.append(rule)
            return
        for key in product(rule.verbs, rule.groups, rule.resources):
            if rule.names:
                self._named.setdefault(key, set()).update(rule.names)
            else:
                self._any.add(key)


def singles(rule: Rule) -> Iterator[Rule]:
    """Yield the single rights that `rule` grants."""
    for group, resource, verb in product(rule.groups, rule.resources, rule.verbs):
        if not rule.names:
            yield Rule((verb,), (group,), (resource,))
        for name in rule.names:
            yield Rule((verb,), (group,), (resource,), (name,))
    for url, verb in product(rule.urls, rule.verbs):
        yield Rule((verb,), urls=(url,))


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Return single rights with those of one resource joined."""
    joined: dict[tuple[str, str], list[str]] = {}
    found: list[Rule] = []
    for rule in rules:
        if len(rule.groups) == len(rule.resources) == 1 and not rule.names and not rule.urls:
            verbs = joined.setdefault((rule.groups[0], rule.resources[0]), [])
            verbs += [verb for verb in rule.verbs if verb not in verbs]
        else:
            found.append(rule)
    return found + [Rule(tuple(verbs), (group,), (resource,)) for (group, resource), verbs in joined.items()]


def describe(rule: Rule) -> str:
    """Return a rule as messages show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    parts = (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.urls),
        ("ResourceNames", rule.names),
        ("Verbs", rule.verbs),
    )
    return "{" + ", ".join(f"{title}:{quoted(values)}" for title, values in parts if values) + "}"


def quoted(values: Iterable[str]) -> str:
    """Return texts as Go's %q prints a list of them."""
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
