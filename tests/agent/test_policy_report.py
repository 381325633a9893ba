"""The part of a node's report that is pure: what it says, how much of it, and what of it is sent."""

from __future__ import annotations

from fairlead.agent.policy_report import changes, entries_of
from fairlead.model.policy.facts import PolicyFact


def test_entries_say_what_differs_from_the_ordinary_and_are_bounded() -> None:
    facts = {
        "NetworkPolicy/n/a": PolicyFact(generation=3, selects=True),
        "NetworkPolicy/n/b": PolicyFact(generation=1, problems=("x" * 2000,) * 40, unresolved=("port web",)),
    }
    entries = entries_of(facts)
    assert entries["NetworkPolicy/n/a"] == {"generation": 3, "selects": True}
    assert [len(each) for each in entries["NetworkPolicy/n/b"]["problems"]] == [512] * 16
    assert entries["NetworkPolicy/n/b"]["unresolved"] == ["port web"]


def test_only_differences_are_sent() -> None:
    old = {"a": {"generation": 1, "selects": True}, "b": {"generation": 1}, "c": {"generation": 1}}
    new = {"a": {"generation": 2}, "b": {"generation": 1}, "d": {"generation": 1}}
    assert changes(old, new) == {"a": {"generation": 2, "selects": None}, "c": None, "d": {"generation": 1}}
    assert changes(new, new) == {}


def test_a_report_of_a_thousand_policies_is_small() -> None:
    facts = {f"NetworkPolicy/namespace-{n}/policy-{n}": PolicyFact(generation=1, selects=True) for n in range(1000)}
    assert len(str(entries_of(facts))) < 100_000
