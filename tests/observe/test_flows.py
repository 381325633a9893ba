"""Flows: names of both ends and of what decided, from snapshot and plan."""

from __future__ import annotations

import socket

from tests.model.policy.interpreter import snapshot_of
from tests.verify.policy_cases import Case, cluster, ingress, labels, np

from fairlead.model.compile import compile
from fairlead.observe.flows import Flow, Namer
from fairlead.observe.nflog import ALLOWED, DENIED, Logged, number_of
from fairlead.observe.packet import Ends
from fairlead.plan.plan import Plan
from fairlead.world.snapshot import Snapshot

BLOCK = {"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.20/32"]}}
POLICIES = [
    ingress({"from": [{"podSelector": labels(app="c")}], "ports": [{"port": "http"}]}, {"from": [BLOCK]}, name="p"),
    np("out", podSelector=labels(app="c"), policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}]}]),
]


def world(policies: list[dict[str, object]]) -> tuple[Snapshot, Plan]:
    snapshot = snapshot_of(cluster(Case(policies=policies)), "node-1")
    return snapshot, compile(snapshot).plan


def logged(verdict: str, source: str, destination: str, port: int, rule: int = 0) -> Logged:
    ends = Ends(socket.inet_aton(source), socket.inet_aton(destination), 6, 4321, port)
    return Logged(verdict, ends, rule, 100.0)


A, B, C = "10.244.1.10", "10.244.1.11", "10.244.1.12"


def test_a_permitted_connection_names_the_rules_of_both_ends() -> None:
    snapshot, plan = world(POLICIES)
    namer = Namer()

    def rules(source: str, destination: str, port: int) -> tuple[str, ...]:
        return namer.flow(logged(ALLOWED, source, destination, port), snapshot, plan, 0.0).rules

    assert rules(C, A, 80) == ("NetworkPolicy/nx/out/egress/0", "NetworkPolicy/nx/p/ingress/0")
    assert rules("198.51.100.10", A, 9) == ("NetworkPolicy/nx/p/ingress/1",)
    assert rules(A, "198.51.100.10", 9) == ()
    # A pod reaches its own node whatever its NetworkPolicies say: there is no rule to name.
    assert rules(C, "10.10.0.11", 80) == ()


def test_a_denied_one_names_the_rule_by_its_number_also_a_moment_after_it_is_gone() -> None:
    snapshot, plan = world(POLICIES)
    namer = Namer()
    name = "NetworkPolicy/nx/p/ingress"
    found = namer.flow(logged(DENIED, B, A, 81, number_of(name)), snapshot, plan, 0.0)
    assert found == Flow(
        time="1970-01-01T00:01:40.000000Z",
        node="node-1",
        verdict="denied",
        protocol="tcp",
        source=found.source,
        destination=found.destination,
        rules=(name,),
    )
    assert (str(found.source), str(found.destination)) == ("nx/b:4321", "nx/a:81")
    later, empty = world([])
    assert namer.flow(logged(DENIED, B, A, 81, number_of(name)), later, empty, 0.0).rules == (name,)
    assert namer.flow(logged(DENIED, B, A, 81, 7), later, empty, 0.0).rules == ("unknown-rule-00000007",)


def test_pods_of_other_nodes_are_read_once_a_second_at_most() -> None:
    empty = Snapshot(settings=world([])[0].settings)
    snapshot, plan = world([])
    namer = Namer()
    other = "10.244.2.20"
    seen = [
        namer.flow(logged(ALLOWED, other, A, 80), known, plan, now_s).source.pod
        for known, now_s in ((empty, 10.0), (snapshot, 10.5), (snapshot, 11.0))
    ]
    assert seen == ["", "", "a"]
