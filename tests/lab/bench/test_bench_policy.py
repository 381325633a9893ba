"""The benchmark of policies: it measures what it promises in a small world, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.lab.bench.test_bench_sync import silent

from fairlead.lab.bench import policy
from fairlead.lab.bench.policy_peer import PEER, as_pairs
from fairlead.lab.bench.policy_world import World
from fairlead.model.compile import compile

pytestmark = pytest.mark.timeout(120)


@pytest.mark.kernel
def test_a_small_world_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_CHANGES", 30)
    monkeypatch.setattr(policy, "_CONNECTIONS", 20)
    report = policy.run(pods=400, policies=100, local=20, rounds=1, step=silent)
    found = {(row.metric, row.against): row.value for row in report.rows}
    assert all(value > 0 for value in found.values())
    for what in ("one pod added elsewhere", "label of a pod of this node", "one policy changed"):
        assert {
            (f"{what}, p{share}: {part}", None) for share in (50, 99) for part in ("decide", "kernel")
        } <= found.keys()
    assert {("load", PEER), ("rules", PEER), ("added to a connection, p50", PEER)} <= found.keys()
    assert f"fl-bench-{os.getpid()}-" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def test_the_peer_has_a_rule_for_each_permitted_pair() -> None:
    plan = compile(World(pods=400, policies=100, local=20).snapshot()).plan
    text, rules = as_pairs(plan)
    assert rules == sum(
        line.endswith((" accept", " drop", "    drop")) for line in text.splitlines() if "ct state" not in line
    )
    ours = sum(len(row.rules) for row in plan.table("policy_chains").values())  # type: ignore[union-attr]
    assert rules > ours
