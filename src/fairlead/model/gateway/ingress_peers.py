"""What the Ingresses of one class say together that bears on each of them, kept up as they come and go. Pure.

A change costs the Ingresses that share a host with it; a certificate for a wildcard, or for all hosts, costs all of the class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec

from fairlead.api.ingress import Ingress
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.hosts import wider
from fairlead.model.gateway.ingress_classes import OurClass
from fairlead.model.gateway.ingress_clients import Guard
from fairlead.model.gateway.ingress_routes import Around, CanaryPath, Place, places
from fairlead.model.gateway.ingress_services import Said
from fairlead.world.events import ObjectKey

_REDIRECTING = ("nginx", "haproxy")
"""Dialects whose controllers redirect hosts with a certificate to HTTPS unless told otherwise."""


class Read(msgspec.Struct, frozen=True):
    """An Ingress and what can be said of it alone."""

    key: ObjectKey
    ingress: Ingress
    of: OurClass
    wishes: Wishes
    said: Mapping[str, Said]
    """Service → its annotations, where it has some."""
    served: Mapping[str, Wishes]
    """Service → what requests for it wish, where it says something to this Ingress."""
    asked: frozenset[str]
    """Middlewares that it leads to, as `NAMESPACE-NAME`."""
    hosts: tuple[str, ...]
    """Those of its rules, and its default backend's."""
    others: tuple[str, ...]
    """Those that annotations add."""

    @property
    def age(self) -> tuple[str, str, str]:
        """Return what orders Ingresses: the oldest goes first, then the first by name."""
        metadata = self.ingress.metadata
        return metadata.creation_timestamp or "9999", metadata.namespace, metadata.name

    @property
    def serving(self) -> tuple[str, ...]:
        """Return the hosts for which it has routes of its own."""
        return self.hosts if self.wishes.canary is None else ()

    @property
    def passing(self) -> tuple[str, ...]:
        """Return the hosts whose TLS it wants handed on."""
        return tuple(filter(None, self.serving)) if self.wishes.passthrough else ()

    @property
    def guarding(self) -> tuple[str, ...]:
        """Return the hosts of whose clients it wants certificates."""
        return (*self.serving, *self.others) if self.wishes.clients is not None else ()

    @property
    def certified(self) -> tuple[str, ...]:
        """Return the hosts of `spec.tls` with a Secret, empty for all."""
        found = (each for each in self.ingress.spec.tls or () if each.secret_name)
        return tuple(dict.fromkeys(host.lower() for each in found for host in each.hosts or ("",)))


class HostCertificate(msgspec.Struct, frozen=True):
    """What a host is served with."""

    host: str
    """In lower case, empty for all."""
    secret: ObjectKey


class _Said(msgspec.Struct, frozen=True):
    """What the Ingresses of a host say of all of it."""

    certifiers: frozenset[str]
    """Namespaces with a certificate for it."""
    secured: bool
    patterned: bool
    served: bool
    certifier: str | None
    """The namespace whose certificate counts, where there is one to count."""
    passer: ObjectKey | None
    guard: Guard | None

    @property
    def listener(self) -> object:
        """Return what decides about the host's listener."""
        return self.certifier, self.passer, self.guard


