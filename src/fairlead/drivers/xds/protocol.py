"""Incremental (delta) ADS without I/O: what the proxy has, what it is told, and what it answered. Source: xDS protocol, "Incremental xDS".

Requests go in, responses come out; nothing here knows what a resource holds. A resource that the proxy has in its present version is never
sent again: a needless update drains connections. It must never answer a request of a type that it does not serve.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

ANY = "*"
"""In a subscription: every resource of the type."""


class Resource(msgspec.Struct, frozen=True):
    """One resource, serialized once."""

    name: str
    version: str
    """Follows from the content: equal resources have equal versions."""
    body: bytes


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A DeltaDiscoveryRequest."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = {}
    """Name → version of what the proxy has from an earlier stream."""
    nonce: str = ""
    """Of the response that this one is about; empty: about none."""
    error: str = ""
    """Why that response was rejected, in the proxy's words."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


class Rejection(msgspec.Struct, frozen=True):
    """A resource that the proxy has rejected in this version."""

    version: str
    error: str


class _Type:
    """What one stream has of one type."""

    def __init__(self) -> None:
        self.wildcard = False
        self.names: set[str] = set()
        self.first = True
        self.sent: dict[str, str] = {}
        """Name → version that the proxy was sent last."""
        self.acknowledged: dict[str, str] = {}
        self.rejected: dict[str, Rejection] = {}
        self.waiting: dict[str, Response] = {}
        """Nonce → response that was not answered yet."""


