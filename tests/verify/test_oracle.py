from __future__ import annotations

import pytest
from tests.verify.policy_cases import CASES, EXTERNAL, Case, cluster, ingress, probes

from fairlead.verify.oracle.judge import Choices, Verdict, allowed


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, family: int) -> None:
    world = cluster(case)
    wrong = []
    for source, target, protocol, port, expected in probes(case):
        if any(each.startswith("out") and each[3:] not in ("", str(family)) for each in (source, target)):
            continue
        ends = [EXTERNAL[family == 6] if each.startswith("out") else each for each in (source, target)]
        found = allowed(world, ends[0], ends[1], protocol, port, family)
        if found.allowed != expected:
            wrong.append((source, target, protocol, port, found))
    assert not wrong


def test_every_case_is_asked_something() -> None:
    assert all(case.yes or case.no for case in CASES.values())


def test_verdicts_name_what_decided() -> None:
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}
    world = cluster(Case(policies=[ingress(rule, name="q"), ingress(name="p")]))
    assert allowed(world, "pod/nx/b", "pod/nx/a", "TCP", 80, 4) == Verdict(True, "NetworkPolicy/nx/q", "ingress/0")
    assert allowed(world, "pod/nx/c", "pod/nx/a", "TCP", 80, 4) == Verdict(False, "NetworkPolicy/nx/p", "ingress")
    assert allowed(world, "pod/nx/a", "pod/nx/b", "TCP", 80, 4) == Verdict(True)


def test_choices() -> None:
    blocks, own_node = CASES["B01"], CASES["B06"]
    choices = Choices(ip_block_matches_pods=False, own_node_is_exempt=False)
    assert not allowed(cluster(blocks), "pod/nx/a", "pod/ny/a", "TCP", 81, 4, choices).allowed
    assert not allowed(cluster(own_node), "pod/nx/a", "node/node-1", "TCP", 80, 4, choices).allowed


def test_what_has_no_address_is_no_question() -> None:
    world = cluster(CASES["B13"])
    with pytest.raises(LookupError, match="pod/nx/wait"):
        allowed(world, "pod/nx/wait", "pod/nx/a", "TCP", 80, 4)
