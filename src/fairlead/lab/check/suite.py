"""Which probes make up the connectivity test, and their results.

The test brings its own pods, two on each node, so that every pair of nodes and every node with itself is covered whatever else
runs in the lab.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fairlead.lab.check import probes
from fairlead.lab.check.places import FAMILIES, Family, Place
from fairlead.lab.topology import CLUSTER_DNS, CLUSTER_DOMAIN, PUBLIC_NAT

SERVICE = "check"
NAMESPACE = "fairlead-check"
PORT = 8080
_FALSE_ALARM = 1e-9
"""How probable it may be that a Service chooses at random and yet leaves an endpoint out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One named probe; `run` raises `probes.Failed`."""

    group: str
    name: str
    run: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a probe showed. `failure` is None when it passed."""

    group: str
    name: str
    failure: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that the probes run between."""

    pods: Sequence[Place]
    nodes: Sequence[Place]
    internet: Place
    service: dict[Family, str]
    """Cluster address of the Service that selects all the pods, by family."""


def suite(world: World) -> Iterator[Probe]:
    """Yield every probe, group by group."""
    for source, target in itertools.product(world.pods, world.pods):
        for family in FAMILIES:
            yield from _pair(source, target, family)
    for node, pod, family in itertools.product(world.nodes, world.pods, FAMILIES):
        yield _node_to_pod(node, pod, family)
        yield _pod_to_node(pod, node, family)
    for pod in world.pods:
        for family in FAMILIES:
            yield _name(pod, world, family)
            yield _service(pod, world, family)
        yield _leaving(pod, world.internet)


def run(probe: Probe) -> Result:
    """Run one probe."""
    begun = time.monotonic()
    try:
        probe.run()
        failure = None
    except probes.Failed as error:
        failure = str(error)
    return Result(group=probe.group, name=probe.name, failure=failure, seconds=time.monotonic() - begun)


def _pair(source: Place, target: Place, family: Family) -> Iterator[Probe]:
    title = f"{source.name} → {target.name} IPv{family}"
    address = source.addresses[family]
    yield Probe(
        group="pod to pod", name=f"{title} TCP", run=lambda: probes.tcp(source, target, family, expect_source=address)
    )
    yield Probe(
        group="pod to pod", name=f"{title} UDP", run=lambda: probes.udp(source, target, family, expect_source=address)
    )
    if source is not target:
        yield Probe(group="MTU", name=f"{title} {source.mtu_bytes}", run=lambda: probes.mtu(source, target, family))


def _node_to_pod(node: Place, pod: Place, family: Family) -> Probe:
    return Probe(
        group="node to pod",
        name=f"{node.name} → {pod.name} IPv{family}",
        run=lambda: probes.tcp(node, pod, family, expect_source=None),
    )


def _pod_to_node(pod: Place, node: Place, family: Family) -> Probe:
    return Probe(
        group="pod to node",
        name=f"{pod.name} → {node.name} IPv{family}",
        run=lambda: probes.tcp(pod, node, family, expect_source=pod.addresses[family]),
    )


def _name(pod: Place, world: World, family: Family) -> Probe:
    def ask() -> None:
        name = f"{SERVICE}.{NAMESPACE}.svc.{CLUSTER_DOMAIN}."
        found = probes.resolve(pod, CLUSTER_DNS[0], name, "A" if family == 4 else "AAAA")
        if found != [world.service[family]]:
            raise probes.Failed(f"{name} is {found} instead of {world.service[family]}")

    return Probe(group="DNS", name=f"{pod.name} asks for {SERVICE} IPv{family}", run=ask)


def _service(pod: Place, world: World, family: Family) -> Probe:
    def ask() -> None:
        wanted = {place.name for place in world.pods}
        seen: set[str] = set()
        for _ in range(tries(len(wanted))):
            body = probes.http(pod, world.service[family], PORT, SERVICE)
            seen.add(json.loads(body)["pod"])
            if seen == wanted:
                return
        raise probes.Failed(f"only {len(seen)} of {len(wanted)} endpoints answered: {', '.join(sorted(seen))}")

    return Probe(group="Service", name=f"{pod.name} → {SERVICE} IPv{family}, all endpoints", run=ask)


def tries(endpoints: int) -> int:
    """Return after how many random choices, at the latest, each of `endpoints` has been chosen."""
    # Each is left out by n choices with probability (1 - 1/endpoints)^n < exp(-n/endpoints).
    return math.ceil(endpoints * math.log(endpoints / _FALSE_ALARM))


def _leaving(pod: Place, internet: Place) -> Probe:
    return Probe(
        group="leaving the cluster",
        name=f"{pod.name} → internet IPv4, masqueraded",
        run=lambda: probes.tcp(pod, internet, 4, expect_source=PUBLIC_NAT),
    )
