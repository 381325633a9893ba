"""ReplicaSets, StatefulSets and DaemonSets by simulation: what may never happen on the way, and where it ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.world import World

from fairlead.api.resources import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    STATEFULSETS,
)
from fairlead.controllers import podstate
from fairlead.controllers.actions import Create, Delete, Patch, Status
from fairlead.controllers.conditions import condition
from fairlead.controllers.daemonset import core as daemons
from fairlead.controllers.daemonset.nodes import node_of
from fairlead.controllers.replicaset import core as replicas
from fairlead.controllers.scheduler import facts
from fairlead.controllers.statefulset import core as stateful

Json = dict[str, Any]


def template(image: str = "a:1") -> Json:
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": image}]}}


def replica_set(count: int) -> Json:
    return {
        "metadata": {"name": "a", "namespace": "default", "uid": "owner", "resourceVersion": "1", "generation": 1},
        "spec": {"replicas": count, "selector": {"matchLabels": {"app": "a"}}, "template": template()},
    }


def pod(
    name: str, *, ready: bool = True, phase: str = "Running", node: str = "n1", since: int = 0, **more: Any
) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "resourceVersion": "1",
            "labels": {"app": "a"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": more.get("annotations", {}),
            **more.get("metadata", {}),
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": f"2026-01-01T{since:02}:00:00Z"}
            ],
            "containerStatuses": [{"restartCount": more.get("restarts", 0)}],
        },
    }


def step(owner: Json, owned: list[Json], orphans: list[Json] | None = None, **more: Any) -> list[Any]:
    options = {"related_per_node": {}, "failure": None, "now": 1_767_312_000.0, **more}
    return replicas.reconcile(replicas.REPLICA_SET, owner, owned, orphans or [], **options)


@pytest.mark.parametrize(
    ("title", "keep", "drop", "related"),
    [
        ("without a node", pod("keep"), pod("drop", node="", ready=False, phase="Pending"), {}),
        ("pending before running", pod("keep", ready=False), pod("drop", ready=False, phase="Pending"), {}),
        ("not ready before ready", pod("keep"), pod("drop", ready=False), {}),
        ("cheap before dear", pod("keep", annotations={replicas._DELETION_COST: "5"}), pod("drop"), {}),
        ("on the crowded node", pod("keep", node="n2"), pod("drop", node="n1"), {"n1": 3, "n2": 1}),
        ("ready for a shorter time", pod("keep", since=1), pod("drop", since=20), {}),
        ("more restarts", pod("keep"), pod("drop", restarts=4), {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_which_pod_goes_first(title: str, keep: Json, drop: Json, related: dict[str, int]) -> None:
    for order in ([keep, drop], [drop, keep]):
        deleted = [
            action for action in step(replica_set(1), order, related_per_node=related) if isinstance(action, Delete)
        ]
        assert [action.obj["metadata"]["name"] for action in deleted] == ["drop"], title


def test_adopts_orphans_that_match_and_releases_what_does_not() -> None:
    stranger = pod("stranger", metadata={"labels": {"app": "b"}})
    mine = pod("mine", metadata={"labels": {"app": "b"}, "ownerReferences": [{"uid": "owner", "controller": True}]})
    actions = step(replica_set(1), [mine], [pod("orphan"), stranger])
    patched = {each.obj["metadata"]["name"]: each.patch for each in actions if isinstance(each, Patch)}
    assert patched["mine"]["metadata"]["ownerReferences"] is None
    assert patched["orphan"]["metadata"]["ownerReferences"][0]["uid"] == "owner"
    assert set(patched) == {"mine", "orphan"}
    assert not any(isinstance(each, Create) for each in actions)


def test_failure_to_create_becomes_a_condition_and_goes_again() -> None:
    owner = replica_set(2)
    (status,) = [each for each in step(owner, [], failure="exceeded quota") if isinstance(each, Status)]
    found = condition(status.obj, "ReplicaFailure")
    assert found is not None
    assert (found["reason"], found["message"]) == ("FailedCreate", "exceeded quota")
    (status,) = [each for each in step(status.obj, [pod("a"), pod("b")]) if isinstance(each, Status)]
    assert condition(status.obj, "ReplicaFailure") is None
    assert step(status.obj, [pod("a"), pod("b")]) == []


class Stateful:
    def __init__(self, **spec: Any) -> None:
        self.world = World()
        self.world.add(
            STATEFULSETS,
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "db"},
                "spec": {
                    "selector": {"matchLabels": {"app": "a"}},
                    "template": template(),
                    "serviceName": "db",
                    **spec,
                },
            },
        )

    @property
    def owner(self) -> Json:
        return self.world.get(STATEFULSETS, "db")

    def reconcile(self) -> None:
        claims = {each["metadata"]["name"]: each for each in self.world.all(PERSISTENTVOLUMECLAIMS)}
        revisions = self.world.all(CONTROLLERREVISIONS)
        self.world.apply(
            stateful.reconcile(self.owner, self.world.all(PODS), [], revisions, claims, now=self.world.now)
        )

    def ordinals(self) -> dict[int, Json]:
        return {int(each["metadata"]["name"].rpartition("-")[2]): each for each in self.world.all(PODS)}

    def act(self, action: str, index: int) -> None:
        pods = sorted(self.world.all(PODS), key=lambda pod: pod["metadata"]["name"])
        if action == "reconcile":
            self.reconcile()
        elif action == "start" and (waiting := [each for each in pods if not podstate.is_ready(each)]):
            self.world.pod_becomes(waiting[index % len(waiting)]["metadata"]["name"])
        elif action == "end" and (going := [each for each in pods if podstate.is_terminating(each)]):
            self.world.pod_is_gone(going[index % len(going)]["metadata"]["name"])
        elif action == "fail" and pods:
            name = pods[index % len(pods)]["metadata"]["name"]
            if podstate.is_active(self.world.get(PODS, name)):
                self.world.pod_becomes(name, "Failed", ready=False)
        elif action == "update":
            self.world.change_spec(STATEFULSETS, "db", template=template(f"a:{index % 3}"))
        elif action == "resize":
            self.world.change_spec(STATEFULSETS, "db", replicas=index)

    def settle(self) -> None:
        for _ in range(300):
            before = self.world.writes
            self.reconcile()
            for _ in self.world.all(PODS):
                self.act("end", 0)
                self.act("start", 0)
            if self.world.writes == before:
                return
        raise AssertionError("never settles")


moves = st.sampled_from(["reconcile"] * 4 + ["start"] * 3 + ["end"] * 2 + ["fail", "update", "resize"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(moves, st.integers(0, 4)), max_size=60))
def test_stateful_set_in_order(steps: list[tuple[str, int]]) -> None:
    it = Stateful(replicas=3)
    for action, index in steps:
        before = it.ordinals()
        it.act(action, index)
        if action == "reconcile":
            for new in it.ordinals().keys() - before.keys():
                assert all(podstate.is_ready(before[n]) and podstate.is_active(before[n]) for n in range(new)), (
                    "a pod comes when all before it are ready"
                )
            deleted = [
                n
                for n, each in it.ordinals().items()
                if podstate.is_terminating(each) and podstate.is_active(before[n])
            ]
            assert len(deleted) <= 1, "one pod goes at a time"
    it.settle()
    wanted = it.owner["spec"]["replicas"]
    assert sorted(it.ordinals()) == list(range(wanted))
    images = {each["spec"]["containers"][0]["image"] for each in it.world.all(PODS)}
    assert images <= {it.owner["spec"]["template"]["spec"]["containers"][0]["image"]}
    status = it.owner["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert status.get("readyReplicas", 0) == wanted


def test_stateful_set_claims_follow_the_retention_policy() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    it = Stateful(replicas=2, volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy=policy)
    it.settle()
    claims = it.world.all(PERSISTENTVOLUMECLAIMS)
    assert [each["metadata"]["name"] for each in claims] == ["data-db-0", "data-db-1"]
    assert claims[0]["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    it.act("resize", 1)
    it.settle()
    assert [each["metadata"]["name"] for each in it.world.all(PERSISTENTVOLUMECLAIMS)] == ["data-db-0"]


def test_stateful_set_starts_counting_where_told_and_waits_for_deletion() -> None:
    it = Stateful(replicas=2, ordinals={"start": 5}, updateStrategy={"type": "OnDelete"})
    it.settle()
    assert sorted(it.ordinals()) == [5, 6]
    it.act("update", 2)
    it.settle()
    assert {each["spec"]["containers"][0]["image"] for each in it.world.all(PODS)} == {"a:1"}
    it.world.pod_is_gone("db-5")
    it.settle()
    assert {n: each["spec"]["containers"][0]["image"] for n, each in it.ordinals().items()} == {5: "a:2", 6: "a:1"}


class Daemons:
    def __init__(self, count: int, **rolling: Any) -> None:
        self.world = World()
        self.nodes = [f"n{n}" for n in range(count)]
        self.world.add(
            DAEMONSETS,
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "agent"},
                "spec": {
                    "selector": {"matchLabels": {"app": "a"}},
                    "template": template(),
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                },
            },
        )

    @property
    def owner(self) -> Json:
        return self.world.get(DAEMONSETS, "agent")

    def reconcile(self) -> None:
        known = [facts.node_of({"metadata": {"name": name, "labels": {}}}) for name in self.nodes]
        revisions = self.world.all(CONTROLLERREVISIONS)
        self.world.apply(daemons.reconcile(self.owner, self.world.all(PODS), [], revisions, known, now=self.world.now))

    def act(self, action: str, index: int) -> None:
        pods = self.world.all(PODS)
        if action == "reconcile":
            self.reconcile()
        elif action == "start" and (waiting := [each for each in pods if not podstate.is_ready(each)]):
            self.world.pod_becomes(waiting[index % len(waiting)]["metadata"]["name"])
        elif action == "end" and (going := [each for each in pods if podstate.is_terminating(each)]):
            self.world.pod_is_gone(going[index % len(going)]["metadata"]["name"])
        elif action == "update":
            self.world.change_spec(DAEMONSETS, "agent", template=template(f"a:{index % 3}"))

    def settle(self) -> None:
        for _ in range(200):
            before = self.world.writes
            self.reconcile()
            for _ in self.world.all(PODS):
                self.act("end", 0)
                self.act("start", 0)
            if self.world.writes == before:
                return
        raise AssertionError("never settles")

    def served(self) -> int:
        return len(
            {node_of(each) for each in self.world.all(PODS) if podstate.is_ready(each) and podstate.is_active(each)}
        )


turns = st.sampled_from(["reconcile"] * 4 + ["start"] * 3 + ["end"] * 2 + ["update"])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.sampled_from([{"maxUnavailable": 1}, {"maxUnavailable": "50%"}, {"maxSurge": 1, "maxUnavailable": 0}]),
    st.lists(st.tuples(turns, st.integers(0, 5)), max_size=60),
)
def test_daemon_set_update_keeps_nodes_served(count: int, rolling: Json, steps: list[tuple[str, int]]) -> None:
    it = Daemons(count, **rolling)
    it.settle()
    assert it.served() == count
    missing = {"50%": -(-count // 2)}.get(rolling["maxUnavailable"], rolling["maxUnavailable"])
    for action, index in [("update", 2), *steps]:
        it.act(action, index)
        assert it.served() >= count - missing
        per_node = [node_of(each) for each in it.world.all(PODS) if podstate.is_active(each)]
        surplus = len(per_node) - len(set(per_node))
        assert surplus <= rolling.get("maxSurge", 0)
    it.settle()
    status = it.owner["status"]
    assert status["desiredNumberScheduled"] == status["numberAvailable"] == status["updatedNumberScheduled"] == count
    assert len(it.world.all(PODS)) == count


def test_replica_set_names_its_pods_after_itself() -> None:
    made = [each.obj for each in step(replica_set(2), []) if isinstance(each, Create)]
    assert [each["metadata"]["generateName"] for each in made] == ["a-", "a-"]
    assert made[0]["metadata"]["ownerReferences"][0]["kind"] == REPLICASETS.kind
