"""The small parts: graph of owners, life of nodes, budgets, names, amounts, times, expectations, choice of controllers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.resources import CONFIGMAPS, PODS
from fairlead.base.errors import UserError
from fairlead.cli.controller import controller
from fairlead.controllers import manager, moments, rolling, templates
from fairlead.controllers.actions import Delete, Event, Patch
from fairlead.controllers.collector.graph import Disown, Finish, Graph, Item, Later, Reference, Remove
from fairlead.controllers.disruption import core as budgets
from fairlead.controllers.expectations import Expectations
from fairlead.controllers.nodes import core as nodes
from fairlead.controllers.nodes.heartbeat import Heartbeats

Json = dict[str, Any]


def item(
    uid: str, *owners: str, deleting: bool = False, finalizers: tuple[str, ...] = (), namespace: str = "default"
) -> Item:
    references = tuple(Reference(owner, "v1", "ConfigMap", owner, True) for owner in owners)
    return Item(uid, CONFIGMAPS, namespace, uid, references, deleting, frozenset(finalizers))


@pytest.mark.parametrize(
    ("title", "items", "absent", "judged", "expected"),
    [
        ("owner there", [item("o"), item("d", "o")], "", "d", None),
        ("owner gone", [item("d", "o")], "o", "d", Remove("Background")),
        ("one of two gone", [item("b"), item("d", "a", "b")], "a", "d", Disown(frozenset({"a"}))),
        ("both gone", [item("d", "a", "b")], "ab", "d", Remove("Background")),
        ("nobody knows", [item("d", "?")], "", "d", Later()),
        ("no owners", [item("d")], "", "d", None),
        ("owner in another namespace", [item("o", namespace="x"), item("d", "o")], "o", "d", Remove("Background")),
        (
            "owner waits, dependent has its own",
            [item("o", deleting=True, finalizers=("foregroundDeletion",)), item("d", "o"), item("e", "d")],
            "",
            "d",
            Remove("Foreground"),
        ),
        (
            "owner waits for a leaf",
            [item("o", deleting=True, finalizers=("foregroundDeletion",)), item("d", "o")],
            "",
            "d",
            Remove("Background"),
        ),
        (
            "waits while there are dependents",
            [item("o", deleting=True, finalizers=("foregroundDeletion",)), item("d", "o")],
            "",
            "o",
            None,
        ),
        (
            "has nobody to wait for",
            [item("o", deleting=True, finalizers=("foregroundDeletion",))],
            "",
            "o",
            Finish("foregroundDeletion"),
        ),
        ("all orphaned", [item("o", deleting=True, finalizers=("orphan",))], "", "o", Finish("orphan")),
        ("still to orphan", [item("o", deleting=True, finalizers=("orphan",)), item("d", "o")], "", "o", None),
        ("unknown object", [], "", "d", None),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) > 3 else "",
)
def test_what_the_collector_does(title: str, items: list[Item], absent: str, judged: str, expected: object) -> None:
    graph = Graph()
    for each in items:
        graph.put(each)

    def lookup(_: Item, owner: Reference) -> Any:
        return "unknown" if owner.uid == "?" else "absent" if owner.uid in absent else "there"

    assert graph.judge(judged, lookup) == expected, title


def test_graph_names_those_to_be_judged() -> None:
    graph = Graph()
    assert graph.put(item("o")) == []
    assert graph.put(item("d", "o")) == ["d"]
    assert graph.put(item("d", "o")) == [], "nothing changed"
    assert graph.put(item("o", deleting=True, finalizers=("foregroundDeletion",))) == ["o", "d"]
    assert graph.remove("d") == ["o"]
    assert graph.remove("o") == []
    graph.put(item("d", "o"))
    assert graph.remove("o") == ["d"]
    assert [each.uid for each in graph.items_of(CONFIGMAPS)] == ["d"]


def node(ready: str | None = "True", *taints: Json, **more: Any) -> Json:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}] if ready else []
    metadata = {"name": "n1", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": metadata,
        "spec": {"taints": list(taints), **more},
        "status": {"conditions": conditions + more.pop("conditions", [])},
    }


def pod(name: str = "p", ready: bool = True, *tolerations: Json, **metadata: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1", **metadata},
        "spec": {"tolerations": list(tolerations)},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


UNREACHABLE = {"key": nodes.UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
T0 = moments.seconds("2026-01-01T00:00:00Z") or 0.0


@pytest.mark.parametrize(
    ("title", "found", "keys"),
    [
        ("well", node(), []),
        ("not ready", node("False"), ["not-ready:NoExecute", "not-ready:NoSchedule"]),
        ("silent", node("Unknown"), ["unreachable:NoExecute", "unreachable:NoSchedule"]),
        ("never reported", node(None), ["unreachable:NoExecute", "unreachable:NoSchedule"]),
        ("back again", node("True", UNREACHABLE), []),
        ("cordoned", node("True", unschedulable=True), ["unschedulable:NoSchedule"]),
        (
            "short of memory",
            node(conditions=[{"type": "MemoryPressure", "status": "True"}]),
            ["memory-pressure:NoSchedule"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_taints_of_a_node(title: str, found: Json, keys: list[str]) -> None:
    foreign = {"key": "gpu", "effect": "NoSchedule"}
    found["spec"]["taints"].append(foreign)
    taints = nodes.taints(found, T0)
    assert taints[0] == foreign, "those of others stay"
    assert [f"{each['key'].rpartition('/')[2]}:{each['effect']}" for each in taints[1:]] == keys, title
    assert nodes.taints({**found, "spec": {**found["spec"], "taints": taints}}, T0 + 9) == taints


def test_unknown_status_says_since_when() -> None:
    status = nodes.unknown_status(node(), T0 + 60)
    assert status is not None
    (ready,) = status["conditions"]
    assert (ready["status"], ready["reason"], ready["lastHeartbeatTime"]) == (
        "Unknown",
        "NodeStatusUnknown",
        "2026-01-01T00:00:00Z",
    )
    assert nodes.unknown_status({**node(), "status": status}, T0 + 70) is None
    never = nodes.unknown_status(node(None), T0)
    assert never is not None
    assert never["conditions"][0]["reason"] == "NodeStatusNeverUpdated"


def test_pods_of_a_node_that_is_not_ready_leave_the_endpoints() -> None:
    actions = nodes.not_ready_pods(node("Unknown"), [pod("a"), pod("b", False)], T0)
    (patch,) = [each for each in actions if isinstance(each, Patch)]
    assert patch.obj["metadata"]["name"] == "a"
    assert any(isinstance(each, Event) and each.reason == "NodeNotReady" for each in actions)
    assert nodes.not_ready_pods(node(), [pod("a")], T0) == []


@pytest.mark.parametrize(
    ("title", "found", "which", "expected"),
    [
        ("no taint", node(), pod(), None),
        ("not tolerated", node("Unknown", UNREACHABLE), pod(), 0.0),
        ("tolerated for good", node("Unknown", UNREACHABLE), pod("p", True, {"operator": "Exists"}), None),
        (
            "for a while",
            node("Unknown", UNREACHABLE),
            pod("p", True, {"key": nodes.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 300}),
            290.0,
        ),
        ("going already", node("Unknown", UNREACHABLE), pod(deletionTimestamp="x"), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_eviction(title: str, found: Json, which: Json, expected: float | None) -> None:
    assert nodes.eviction(found, which, T0 + 10) == expected, title


def test_buried_pods_fail_first() -> None:
    patch, delete = nodes.bury(pod(), T0, "DeletionByPodGC", "gone")
    assert isinstance(patch, Patch)
    assert patch.patch["status"]["phase"] == "Failed"
    assert isinstance(delete, Delete)
    assert delete.grace_s == 0


def test_heartbeats() -> None:
    beats = Heartbeats(grace_s=10)
    lease = {"spec": {"renewTime": "1"}}
    beats.hear(node(), lease, 0)
    assert not beats.silent("n1", 10)
    assert beats.silent("n1", 11)
    beats.hear(node(), lease, 11)
    assert beats.silent("n1", 11), "the same sign of life is none"
    beats.excuse(5)
    assert not beats.silent("n1", 11)
    beats.hear(node(), {"spec": {"renewTime": "2"}}, 20)
    assert not beats.silent("n1", 29)
    beats.hear(node("Unknown"), {"spec": {"renewTime": "2"}}, 31)
    assert beats.silent("n1", 31), "our own verdict is no sign of life"
    beats.forget("n1")
    assert not beats.silent("n1", 99)


@pytest.mark.parametrize(
    ("title", "spec", "ready", "expected"),
    [
        ("at least two of three", {"minAvailable": 2}, 3, (1, 3, 2, 3)),
        ("at least half", {"minAvailable": "50%"}, 3, (1, 3, 2, 4)),
        ("at most one of four", {"maxUnavailable": 1}, 3, (0, 3, 3, 4)),
        ("at most all", {"maxUnavailable": "100%"}, 2, (2, 2, 0, 4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_budget(title: str, spec: Json, ready: int, expected: tuple[int, ...]) -> None:
    owner = [{"uid": "rs", "controller": True}]
    pods = [pod(f"p{n}", n < ready, ownerReferences=owner) for n in range(3)]
    budget = {"metadata": {"generation": 1}, "spec": spec}
    status = budgets.status(budget, pods, lambda each: 4, T0)
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    assert tuple(status[each] for each in fields) == expected, title
    assert budgets.status({**budget, "status": status}, pods, lambda each: 4, T0 + 5) == status


def test_evicted_pod_counts_as_gone_until_it_is() -> None:
    budget = {"metadata": {}, "spec": {"minAvailable": 1}, "status": {"disruptedPods": {"p0": "2026-01-01T00:00:00Z"}}}
    status = budgets.status(budget, [pod("p0"), pod("p1")], lambda each: None, T0 + 1)
    assert (status["disruptionsAllowed"], status["disruptedPods"]) == (0, {"p0": "2026-01-01T00:00:00Z"})
    assert "disruptedPods" not in budgets.status(budget, [pod("p0"), pod("p1")], lambda each: None, T0 + 500)


@given(st.integers(0, 4_000_000_000))
def test_times_come_back(at: int) -> None:
    assert moments.seconds(moments.text(at)) == at
    assert moments.seconds(moments.micro_text(at + 0.5)) == at + 0.5


def test_times_of_others() -> None:
    assert moments.seconds("2026-01-01T01:00:00.25+01:00") == T0 + 0.25
    assert moments.seconds("") is None
    with pytest.raises(ValueError, match="RFC 3339"):
        moments.seconds("yesterday")


def test_equal_templates_have_equal_hashes() -> None:
    one = {
        "metadata": {"labels": {"a": "b"}, "creationTimestamp": None},
        "spec": {"containers": [{"name": "c", "env": []}]},
    }
    other = {"spec": {"containers": [{"name": "c"}]}, "metadata": {"labels": {"hash": "x", "a": "b"}}}
    assert templates.equal(one, other, ignore_label="hash")
    assert not templates.equal(one, other)
    assert templates.short_hash(one) == templates.short_hash({**one, "extra": None})
    assert templates.short_hash(one) != templates.short_hash(one, 1)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, (3, 2)),
        (0, 0, 5, (0, 1)),
        ("0%", "10%", 5, (0, 1)),
        (1, 7, 5, (1, 5)),
        ("100%", 0, 0, (0, 1)),
    ],
)
def test_bounds_of_a_rolling_update(surge: Any, unavailable: Any, replicas: int, expected: tuple[int, int]) -> None:
    assert rolling.bounds(surge, unavailable, replicas) == expected


def test_expectations_are_states_not_events() -> None:
    informer = SimpleNamespace(store={}, resource_version="5")
    expectations = Expectations(lambda resource: informer)  # type: ignore[arg-type, return-value]
    key = ("default", "web")
    made = {"metadata": {"name": "p", "namespace": "default", "uid": "1", "resourceVersion": "7"}}
    expectations.created(key, PODS, made)
    assert not expectations.satisfied(key)
    informer.resource_version = "8"
    assert expectations.satisfied(key), "seen and gone again"
    informer.store["default", "p"] = made
    expectations.deleted(key, PODS, made)
    assert not expectations.satisfied(key)
    informer.store["default", "p"] = {"metadata": {**made["metadata"], "deletionTimestamp": "x"}}
    assert expectations.satisfied(key)
    expectations.deleted(key, PODS, made)
    informer.store["default", "p"] = {"metadata": {**made["metadata"], "uid": "2"}}
    assert expectations.satisfied(key), "another one of the same name"


def test_choice_of_controllers() -> None:
    assert manager.select(["*"]) == list(manager.CONTROLLERS)
    assert manager.select(["deployment", "job-controller"]) == ["deployment", "job"]
    assert "job" not in manager.select(["-job"])
    assert "job" not in manager.select(["*", "-job"])
    with pytest.raises(UserError, match="unknown controller 'jobs'"):
        manager.select(["jobs"])


@pytest.mark.parametrize(("text", "expected"), [("5", "no duration"), ("1m30x", "no duration"), ("", "no duration")])
def test_durations_that_are_none(text: str, expected: str) -> None:
    result = CliRunner().invoke(controller, ["--kubeconfig", "x", "--node-monitor-grace-period", text])
    assert result.exit_code == 2
    assert expected in result.output