class Peers:
    """The Ingresses of one class."""

    def __init__(self, of: OurClass, gateway: ObjectKey) -> None:
        self.of = of
        self.members: dict[ObjectKey, Read] = {}
        self._gateway = gateway
        self._names: tuple[ObjectKey, ...] | None = None
        self._by_host: dict[str, set[ObjectKey]] = {}
        self._oldest: dict[str, Read] = {}
        """Host → the Ingress whose namespace says what holds for all of it."""
        self._certified: dict[str, dict[str, set[ObjectKey]]] = {}
        """Host, empty for all → namespace → its Ingresses with a certificate for it."""
        self._moved = True
        self._patterned: Counter[str] = Counter()
        self._passing: Counter[str] = Counter()
        self._guarding: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._canaries: dict[Place, list[Read]] = {}

    def __repr__(self) -> str:
        return f"<Peers {self.of.name} members={len(self.members)}>"

    def replace(self, old: Read | None, new: Read | None) -> set[ObjectKey]:
        """Put an Ingress in another's place, either of which may not be there; return those that this may concern, itself included."""
        before = {host: self._said(host) for each in (old, new) if each is not None for host in _named(each)}
        for each, sign in ((old, -1), (new, 1)):
            if each is not None:
                self._count(each, sign)
        if old is None or new is None:
            self._names = None
        now = {host: self._said(host) for host in before}
        self._moved |= _secures(old) != _secures(new) or any(
            before[host].listener != now[host].listener for host in now
        )
        changed = {host for host, said in before.items() if said != now[host]}
        canaries = {
            place[1] for each in (old, new) if each is not None and each.wishes.canary for place in _places(each)
        }
        own = {each.key for each in (old, new) if each is not None}
        certified = (host for host in changed if before[host].certifiers != now[host].certifiers)
        if any(not host or host.startswith("*.") for host in certified):
            return own | set(self.members)
        certifying = {key for host in changed for keys in self._certified.get(host, {}).values() for key in keys}
        return own | certifying | {key for host in changed | canaries for key in self._by_host.get(host, ())}

    def around(self, each: Read) -> Around:
        """Return what bears on an Ingress."""
        hosts = (*each.hosts, *each.others)
        passed = {host: owner for host in each.hosts if (owner := self._passer(host)) is not None}
        return Around(
            gateway=self._gateway,
            redirects=self.of.dialect in _REDIRECTING,
            https_only=self.of.dialect == "traefik",
            secured=frozenset(
                host for host in hosts if host in passed or (self._certified and self._is_certified(host))
            ),
            patterned=frozenset(host for host in each.hosts if host in self._patterned),
            taken=frozenset(host for host in each.others if host in self._hosts),
            canaries=tuple(self._canaries_of(each)) if self._canaries and each.wishes.canary is None else (),
            clients={host: guard.wish for host in hosts if (guard := self._guard(host)) is not None},
            passed=passed,
            foreign=frozenset(host for host in each.certified if not self._may_certify(host, each.key[0])),
        )

    def take_moved(self) -> bool:
        """Tell whether certificates, or the age of who has them, changed since the last call."""
        moved, self._moved = self._moved, False
        return moved

    def certificates(self) -> Iterator[HostCertificate]:
        """Yield the certificates that count, those of the oldest Ingress first."""
        certifying = {key for found in self._certified.values() for keys in found.values() for key in keys}
        for each in sorted((self.members[key] for key in certifying), key=lambda one: one.age):
            for tls in each.ingress.spec.tls or ():
                for host in tls.hosts or ("",):
                    if tls.secret_name and self._may_certify(host.lower(), each.key[0]):
                        yield HostCertificate(host.lower(), (each.key[0], tls.secret_name))

    def names(self) -> tuple[ObjectKey, ...]:
        """Return the Ingresses by name; the same object while they are the same."""
        if self._names is None:
            self._names = tuple(sorted(self.members))
        return self._names

    def passed(self) -> Iterator[str]:
        """Yield the hosts whose TLS is handed on."""
        yield from sorted(host for host in self._passing if self._passer(host) is not None)

    def canaries_of(self, hosts: Iterable[str]) -> Iterator[Read]:
        """Yield the Ingresses of some hosts that are canaries."""
        if self._canaries:
            yield from (self.members[key] for key in self.sharing(hosts) if self.members[key].wishes.canary is not None)

    def sharing(self, hosts: Iterable[str]) -> Set[ObjectKey]:
        """Return the Ingresses of some hosts."""
        return {key for host in hosts for key in self._by_host.get(host, ())}

    def guards(self) -> dict[str, Guard]:
        """Return the hosts whose clients show certificates, empty for all."""
        return {host: guard for host in sorted(self._guarding) if (guard := self._guard(host)) is not None}

    def _said(self, host: str) -> _Said:
        certifiers = self._certified.get(host, {})
        oldest = self._oldest.get(host)
        return _Said(
            certifiers=frozenset(certifiers),
            secured=bool(self._certified) and oldest is not None and self._is_certified(host),
            patterned=host in self._patterned,
            served=host in self._hosts,
            certifier=oldest.key[0] if certifiers and oldest is not None else None,
            passer=self._passer(host),
            guard=self._guard(host),
        )

    def _guards(self, each: Read, host: str) -> bool:
        # An alias that is a host of another Ingress is that one's.
        return host in each.guarding and (host in each.hosts or host not in self._hosts)

    def _owners(self, host: str) -> list[Read]:
        """Return the Ingresses with a host that may say what holds for all of it: those of the namespace whose Ingress is the oldest.

        Others share the host by their paths alone: what they say of TLS or of clients would shut it, or hand it over.
        """
        namespace = self._oldest[host].key[0]
        return [each for key in self._by_host[host] if (each := self.members[key]).key[0] == namespace]

    def _may_certify(self, host: str, namespace: str) -> bool:
        oldest = self._oldest.get(host)
        return oldest is None or oldest.key[0] == namespace

    def _guard(self, host: str) -> Guard | None:
        """Return what the oldest of its owners that says something of it wants of the clients of a host."""
        if host not in self._guarding:
            return None
        having = self._owners(host)
        wishing = [(each.age, each.key, each.wishes.clients) for each in having if self._guards(each, host)]
        if not wishing:
            return None
        _, key, wish = min(wishing, key=lambda each: each[0])
        return Guard(key, wish) if wish is not None else None

    def _passer(self, host: str) -> ObjectKey | None:
        """Return the Ingress whose backend gets the TLS of a host: the oldest owner that has TLS for it, where that one wants it handed on."""
        if host not in self._passing:
            return None
        certified = self._is_certified(host)
        rivals = [each for each in self._owners(host) if host in each.passing or (certified and host in each.serving)]
        first = min(rivals, key=lambda each: each.age, default=None)
        return first.key if first is not None and host in first.passing else None

    def _count(self, each: Read, sign: int) -> None:
        for host in each.certified:
            _put(self._certified.setdefault(host, {}), each.key[0], each.key, sign)
            if not self._certified[host]:
                del self._certified[host]
        for host in (*each.hosts, *each.others):
            _put(self._by_host, host, each.key, sign)
        for host in each.guarding:
            _add(self._guarding, host, sign)
        if each.wishes.canary is not None:
            for place in _places(each):
                found = self._canaries.setdefault(place, [])
                (found.append if sign > 0 else found.remove)(each)
                if not found:
                    del self._canaries[place]
        else:
            for host in each.hosts:
                _add(self._hosts, host, sign)
                if host in each.passing:
                    _add(self._passing, host, sign)
                if each.wishes.has_patterns:
                    _add(self._patterned, host, sign)
        if sign > 0:
            self.members[each.key] = each
        else:
            del self.members[each.key]
        for host in (*each.hosts, *each.others):
            self._take_oldest(host, each, sign)

    def _take_oldest(self, host: str, each: Read, sign: int) -> None:
        oldest = self._oldest.get(host)
        if sign > 0 and (oldest is None or _rank(each, host) < _rank(oldest, host)):
            self._oldest[host] = each
        elif sign < 0 and oldest is not None and oldest.key == each.key:
            left = (self.members[key] for key in self._by_host.get(host, ()))
            following = min(left, key=lambda one: _rank(one, host), default=None)
            if following is None:
                del self._oldest[host]
            else:
                self._oldest[host] = following

    def _is_certified(self, host: str) -> bool:
        namespace = self._oldest[host].key[0]
        return any(namespace in self._certified.get(each, ()) for each in (host, *wider(host)))

    def _canaries_of(self, each: Read) -> Iterator[tuple[Place, CanaryPath]]:
        """Yield the canaries of an Ingress's paths: of several for one path the oldest."""
        for place in _places(each):
            found = min(self._canaries.get(place, ()), key=lambda one: one.age, default=None)
            if found is None or found.wishes.canary is None or found.wishes.refusals:
                continue
            path = next(path for at, path in places(found.key, found.ingress) if at == place)
            yield place, CanaryPath(found.key, path.backend, found.wishes.canary)


def _rank(each: Read, host: str) -> tuple[bool, tuple[str, str, str]]:
    # An alias that is a host of another Ingress is that one's.
    return host not in each.hosts, each.age


def _secures(each: Read | None) -> object:
    """Return what decides about certificates."""
    if each is None or not each.certified:
        return None
    return each.ingress.spec.tls, each.age


def _named(each: Read) -> tuple[str, ...]:
    return (*each.hosts, *each.others, *each.certified)


def _places(each: Read) -> list[Place]:
    return list(dict.fromkeys(place for place, _ in places(each.key, each.ingress)))


def _put(table: dict[str, set[ObjectKey]], name: str, key: ObjectKey, sign: int) -> None:
    keys = table.setdefault(name, set())
    (keys.add if sign > 0 else keys.discard)(key)
    if not keys:
        del table[name]


def _add(counter: Counter[str], host: str, sign: int) -> None:
    counter[host] += sign
    if not counter[host]:
        del counter[host]
