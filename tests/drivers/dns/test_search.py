"""Search paths walked on the server: what clients of both kinds of C library would find is what they are told at once."""

from __future__ import annotations

import random

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drivers.dns.test_protocol import RECORDS, cluster

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.overlay import NOTHING, Overlay, overlay
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.search import SearchPath, applies, search, search_path

DOMAIN = "cluster.local"
ZONES = cluster(
    RECORDS + "www.example.com.shop.svc.cluster.local. A 10.244.9.9\nten.default.svc.cluster.local. A 10.96.0.99\n"
)
PATH = search_path("default", DOMAIN)


def walk(name: str, kind: str = "A", path: SearchPath = PATH, said: Overlay = NOTHING) -> str:
    """What a pod that asks `name`.default.svc.cluster.local first is told."""
    packet = dns.message.make_query(f"{name}.default.svc.{DOMAIN}", kind).to_wire()
    query = wire.parse_query(packet)
    denial = respond(query, ZONES, random.Random(0), limit=1232, recursion=True, overlay=said)
    assert isinstance(denial, bytes)
    reply = denial
    if denial[3] & 0xF == wire.NXDOMAIN and applies(query, path):
        found = search(query, denial, path, ZONES, random.Random(0), limit=1232, overlay=said)
        if isinstance(found, Forward):
            steps = []
            step: Forward | None = found
            while step is not None:
                assert step.otherwise == denial
                steps.append(wire.text(step.name) + ("" if step.last else "?"))
                step = step.then
            return "outside " + " ".join(steps)
        reply = found
    message = dns.message.from_wire(reply)
    return " ".join([dns.rcode.to_text(message.rcode()), *(str(item) for rrset in message.answer for item in rrset)])


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("www.example.com", "A", "outside www.example.com."),
        ("www.example.com", "AAAA", "outside www.example.com."),
        ("www.example.com", "MX", "NXDOMAIN"),
        ("typo", "A", "NXDOMAIN"),
        ("web", "A", "NOERROR 10.96.0.20"),
        ("db.shop", "A", "NOERROR db.shop.svc.cluster.local. 10.244.1.5 10.244.2.5 10.244.3.5"),
        ("db.shop", "AAAA", "NOERROR db.shop.svc.cluster.local."),
        ("db-0.db.shop", "A", "NOERROR db-0.db.shop.svc.cluster.local. 10.244.1.5"),
        ("db.shop.svc", "A", "NOERROR db.shop.svc.cluster.local. 10.244.1.5 10.244.2.5 10.244.3.5"),
        ("web.default.svc.cluster.local", "A", "NOERROR web.default.svc.cluster.local. 10.96.0.20"),
        ("gone.default.svc.cluster.local", "A", "NXDOMAIN"),
        # It exists without records there: clients of glibc and of musl go on differently, so they are told the plain truth.
        ("_tcp.db.shop", "A", "NXDOMAIN"),
        ("www.example.com.shop", "A", "NOERROR www.example.com.shop.svc.cluster.local. 10.244.9.9"),
    ],
)
def test_walks(name: str, kind: str, expected: str) -> None:
    reply = walk(name, kind)
    assert sorted(reply.split()) == sorted(expected.split())


def test_search_domains_of_the_node_are_asked_first() -> None:
    path = search_path("default", DOMAIN, ("corp.example",))
    assert walk("www.example.com", path=path) == "outside www.example.com.corp.example.? www.example.com."


def test_another_namespace_s_expansion_is_not_completed() -> None:
    assert walk("www.example.com", path=search_path("shop", DOMAIN)) == "NXDOMAIN"


def test_what_the_operator_says_counts() -> None:
    said = overlay({"db.corp.example": ["10.1.1.1"]}, {"old.example.com": "web.default.svc.cluster.local"}, {})
    assert walk("db.corp.example", said=said) == "NOERROR db.corp.example. 10.1.1.1"
    assert walk("old.example.com", said=said) == "NOERROR old.example.com. web.default.svc.cluster.local. 10.96.0.20"


def test_labels_are_not_letters() -> None:
    """A name whose bytes end like the path but whose labels do not."""
    tail = PATH.first[1:]
    name = bytes([len(PATH.first[:0]) + 1 + PATH.first[0] + 1]) + b"a" + bytes([PATH.first[0]]) + tail
    query = wire.Query(1, wire.RD, name, wire.A, wire.IN, name + b"\0\1\0\1")
    assert not applies(query, PATH)


LABEL = st.sampled_from(["web", "db", "shop", "default", "svc", "cluster", "local", "www", "example", "com", "_tcp"])


def naive(zones: set[str], name: str, strict: bool) -> str | None:
    """What a client finds in the end: the first candidate that exists, None when the client must be told the plain truth."""
    for suffix in ("svc.cluster.local.", "cluster.local.", ""):
        candidate = f"{name}.{suffix}"
        inside = candidate.endswith("cluster.local.")
        if not inside:
            return f"outside {candidate}"
        if candidate in zones:
            return candidate
        if strict and any(each.endswith(f".{candidate}") for each in zones):
            return None
    return None


@given(st.lists(LABEL, min_size=2, max_size=6))
def test_it_finds_what_a_client_would(labels: list[str]) -> None:
    name = ".".join(labels)
    owners = {wire.text(each) for each in ZONES._sets}
    reply = walk(name)
    if ZONES.sets(wire.name(f"{name}.default.svc.cluster.local.")) is not None or reply.startswith("SERVFAIL"):
        return
    expected = naive(owners, name, strict=True)
    if expected is None or not expected.startswith("outside"):
        words = reply.split()
        assert (words[1] if len(words) > 1 else None) == expected
    else:
        assert reply == expected
