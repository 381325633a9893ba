"""The operator's configuration: what is taken, and what each fault is called."""

from __future__ import annotations

import random

import dns.message
import pytest
from tests.drivers.dns.test_protocol import ZONES

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.config import ConfigError, Configuration, parse
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.upstream import Upstream

FULL = """
upstreams: [198.51.100.53, "[fd00::53]:5353"]
policy: parallel
stubDomains:
  corp.example: [10.0.0.53]
  lab.corp.example: ["10.0.0.54:54"]
hosts:
  db.corp.example: [10.1.1.1, "fd00::1"]
rewrites:
- {name: old.example.com, to: web.default.svc.cluster.local}
- {name: legacy.internal, to: default.svc.cluster.local, match: suffix}
search: {enabled: false, extra: [corp.example]}
cache: {entries: 100, maxTtlSeconds: 60, staleSeconds: 0, prefetch: false}
"""


def test_everything_is_understood() -> None:
    found = parse(FULL)
    routes = found.routes([])
    assert routes.servers == (Upstream("198.51.100.53"), Upstream("fd00::53", 5353))
    assert routes.policy == "parallel"
    assert routes.servers_for(wire.name("a.b.corp.example")) == (Upstream("10.0.0.53"),)
    assert routes.servers_for(wire.name("x.lab.corp.example")) == (Upstream("10.0.0.54", 54),)
    assert routes.servers_for(wire.name("notcorp.example")) == routes.servers
    assert (found.search.enabled, found.search.extra, found.cache.entries) == (False, ("corp.example",), 100)


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_nothing_said_is_the_default(text: str) -> None:
    assert parse(text) == Configuration()
    assert parse(text).routes([Upstream("192.0.2.1")]).servers == (Upstream("192.0.2.1"),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("upstream: [1.1.1.1]", "Object contains unknown field `upstream`"),
        (
            "upstreams: [resolver.example]",
            "upstreams[0]: 'resolver.example' is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT",
        ),
        ("upstreams: [10.96.0.10]", "the cluster's own DNS address"),
        ("stubDomains: {corp.example: []}", "stubDomains.corp.example: name at least one server"),
        ("hosts: {db: [10.1.1]}", "hosts.db: '10.1.1' does not appear to be an IPv4 or IPv6 address"),
        ("hosts: {a..b: [10.1.1.1]}", "has a label that is empty"),
        ("rewrites: [{name: a.b, to: a.b.}]", "rewrites[0]: a.b is rewritten to itself"),
        ("cache: {staleSeconds: -1}", "cache.staleSeconds: -1 is not between 0 and 604800"),
        ("policy: fastest", "Invalid enum value 'fastest'"),
        ("[", "no YAML"),
        ("just text", "Expected `object`"),
    ],
)
def test_each_fault_is_named(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, forbidden=["10.96.0.10"])
    assert fault in str(raised.value)
    assert str(raised.value).startswith("config.yaml: ")


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("db.corp.example", "A", "10.1.1.1"),
        ("db.corp.example", "AAAA", "fd00::1"),
        ("db.corp.example", "MX", ""),
        ("1.1.1.10.in-addr.arpa", "PTR", "db.corp.example."),
        ("old.example.com", "A", "web.default.svc.cluster.local. 10.96.0.20"),
        ("web.legacy.internal", "A", "web.default.svc.cluster.local. 10.96.0.20"),
        ("web.notlegacy.internal", "A", "outside"),
        ("legacy.internal", "A", "outside"),
    ],
)
def test_hosts_and_rewrites(name: str, kind: str, expected: str) -> None:
    query = wire.parse_query(dns.message.make_query(name, kind).to_wire())
    reply = respond(query, ZONES, random.Random(0), limit=1232, recursion=True, overlay=parse(FULL).overlay())
    if isinstance(reply, Forward):
        assert expected == "outside"
        return
    answer = dns.message.from_wire(reply).answer
    assert " ".join(str(item) for rrset in answer for item in rrset) == expected


def test_rewrites_in_a_circle_end() -> None:
    said = parse("rewrites: [{name: a.x, to: b.x}, {name: b.x, to: a.x}]").overlay()
    query = wire.parse_query(dns.message.make_query("a.x", "A").to_wire())
    reply = respond(query, ZONES, random.Random(0), limit=1232, recursion=True, overlay=said)
    assert isinstance(reply, bytes)
    assert reply[3] & 0xF == wire.SERVFAIL
