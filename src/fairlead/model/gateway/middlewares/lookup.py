"""Which Middlewares of Traefik an Ingress names, chains taken apart, and whom a changed one concerns. Pure.

A name is `NAMESPACE-NAME@kubernetescrd`. One of another namespace needs a ReferenceGrant there: who writes it says what happens to requests.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from fairlead.api.gateway import ReferenceGrant
from fairlead.api.middleware import Chain, Middleware
from fairlead.model.gateway.grants import From, Grants
from fairlead.world.events import ObjectKey

T = TypeVar("T")

GROUP = "traefik.io"
_PROVIDER = "@kubernetescrd"
_MOST = 32
"""Of one Ingress, those in chains and these themselves included."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,315}[a-z0-9])?")


class MiddlewareError(Exception):
    """A Middleware that cannot be had; `fix` says what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class Named(msgspec.Struct, frozen=True):
    """A Middleware in the order of an Ingress."""

    key: ObjectKey
    kind: str
    value: object
    """What its `spec` holds for the kind, not yet read."""


def name(text: str) -> str:
    """Return `NAMESPACE-NAME` of a name in an annotation; raises ValueError for those of other providers."""
    found = text.removesuffix(_PROVIDER)
    if found == text or not _NAME.fullmatch(found):
        raise ValueError(
            f"{text[:64]!r} is no NAMESPACE-NAME{_PROVIDER}: others of Traefik's providers do not exist here"
        )
    return found


class Middlewares:
    """All Middlewares of a cluster, kept up as they change."""

    def __init__(self) -> None:
        self._all: Mapping[ObjectKey, Middleware] = {}
        self._written: Mapping[ObjectKey, ReferenceGrant] = {}
        self._grants = Grants({})
        self._named: dict[str, set[ObjectKey]] = {}
        """`NAMESPACE-NAME` → all that are called so: where the one ends and the other begins is not said."""
        self._users: dict[str, set[ObjectKey]] = {}
        """The same → the Ingresses that ask for it."""

    def __repr__(self) -> str:
        return f"<Middlewares {len(self._all)} asked for={len(self._users)}>"

    def update(
        self, middlewares: Mapping[ObjectKey, Middleware], grants: Mapping[ObjectKey, ReferenceGrant]
    ) -> frozenset[ObjectKey]:
        """Take in a snapshot's Middlewares; return the Ingresses that this concerns. A changed grant concerns all who ask for some."""
        before, self._all = self._all, middlewares
        changed: set[str] = set()
        for key in before.keys() | middlewares.keys() if middlewares is not before else ():
            if before.get(key) is not middlewares.get(key):
                joined = "-".join(key)
                changed.add(joined)
                (self._named.setdefault(joined, set()).add if key in middlewares else self._named[joined].discard)(key)
        if grants is not self._written:
            self._written, self._grants = grants, Grants(grants)
            changed |= self._users.keys()
        return frozenset(key for joined in changed & self._users.keys() for key in self._users[joined])

    def follow(self, ingress: ObjectKey, before: Iterable[str], after: Iterable[str]) -> None:
        """Note for which names an Ingress asks."""
        for each in before:
            self._users[each].discard(ingress)
            if not self._users[each]:
                del self._users[each]
        for each in after:
            self._users.setdefault(each, set()).add(ingress)

    def named(self, source: From, names: Iterable[str], asked: set[str]) -> tuple[Named, ...]:
        """Return the Middlewares that `source` names, in order; notes in `asked` for which names it looked. Raises MiddlewareError."""
        return tuple(self._each(source, names, asked, (), itertools.count(1)))

    def _each(
        self,
        source: From,
        names: Iterable[str],
        asked: set[str],
        above: tuple[ObjectKey, ...],
        steps: Iterator[int],
    ) -> Iterator[Named]:
        for joined in names:
            asked.add(joined)
            key = self._one(source, joined)
            if key in above:
                raise MiddlewareError(f"Middleware {'/'.join(key)} is part of a chain of itself")
            if next(steps) > _MOST:
                raise MiddlewareError(f"more than {_MOST} Middlewares", "take some of them together")
            spec = self._all[key].spec
            if len(spec) != 1:
                raise MiddlewareError(
                    f"Middleware {'/'.join(key)}: spec has {len(spec)} kinds; exactly one is possible"
                )
            ((kind, value),) = spec.items()
            if kind != "chain":
                yield Named(key, kind, value)
                continue
            chain = read(key, kind, value, Chain)
            parts = [f"{each.namespace or key[0]}-{each.name}" for each in chain.middlewares]
            yield from self._each((GROUP, "Middleware", key[0]), parts, asked, (*above, key), steps)

    def _one(self, source: From, joined: str) -> ObjectKey:
        namespace = source[2]
        candidates = self._named.get(joined, set())
        own = (namespace, joined.removeprefix(f"{namespace}-"))
        if own in candidates:
            return own
        if not candidates:
            raise MiddlewareError(f"there is no Middleware {joined}", "write it, or take its name away")
        granted = sorted(key for key in candidates if self._grants.permit(source, GROUP, "Middleware", *key))
        if not granted:
            fix = (
                f"write a ReferenceGrant there, from {source[1]} of {source[0]} in {namespace} to Middleware of {GROUP}"
            )
            raise MiddlewareError(f"Middleware {joined} is in another namespace, which grants no reference", fix)
        if len(granted) > 1:
            raise MiddlewareError(f"{joined} may be any of {', '.join('/'.join(each) for each in granted)}")
        return granted[0]


def read(key: ObjectKey, kind: str, value: object, of: type[T]) -> T:
    """Return a part of a Middleware's spec; raises MiddlewareError for what it may not hold."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = f"spec.{kind}{path.rstrip('`')}"
        fix = "write what it does as filters of an HTTPRoute, or as policies"
        raise MiddlewareError(f"Middleware {'/'.join(key)}: {where}: {text}", fix) from error
