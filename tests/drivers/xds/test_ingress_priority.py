"""In which order rules of one host are tried where an Ingress says so (`router.priority` of Traefik), by real requests through the real Envoy."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.ingresslab import Paths, asked, ingress, klass, opened, text
from tests.drivers.xds.test_ingress_annotations import TRAEFIK, doors

__all__ = ["doors"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
PRIORITY, MATCHER = TRAEFIK + "router.priority", TRAEFIK + "router.pathmatcher"

Case = tuple[list[tuple[Paths, Mapping[str, str]]], Mapping[str, str]]
"""Ingresses of one host with their annotations, request's path → what is said."""
CASES: dict[str, Case] = {
    "none says so": ([({"/": "one"}, {}), ({"/a": "two"}, {})], {"/a": "two /a", "/b": "one /b"}),
    "the highest goes before the longest": (
        [({"/": "one"}, {PRIORITY: "100"}), ({"/a": "two"}, {})], {"/a": "one /a", "/b": "one /b"},
    ),
    "before exact paths, too": ([({"/": "one"}, {PRIORITY: "100"}), ({"Exact /a": "two"}, {})], {"/a": "one /a"}),
    "one is after all others": (
        [({"/a/long/path": "one"}, {PRIORITY: "1"}), ({"/a": "two"}, {})], {"/a/long/path": "two /a/long/path"},
    ),
    # Host("rank.test") && PathPrefix("/a") has 37 characters.
    "just below the length of another rule": (
        [({"/": "one"}, {PRIORITY: "36"}), ({"/a": "two"}, {})], {"/a": "two /a", "/b": "one /b"},
    ),
    "just above it": ([({"/": "one"}, {PRIORITY: "38"}), ({"/a": "two"}, {})], {"/a": "one /a"}),
    "a pattern has its own length": (
        [({"ImplementationSpecific /a[b]": "one"}, {MATCHER: "PathRegexp"}), ({"/": "two"}, {PRIORITY: "40"}), ({"/ab": "two"}, {})],
        {"/ab": "one /ab", "/ac": "two /ac"},
    ),
    "of two the highest": (
        [({"/": "one"}, {PRIORITY: "200"}), ({"/": "two"}, {PRIORITY: "201"})], {"/": "two /"},
    ),
    "zero says nothing": ([({"/": "one"}, {PRIORITY: "0"}), ({"/a": "two"}, {})], {"/a": "two /a"}),
    "a number that is none": ([({"/": "one"}, {PRIORITY: "high"})], {"/": "500"}),
}  # fmt: skip


async def test_rules_of_one_host(lab: GatewayLab) -> None:
    found = {}
    for case, (several, wanted) in CASES.items():
        objects = [
            ingress(f"rank-{at}", paths, wishes, of="traefik", host="rank.test", age=at)
            for at, (paths, wishes) in enumerate(several)
        ]
        await lab.apply(text(klass("traefik"), *objects))
        await opened(lab, "traefik")
        found[case] = {path: await asked(lab, f"http://rank.test{path}", of="traefik") for path in wanted}
        for at in range(len(several)):
            await lab.delete("Ingress", f"rank-{at}")
    assert found == {case: wanted for case, (_, wanted) in CASES.items()}


async def test_hosts_go_before_priorities(lab: GatewayLab) -> None:
    exact = ingress("exact", {"/a": "one"}, of="traefik", host="a.rank.test")
    found = []
    for priority in ("20", "21"):
        wild = ingress("wild", {"/": "two"}, {PRIORITY: priority}, of="traefik", host="*.rank.test")
        await lab.apply(text(klass("traefik"), exact, wild))
        await opened(lab, "traefik")
        hosts = ("a.rank.test/a", "b.rank.test/a")
        found.append([await asked(lab, f"http://{each}", of="traefik") for each in hosts])
    assert found == [["one /a", "two /a"], ["one /a", "500"]]
    (complaint,) = lab.complaints("Ingress/default/wild")
    assert "before exact hosts" in complaint
