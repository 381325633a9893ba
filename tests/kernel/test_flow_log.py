"""What the kernel tells of packets that policies judged: real packets, decoded and named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.nftlab import inside
from tests.kernel.policylab import PolicyLab, Probe
from tests.verify.policy_cases import Case, anp, cluster, ingress, labels, rule

from fairlead.drivers.telemetry.flowlog import FlowLog
from fairlead.observe.flows import Flow, Namer
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import PodSource

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

PATIENCE_S = 10.0
WORLD = cluster(
    Case(
        policies=[
            ingress({"from": [{"podSelector": labels(app="c")}]}, name="only-c"),
            anp(1, egress=[rule("Deny", to=[{"networks": ["198.51.100.0/24", "fd10:198::/64"]}])]),
        ]
    )
)


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[PolicyLab, FlowLog, Plan]]:
    with PolicyLab() as made:
        log = inside(made.path("node-1"), FlowLog)
        try:
            tables = made.enforce(WORLD)["node-1"]
            attachments = made.snapshot("node-1").attachments.values()
            sources = [
                PodSource(host_ifname=each.host_ifname, address=ip) for each in attachments for ip in each.addresses
            ]
            yield made, log, Plan(node="node-1", revision="1", tables={**tables, "pod_sources": index(sources)})
        finally:
            log.close()


def flows(watched: tuple[PolicyLab, FlowLog, Plan], enough: Callable[[list[Flow]], bool]) -> list[Flow]:
    """The next flows, until there are enough; pods say things of their own accord, too."""
    made, log, plan = watched
    found: list[Flow] = []
    namer, deadline = Namer(), time.monotonic() + PATIENCE_S
    while not enough(found) and time.monotonic() < deadline:
        time.sleep(0.02)
        found += [namer.flow(each, made.snapshot("node-1"), plan, time.time()) for each in log.read()]
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_verdicts_are_told_with_the_rule_that_decided(
    watched: tuple[PolicyLab, FlowLog, Plan], protocol: str, family: int
) -> None:
    lab, _, _ = watched
    outside = {4: "198.51.100.10", 6: "fd10:198::10"}[family]
    probes = [
        Probe("pod/nx/b", "pod/nx/a", protocol, 80, family, False),
        Probe("pod/nx/c", "pod/nx/a", protocol, 80, family, True),
        Probe("pod/nx/b", outside, protocol, 80, family, False),
    ]
    assert lab.ask(WORLD, probes) == []
    target = f"[{outside}]:80" if family == 6 else f"{outside}:80"
    expected = {
        ("denied", "nx/b", "nx/a:80", ("NetworkPolicy/nx/only-c/ingress",)),
        ("allowed", "nx/c", "nx/a:80", ("NetworkPolicy/nx/only-c/ingress/0",)),
        ("denied", "nx/b", target, ("AdminNetworkPolicy//anp-1/egress/0",)),
    }

    def told(seen: list[Flow]) -> set[tuple[str, str, str, tuple[str, ...]]]:
        return {
            (each.verdict, str(each.source).partition(":")[0], str(each.destination), each.rules)
            for each in seen
            if each.protocol == protocol.lower()
        }

    found = told(flows(watched, lambda seen: told(seen) >= expected))
    assert found >= expected
    # Nothing is told otherwise than it was: what `nx/b` sent was denied, each time.
    assert {verdict for verdict, source, _, _ in found if source == "nx/b"} == {"denied"}


def test_a_flood_is_told_of_in_part_and_every_packet_of_it_is_dropped(
    watched: tuple[PolicyLab, FlowLog, Plan],
) -> None:
    lab, log, _ = watched
    before = lab.counters("node-1")["NetworkPolicy/nx/only-c/ingress"][0]
    assert lab.ask(WORLD, [Probe("pod/nx/b", "pod/nx/a", "UDP", 81, 4, False)]) == []
    client = lab.client(WORLD, Probe("pod/nx/b", "pod/nx/a", "UDP", 81, 4, False))
    begin = time.monotonic()
    for _ in range(5000):
        client.send(b"?")
    taken = time.monotonic() - begin
    assert lab.counters("node-1")["NetworkPolicy/nx/only-c/ingress"][0] - before >= 5000
    told = len(flows((lab, log, watched[2]), bool))
    # 200 at once and 100 a second, however many packets there are.
    assert 0 < told <= 200 + 100 * (taken + 2)


def test_another_reader_is_refused(watched: tuple[PolicyLab, FlowLog, Plan]) -> None:
    lab, _, _ = watched
    with pytest.raises(OSError, match="packet log group"):
        inside(lab.path("node-1"), FlowLog)


def test_nft_lists_the_rules(watched: tuple[PolicyLab, FlowLog, Plan]) -> None:
    listing = watched[0].run("node-1", "nft", "list", "table", "inet", "fairlead-policy")
    assert 'log prefix "denied" group 8686' in listing.replace("snaplen 128 ", "")
