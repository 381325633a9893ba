"""Counters of rules as samples."""

from __future__ import annotations

from fairlead.observe.policy_metrics import render
from fairlead.plan.plan import Plan, index
from fairlead.plan.policy import PolicyChain, PolicyRule


def test_samples_name_policy_rule_and_verdict() -> None:
    rules = (
        PolicyRule(verdict="allow", counter="NetworkPolicy/n/p/ingress/0"),
        PolicyRule(verdict="deny", counter="NetworkPolicy/n/p/ingress"),
    )
    chain = PolicyChain(name="i-1", direction="ingress", rules=rules)
    plan = Plan(node="a", revision="", tables={"policy_chains": index([chain])})
    counts = {"NetworkPolicy/n/p/ingress/0": 3, "NetworkPolicy/n/p/ingress": 2, "invalid": 1}
    samples = [line for line in render(counts, plan).splitlines() if not line.startswith("#")]
    same = 'kind="NetworkPolicy",namespace="n",policy="p",direction="ingress"'
    name = "fairlead_policy_judged_packets_total"
    assert samples == [
        f'{name}{{{same},rule="",verdict="denied"}} 2',
        f'{name}{{{same},rule="0",verdict="allowed"}} 3',
        'fairlead_dropped_packets_total{reason="invalid"} 1',
    ]