class Cache:
    """All resources by type and name; types are in the order in which the proxy should learn of them."""

    def __init__(
        self, types: Sequence[str], followers: Mapping[str, str] | None = None, apart: Collection[str] = ()
    ) -> None:
        """`followers`: type → type of which the proxy needs the resource of the same name again when one is sent anew.

        `apart`: types of which each resource is a response: a proxy that rejects one takes the others, and nobody guesses which one it was.
        """
        self.types = tuple(types)
        self.followers = followers or {}
        self.apart = frozenset(apart)
        self._resources: dict[str, dict[str, Resource]] = {each: {} for each in types}

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of a type by name."""
        return self._resources[type_url]

    def put(self, type_url: str, resource: Resource) -> bool:
        """Set a resource; return whether it is another one than before."""
        table = self._resources[type_url]
        old = table.get(resource.name)
        if old is not None and old.version == resource.version:
            return False
        table[resource.name] = resource
        return True

    def remove(self, type_url: str, name: str) -> bool:
        """Remove a resource; return whether there was one."""
        return self._resources[type_url].pop(name, None) is not None


class Stream:
    """One proxy's connection. `receive` takes what it says, `push` tells what changed; both return what to send."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._types: dict[str, _Type] = {}
        self._owed: dict[str, set[str]] = {}
        """Type → names of resources that the proxy needs again, though it has them."""
        self._count = 0

    def __repr__(self) -> str:
        counts = {url.rpartition(".")[2]: len(state.acknowledged) for url, state in self._types.items()}
        return f"<Stream acknowledged={counts}>"

    def receive(self, request: Request) -> list[Response]:
        """Take a request and return the responses to send."""
        if request.type_url not in self._cache.types:
            return []
        state = self._types.setdefault(request.type_url, _Type())
        if request.nonce:
            self._settle(state, request)
        wanted: set[str] = set()
        greeted = state.first
        if state.first:
            state.first = False
            state.sent = dict(request.initial)
            state.acknowledged = dict(request.initial)
            # A first request without names asks for everything.
            state.wildcard = ANY in request.subscribe or not request.subscribe
            wanted |= self._cache.of(request.type_url).keys() | request.initial.keys() if state.wildcard else set()
        elif ANY in request.subscribe:
            state.wildcard = True
            wanted |= self._cache.of(request.type_url).keys()
        names = set(request.subscribe) - {ANY}
        state.names |= names
        for name in set(request.unsubscribe) - {ANY}:
            state.names.discard(name)
            if not state.wildcard:
                for known in (state.sent, state.acknowledged):
                    known.pop(name, None)
                state.rejected.pop(name, None)
        if ANY in request.unsubscribe:
            state.wildcard = False
        # Whoever subscribes waits for an answer, also where nothing is new.
        owed = self._take_owed(request.type_url, state)
        found = self._respond(request.type_url, state, wanted | names | owed, again=names)
        if not found and greeted and state.wildcard:
            # A proxy begins to work when it knows all there is, also that there is nothing.
            found.append(self._number(request.type_url, state, (), ()))
        follower = self._cache.followers.get(request.type_url, "")
        if (followed := self._types.get(follower)) is not None:
            found += self._respond(follower, followed, self._take_owed(follower, followed))
        return found

    def push(self, changed: Mapping[str, Iterable[str]]) -> Iterator[Response]:
        """Yield what the proxy has to hear of resources (type → names) that changed, in the order of the types; removals last."""
        for type_url in self._cache.types:
            state = self._types.get(type_url)
            if state is not None and (type_url in changed or type_url in self._owed):
                names = {*changed.get(type_url, ()), *self._take_owed(type_url, state)}
                present = [name for name in names if name in self._cache.of(type_url)]
                yield from self._respond(type_url, state, present)
        for type_url in reversed(self._cache.types):
            state = self._types.get(type_url)
            if state is not None and type_url in changed:
                gone = [name for name in changed[type_url] if name not in self._cache.of(type_url)]
                yield from self._respond(type_url, state, gone)

    def is_settled(self, type_url: str, name: str) -> bool:
        """Tell whether the proxy has acknowledged or rejected the present version of a resource, or its absence."""
        state = self._types.get(type_url)
        resource = self._cache.of(type_url).get(name)
        if state is None:
            return resource is None
        if resource is None:
            return name not in state.sent and name not in state.acknowledged
        rejection = state.rejected.get(name)
        return state.acknowledged.get(name) == resource.version or (
            rejection is not None and rejection.version == resource.version
        )

    def wants(self, type_url: str, name: str) -> bool:
        """Tell whether the proxy has asked for a resource."""
        state = self._types.get(type_url)
        return state is not None and self._concerns(state, name)

    def rejections(self) -> Iterator[tuple[str, str, str]]:
        """Yield type, name and the proxy's words of each resource whose present version it rejects."""
        for type_url, state in self._types.items():
            for name, rejection in state.rejected.items():
                resource = self._cache.of(type_url).get(name)
                if resource is not None and resource.version == rejection.version:
                    yield type_url, name, rejection.error

    def forget_rejections(self, type_url: str) -> None:
        """Have what the proxy rejected of a type count as never sent: why it did may have been the machine's fault, and be over."""
        state = self._types.get(type_url)
        if state is not None:
            for name in state.rejected:
                state.sent.pop(name, None)
            state.rejected.clear()

    def _take_owed(self, type_url: str, state: _Type) -> set[str]:
        """Return what the proxy needs again of a type, and forget that it has it."""
        names = self._owed.pop(type_url, set())
        for name in names:
            state.sent.pop(name, None)
            state.acknowledged.pop(name, None)
        return names

    def _concerns(self, state: _Type, name: str) -> bool:
        return state.wildcard or name in state.names

    def _respond(
        self, type_url: str, state: _Type, names: Iterable[str], *, again: Iterable[str] = ()
    ) -> list[Response]:
        table = self._cache.of(type_url)
        resources: list[Resource] = []
        removed: list[str] = []
        explicit = set(again)
        for name in sorted(set(names)):
            if not self._concerns(state, name):
                continue
            resource = table.get(name)
            if resource is None:
                if name in state.sent or name in explicit:
                    removed.append(name)
                    state.sent.pop(name, None)
                    state.rejected.pop(name, None)
            elif state.sent.get(name) != resource.version or (name in explicit and name not in state.acknowledged):
                resources.append(resource)
                if name in state.sent and type_url in self._cache.followers:
                    self._owed.setdefault(self._cache.followers[type_url], set()).add(name)
                state.sent[name] = resource.version
        if type_url in self._cache.apart:
            parts = [self._number(type_url, state, (each,), ()) for each in resources]
            return [*parts, self._number(type_url, state, (), tuple(removed))] if removed else parts
        if not resources and not removed:
            return []
        return [self._number(type_url, state, tuple(resources), tuple(removed))]

    def _number(
        self, type_url: str, state: _Type, resources: tuple[Resource, ...], removed: tuple[str, ...]
    ) -> Response:
        self._count += 1
        response = Response(type_url=type_url, nonce=str(self._count), resources=resources, removed=removed)
        state.waiting[response.nonce] = response
        return response

    def _settle(self, state: _Type, request: Request) -> None:
        response = state.waiting.pop(request.nonce, None)
        if response is None:
            return
        named = {each.name for each in response.resources if _names(request.error, each.name)}
        for resource in response.resources:
            if state.sent.get(resource.name) != resource.version:
                continue
            # One response may hold good resources beside the bad one: the proxy names those that it rejects, or none of them.
            if request.error and (resource.name in named or not named):
                state.rejected[resource.name] = Rejection(resource.version, request.error)
            else:
                state.rejected.pop(resource.name, None)
                state.acknowledged[resource.name] = resource.version
        for name in response.removed:
            state.acknowledged.pop(name, None)


def _names(error: str, name: str) -> bool:
    """Tell whether the proxy's words name a resource, and not one whose name holds this one."""
    return name in error and re.search(rf"(?<![\w./~-]){re.escape(name)}(?![\w/~-]|\.\w)", error) is not None
