"""What becomes of the reports of nodes: conditions, companions and Events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.lab import lab

from fairlead.api import crds
from fairlead.api.resources import (
    CLUSTERNETWORKPOLICIES,
    EVENTS,
    NETWORKPOLICIES,
    NETWORKPOLICYSTATUSES,
    NODEPOLICYREPORTS,
)
from fairlead.controllers.policystatus.core import TYPES, conditions, events, merged

Json = dict[str, Any]
NOW_S = 1_800_000_000.0
PORT = "spec.ingress[0]: port web is declared by none of the selected pods"


def entry(generation: int = 2, *, selects: bool = True, **more: list[str]) -> Json:
    return {"generation": generation, "selects": selects, **more}


# Entries by node → status and reason of Accepted, Enforced, SelectsPods, Resolved.
CASES: dict[str, tuple[dict[str, Json | None], list[tuple[str, str]]]] = {
    "in force everywhere": (
        {"a": entry(), "b": entry(selects=False)},
        [("True", "Accepted"), ("True", "Enforced"), ("True", "PodsSelected"), ("True", "Resolved")],
    ),
    "one node did not report": (
        {"a": entry(), "b": None},
        [("True", "Accepted"), ("False", "Pending"), ("True", "PodsSelected"), ("True", "Resolved")],
    ),
    "one node is at the former generation": (
        {"a": entry(), "b": entry(1)},
        [("True", "Accepted"), ("False", "Pending"), ("True", "PodsSelected"), ("True", "Resolved")],
    ),
    "nothing is selected": (
        {"a": entry(selects=False)},
        [("True", "Accepted"), ("True", "Enforced"), ("False", "NoPods"), ("Unknown", "NoPods")],
    ),
    "whether anything is selected is not known yet": (
        {"a": entry(selects=False), "b": None},
        [("True", "Accepted"), ("False", "Pending"), ("Unknown", "Pending"), ("Unknown", "Pending")],
    ),
    "a name that no node resolves": (
        {"a": entry(unresolved=[PORT]), "b": entry(unresolved=[PORT])},
        [("True", "Accepted"), ("True", "Enforced"), ("True", "PodsSelected"), ("False", "NotResolved")],
    ),
    "a name that one node resolves": (
        {"a": entry(unresolved=[PORT]), "b": entry()},
        [("True", "Accepted"), ("True", "Enforced"), ("True", "PodsSelected"), ("True", "Resolved")],
    ),
    "a domain name that is not there, as one node was told": (
        {"a": entry(absent=["spec.egress[0]: there is no name no.example"]), "b": entry()},
        [("True", "Accepted"), ("True", "Enforced"), ("True", "PodsSelected"), ("False", "NotResolved")],
    ),
    "a part that makes no sense": (
        {"a": entry(problems=["spec.ingress[0]: matches nothing"]), "b": entry()},
        [("False", "Invalid"), ("True", "Enforced"), ("True", "PodsSelected"), ("True", "Resolved")],
    ),
    "a cluster without nodes": (
        {},
        [("True", "Accepted"), ("Unknown", "NoNodes"), ("False", "NoPods"), ("Unknown", "NoPods")],
    ),
}


def policy(generation: int = 2, **more: Any) -> Json:
    return {"metadata": {"name": "p", "namespace": "n", "generation": generation}, **more}


@pytest.mark.parametrize("case", CASES)
def test_conditions(case: str) -> None:
    entries, expected = CASES[case]
    found = conditions(policy(), entries, NOW_S)
    assert [each["type"] for each in found] == list(TYPES)
    assert [(each["status"], each["reason"]) for each in found] == expected
    assert {each["observedGeneration"] for each in found} == {2}


def test_a_time_moves_with_the_status_alone() -> None:
    first = conditions(policy(), {"a": entry(), "b": None}, NOW_S)
    known = policy(status={"conditions": first})
    more = conditions(known, {"a": entry(), "b": None, "c": None}, NOW_S + 60)
    assert more != first
    assert [each["lastTransitionTime"] for each in more] == [each["lastTransitionTime"] for each in first]
    all_of_them = conditions(known, {"a": entry(), "b": entry()}, NOW_S + 60)
    moved = [
        a["type"] for a, b in zip(all_of_them, first, strict=True) if a["lastTransitionTime"] != b["lastTransitionTime"]
    ]
    assert moved == ["fairlead.dev/Enforced"]


def test_conditions_of_others_stay() -> None:
    foreign = {"type": "example.com/Seen", "status": "True"}
    first = conditions(policy(), {"a": entry()}, NOW_S)
    assert merged(policy(status={"conditions": [foreign, first[0]]}), first) == [foreign, *first]


def test_events_tell_of_what_is_new() -> None:
    first = conditions(policy(), {"a": entry(unresolved=[PORT])}, NOW_S)
    told = [(each.type, each.reason) for each in events(policy(), None, first)]
    assert told == [("Normal", "Enforced"), ("Warning", "NotResolved")]
    assert events(policy(), first, first) == []
    second = conditions(policy(3, status={"conditions": first}), {"a": entry(3)}, NOW_S)
    assert [each.reason for each in events(policy(3), first, second)] == ["Enforced"]


async def test_reports_become_conditions_companions_and_events(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ("policy-status",), nodes=2, definitions=crds.FOLDER) as it:
        network = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"podSelector": {}}}
        await it.client.create(NETWORKPOLICIES, network, namespace="default")
        cluster = {
            "apiVersion": CLUSTERNETWORKPOLICIES.api_version,
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "c"},
            "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
        }
        await it.client.create(CLUSTERNETWORKPOLICIES, cluster)

        def enforced(obj: Json | None) -> str:
            listed = ((obj or {}).get("status") or {}).get("conditions") or ()
            return next((each["status"] for each in listed if each["type"] == "fairlead.dev/Enforced"), "")

        async def both_are(status: str) -> None:
            await it.until(lambda: enforced(it.get(NETWORKPOLICYSTATUSES, "web")) == status, f"web {status}")
            await it.until(lambda: enforced(it.get(CLUSTERNETWORKPOLICIES, "c")) == status, f"c {status}")

        async def report(node: str, **generations: int) -> None:
            policies = {
                "NetworkPolicy/default/web": entry(generations["web"]),
                "ClusterNetworkPolicy//c": entry(generations["c"]),
            }
            body = {
                "apiVersion": NODEPOLICYREPORTS.api_version,
                "kind": NODEPOLICYREPORTS.kind,
                "metadata": {"name": node},
                "policies": policies,
            }
            if it.get(NODEPOLICYREPORTS, node) is None:
                await it.client.create(NODEPOLICYREPORTS, body)
                await it.until(lambda: it.get(NODEPOLICYREPORTS, node), node)
            else:
                await it.client.patch(NODEPOLICYREPORTS, node, {"policies": policies})

        await both_are("False")
        await report("node-1", web=1, c=1)
        await report("node-2", web=1, c=1)
        await both_are("True")
        await it.until(lambda: [each for each in it.all(EVENTS) if each["reason"] == "Enforced"], "events")
        spec = {"spec": {"policyTypes": ["Egress"]}}
        await it.client.patch(NETWORKPOLICIES, "web", spec, namespace="default")
        await it.client.patch(CLUSTERNETWORKPOLICIES, "c", {"spec": {"priority": 2}})
        await both_are("False")
        await report("node-1", web=2, c=2)
        await report("node-2", web=2, c=2)
        await both_are("True")
        owner = it.get(NETWORKPOLICYSTATUSES, "web")["metadata"]["ownerReferences"][0]  # type: ignore[index]
        assert owner["uid"] == it.get(NETWORKPOLICIES, "web")["metadata"]["uid"]  # type: ignore[index]


async def test_a_policy_that_comes_into_force_on_many_nodes_costs_few_writes(
    tmp_path: Path, certificates: Path
) -> None:
    async with lab(tmp_path, certificates, ("policy-status",), nodes=30, definitions=crds.FOLDER) as it:
        network = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"podSelector": {}}}
        await it.client.create(NETWORKPOLICIES, network, namespace="default")
        await it.until(lambda: it.get(NETWORKPOLICYSTATUSES, "web"), "the companion")
        writes: list[float] = []
        it.follow(NETWORKPOLICYSTATUSES).on_change(lambda old, new: writes.append(time.monotonic()))
        begin = time.monotonic()
        for number in range(1, 31):
            report = {
                "apiVersion": NODEPOLICYREPORTS.api_version,
                "kind": NODEPOLICYREPORTS.kind,
                "metadata": {"name": f"node-{number}"},
                "policies": {"NetworkPolicy/default/web": entry(1)},
            }
            await it.client.create(NODEPOLICYREPORTS, report)

        def message() -> str:
            conditions = (it.get(NETWORKPOLICYSTATUSES, "web") or {})["status"]["conditions"]
            return next(each["message"] for each in conditions if each["type"] == "fairlead.dev/Enforced")

        await it.until(lambda: "in force on all 30 nodes" in message(), "all nodes")
        # Twice a second at most, however slowly the reports come.
        assert len(writes) <= 2 * (time.monotonic() - begin) + 1
        assert len(writes) < 30
