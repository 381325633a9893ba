"""Network policy with real packets: the table of cases, and the oracle against clusters drawn at random."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kernel.policylab import PolicyLab, Probe
from tests.verify.policy_cases import CASES, EXTERNAL, Case, cluster, probes
from tests.verify.random_clusters import draw

from fairlead.verify.oracle.judge import allowed

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def lab() -> Iterator[PolicyLab]:
    with PolicyLab() as made:
        yield made


def questions(case: Case) -> list[Probe]:
    found = []
    for source, target, protocol, port, expected in probes(case):
        for family in (4, 6):
            if protocol not in ("TCP", "UDP"):
                continue
            if any(each.startswith("out") and each[3:] not in ("", str(family)) for each in (source, target)):
                continue
            ends = [EXTERNAL[family == 6] if each.startswith("out") else each for each in (source, target)]
            found.append(Probe(ends[0], ends[1], protocol, port, family, expected))
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(lab: PolicyLab, case: Case) -> None:
    world = cluster(case)
    lab.enforce(world)
    assert lab.ask(world, questions(case)) == []


def compare(lab: PolicyLab, seed: int) -> None:
    drawn = draw(seed, protocols=("TCP", "UDP"))
    lab.enforce(drawn.cluster)
    asked = {}
    for each in drawn.probes:
        verdict = allowed(drawn.cluster, each.source, each.target, each.protocol, each.port, each.family)
        probe = Probe(each.source, each.target, each.protocol, each.port, each.family, verdict.allowed)
        asked[probe] = verdict
    wrong = lab.ask(drawn.cluster, list(asked))
    assert not wrong, f"draw({seed}): {[(each, asked[each]) for each in wrong]}"


@pytest.mark.parametrize("seed", range(50))
def test_drawn_cluster(lab: PolicyLab, seed: int) -> None:
    compare(lab, seed)


@pytest.mark.soak
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_many_drawn_clusters(lab: PolicyLab, start: int) -> None:
    for seed in range(start, start + 100):
        compare(lab, seed)
