"""The policy table as messages: what a change says, and that nothing is said about what stays."""

from __future__ import annotations

from collections import Counter

import pytest

from fairlead.drivers.nft import wire
from fairlead.drivers.nft.policy import structure
from fairlead.drivers.nft.policy.state import Encoder, State, change, create, renew
from fairlead.plan.plan import Plan, index
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod, PolicyRule

NAMES = {
    wire.NEWTABLE: "new table",
    wire.NEWSET: "new set",
    wire.DELSET: "delete set",
    wire.NEWSETELEM: "new elements",
    wire.DELSETELEM: "delete elements",
    wire.NEWCHAIN: "new chain",
    wire.DELCHAIN: "delete chain",
    wire.NEWRULE: "new rule",
    wire.DELRULE: "delete rules",
    wire.NEWOBJ: "new counter",
    wire.NEWOBJ + 2: "delete counter",
}


def plan(*members: str, chains: bool = True, pods: int = 1) -> Plan:
    group = PolicyGroup(name="ad-000000000000", kind="addresses", members=tuple(sorted(members)))
    rule = PolicyRule(
        peers=group.name, protocol="tcp", first=80, last=80, verdict="allow", counter="NetworkPolicy/n/p/ingress/0"
    )
    deny = PolicyRule(verdict="deny", counter="NetworkPolicy/n/p/ingress")
    chain = PolicyChain(name="i-000000000000", direction="ingress", rules=(rule, deny))
    found = [PolicyPod(host_ifname=f"fl{n:012x}", ingress=chain.name if chains else "") for n in range(pods)]
    tables = {"policy_pods": index(found)}
    if chains:
        tables |= {"policy_groups": index([group]), "policy_chains": index([chain])}
    return Plan(node="n", revision="1", tables=tables)


def said(old: State, new: State) -> dict[str, int]:
    return dict(Counter(NAMES[each.kind] for each in change(old, new)))


def test_a_peer_that_comes_or_goes_is_its_elements() -> None:
    encoder = Encoder()
    one, _ = encoder.state(plan("10.0.0.1", "fd00::1"))
    two, _ = encoder.state(plan("10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"))
    assert said(one, two) == {"new elements": 2}
    again, _ = encoder.state(plan("10.0.0.2", "fd00::2"))
    assert said(two, again) == {"delete elements": 2}


def test_a_pod_of_a_known_class_is_three_elements() -> None:
    encoder = Encoder()
    one, _ = encoder.state(plan("10.0.0.1"))
    two, _ = encoder.state(plan("10.0.0.1", pods=2))
    # Known, reaching itself, and judged.
    assert said(one, two) == {"new elements": 3}


def test_what_nobody_needs_goes_after_what_referred_to_it() -> None:
    encoder = Encoder()
    with_policy, _ = encoder.state(plan("10.0.0.1"))
    without, _ = encoder.state(plan(chains=False))
    kinds = [NAMES[each.kind] for each in change(with_policy, without)]
    assert kinds == [
        "delete elements",
        "delete rules",
        "delete chain",
        "delete set",
        "delete set",
        "delete counter",
        "delete counter",
    ]


def test_nothing_is_said_about_equal_states() -> None:
    state, _ = Encoder().state(plan("10.0.0.1"))
    other, _ = Encoder().state(plan("10.0.0.1"))
    assert change(state, other) == []


def test_a_change_is_said_with_a_new_number_and_a_whole_table_with_everything() -> None:
    kinds = Counter(NAMES[each.kind] for each in renew(1, 2))
    assert kinds == {"delete rules": 2, "new rule": 2, "delete elements": 1, "new elements": 1}
    state, _ = Encoder().state(plan("10.0.0.1"))
    assert NAMES[create(state, 1)[0].kind] == "new table"


def test_odd_members_are_left_out_and_named() -> None:
    state, failures = Encoder().state(plan("10.0.0.1", "nonsense"))
    assert len(state.sets["ad-0000000000004"][1]) == 1
    assert [each.key for each in failures] == [("ad-000000000000",)]


@pytest.mark.parametrize("length", [10, 249, 250, 400])
def test_names_of_counters_fit_and_stay_apart(length: int) -> None:
    names = {structure.counter_name("n" * length + suffix) for suffix in ("a", "b")}
    assert len(names) == 2 and all(len(each) < 256 for each in names)
