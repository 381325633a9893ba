"""What an operator may say about DNS: the schema of the ConfigMap `kube-system/fairlead-dns`, read strictly. Pure.

A field that is not known or a value that makes no sense refuses the whole document, naming every fault, so that a typing error never
takes half of a configuration into force. docs/design/dns.md describes the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.exchange import Upstream
from fairlead.drivers.dns.overlay import NOTHING, Overlay, overlay
from fairlead.drivers.dns.upstream import Policy, Routes

KEY = "config.yaml"
"""Of the ConfigMap's data."""


class ConfigError(ValueError):
    """A configuration that is not taken; the message names each fault."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Questions for `name`, or for names below it, are answered with those of `to`."""

    name: str
    to: str
    match: Literal["exact", "suffix"] = "exact"


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Search paths that are walked on the server."""

    enabled: bool = True
    extra: tuple[str, ...] | None = None
    """Search domains of the nodes, which the kubelet appends to a pod's own; None: what the agent was started with."""


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How answers of other resolvers are kept."""

    entries: int = 10_000
    max_ttl_seconds: int = 3600
    stale_seconds: int = 3600
    """How long after its end an answer may be used while nobody gives another; 0: never."""
    prefetch: bool = True


class Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The whole document; every field may be left out."""

    upstreams: tuple[str, ...] | None = None
    """None: what the agent was started with."""
    policy: Policy = "sequential"
    stub_domains: dict[str, tuple[str, ...]] = {}
    hosts: dict[str, tuple[str, ...]] = {}
    rewrites: tuple[Rewrite, ...] = ()
    search: SearchOptions = SearchOptions()
    cache: CacheOptions = CacheOptions()

    def routes(self, default: Sequence[Upstream]) -> Routes:
        """Return whom to ask; `default` are the servers when none are named."""
        servers = tuple(default) if self.upstreams is None else tuple(map(Upstream.parse, self.upstreams))
        stubs = {wire.name(name): tuple(map(Upstream.parse, texts)) for name, texts in self.stub_domains.items()}
        return Routes(servers, self.policy, stubs)

    def overlay(self) -> Overlay:
        """Return hosts entries and rewrites."""
        if not self.hosts and not self.rewrites:
            return NOTHING
        exact = {each.name: each.to for each in self.rewrites if each.match == "exact"}
        suffixes = {each.name: each.to for each in self.rewrites if each.match == "suffix"}
        return overlay(self.hosts, exact, suffixes)


def parse(text: str, *, forbidden: Sequence[str] = ()) -> Configuration:
    """Return the configuration in a YAML document; raises ConfigError. `forbidden`: addresses that are our own."""
    import yaml

    try:
        data = yaml.safe_load(text)
        found = msgspec.convert({} if data is None else data, Configuration)
    except yaml.YAMLError as error:
        raise ConfigError(f"{KEY}: no YAML: {' '.join(str(error).split())}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{KEY}: {error}") from error
    if faults := list(_faults(found, frozenset(forbidden))):
        raise ConfigError("; ".join(f"{KEY}: {fault}" for fault in faults))
    return found


def _faults(found: Configuration, forbidden: frozenset[str]) -> Iterator[str]:
    for number, text in enumerate(found.upstreams or ()):
        yield from _server(f"upstreams[{number}]", text, forbidden)
    for domain, texts in found.stub_domains.items():
        yield from _tried(f"stubDomains.{domain}", partial(wire.name, domain))
        if not texts:
            yield f"stubDomains.{domain}: name at least one server"
        for text in texts:
            yield from _server(f"stubDomains.{domain}", text, forbidden)
    for name, texts in found.hosts.items():
        yield from _tried(f"hosts.{name}", partial(overlay, {name: texts}, {}, {}))
    for number, rewrite in enumerate(found.rewrites):
        field = f"rewrites[{number}]"
        yield from _tried(f"{field}.name", partial(wire.name, rewrite.name))
        yield from _tried(f"{field}.to", partial(wire.name, rewrite.to))
        if rewrite.name.strip(".") == rewrite.to.strip("."):
            yield f"{field}: {rewrite.name} is rewritten to itself"
    for number, domain in enumerate(found.search.extra or ()):
        yield from _tried(f"search.extra[{number}]", partial(wire.name, domain))
    for field, value, most in (
        ("entries", found.cache.entries, 1_000_000),
        ("maxTtlSeconds", found.cache.max_ttl_seconds, 86_400),
        ("staleSeconds", found.cache.stale_seconds, 7 * 86_400),
    ):
        if not 0 <= value <= most:
            yield f"cache.{field}: {value} is not between 0 and {most}"


def _server(field: str, text: str, forbidden: frozenset[str]) -> Iterator[str]:
    try:
        server = Upstream.parse(text)
    except ValueError:
        yield f"{field}: {text!r} is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT"
        return
    if server.address in forbidden:
        yield f"{field}: {text} is the cluster's own DNS address, questions would never end"


def _tried(field: str, make: Callable[[], object]) -> Iterator[str]:
    try:
        make()
    except ValueError as error:
        yield f"{field}: {error}"
