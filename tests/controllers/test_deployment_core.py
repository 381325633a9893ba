"""A Deployment's decisions: histories of updates at random, tables of sizes and conditions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.world import World

from fairlead.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from fairlead.controllers import podstate
from fairlead.controllers.conditions import condition
from fairlead.controllers.deployment import core, names, rollout
from fairlead.controllers.deployment import status as statuses
from fairlead.controllers.ownership import controller_uid
from fairlead.controllers.replicaset import core as replicas

Json = dict[str, Any]


def deployment(replicas: int = 3, image: str = "web:1", **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def template(image: str) -> Json:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}}


class Rollout:
    """One Deployment with its ReplicaSets and pods, each controller run when the test says so."""

    def __init__(self, obj: Json) -> None:
        self.world = World()
        self.world.add(DEPLOYMENTS, obj)

    @property
    def deployment(self) -> Json:
        return self.world.get(DEPLOYMENTS, "web")

    @property
    def pods(self) -> list[Json]:
        return self.world.all(PODS)

    def sets(self) -> list[Json]:
        return sorted(self.world.all(REPLICASETS), key=names.age_order)

    def image(self, obj: Json) -> str:
        spec = obj["spec"].get("template", obj)["spec"]
        return str(spec["containers"][0]["image"])

    def deploy(self) -> None:
        owned = self.sets()
        wanted = self.image(self.deployment)
        old = {each["metadata"]["uid"] for each in owned if self.image(each) != wanted}
        exist = any(controller_uid(pod) in old for pod in self.pods)
        self.world.apply(core.reconcile(self.deployment, owned, [], old_pods_exist=exist, now=self.world.now))

    def replicate(self, index: int) -> None:
        sets = self.sets()
        if sets:
            owner = sets[index % len(sets)]
            owned = [pod for pod in self.pods if controller_uid(pod) == owner["metadata"]["uid"]]
            self.world.apply(
                replicas.reconcile(
                    replicas.REPLICA_SET, owner, owned, [], related_per_node={}, failure=None, now=self.world.now
                )
            )

    def start(self, index: int) -> None:
        """One pod becomes ready."""
        waiting = [pod for pod in self.pods if podstate.is_active(pod) and not podstate.is_ready(pod)]
        if waiting:
            self.world.pod_becomes(waiting[index % len(waiting)]["metadata"]["name"])

    def end(self, index: int) -> None:
        """One deleted pod is gone."""
        going = [pod for pod in self.pods if podstate.is_terminating(pod)]
        if going:
            self.world.pod_is_gone(going[index % len(going)]["metadata"]["name"])

    def update(self, image: str) -> None:
        self.world.change_spec(DEPLOYMENTS, "web", template=template(image))

    def settle(self) -> None:
        """Run everything until nothing is written any more."""
        for _ in range(200):
            before = self.world.writes
            self.deploy()
            for index in range(len(self.sets())):
                self.replicate(index)
            for _ in range(len(self.pods)):
                self.end(0)
                self.start(0)
            if self.world.writes == before:
                return
        raise AssertionError("never settles")

    def available(self) -> int:
        return sum(podstate.is_ready(pod) and podstate.is_active(pod) for pod in self.pods)


share = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda number: f"{number}%"))
step = st.tuples(st.sampled_from(["deploy", "replicate", "start", "end", "update"]), st.integers(0, 7))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), share, share, st.lists(step, max_size=80))
def test_rolling_update_keeps_its_bounds(
    wanted: int, surge: Any, unavailable: Any, steps: list[tuple[str, int]]
) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    it = Rollout(deployment(wanted, strategy=rolling))
    it.settle()
    assert it.available() == wanted
    most, least = names.surge_and_unavailable(it.deployment)
    for action, index in [("update", 1), *steps]:
        if action == "update":
            it.update(f"web:{index % 3 + 1}")
        else:
            getattr(it, action)(*([] if action == "deploy" else [index]))
        assert sum(each["spec"]["replicas"] for each in it.sets()) <= wanted + most
        assert it.available() >= wanted - least
    it.settle()
    assert {it.image(pod) for pod in it.pods} == {it.image(it.deployment)}
    assert len(it.pods) == it.available() == wanted
    progressing = condition(it.deployment, "Progressing")
    assert progressing is not None
    assert progressing["reason"] == names.AVAILABLE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 8), st.lists(step, max_size=60))
def test_recreate_never_mixes_templates(wanted: int, steps: list[tuple[str, int]]) -> None:
    it = Rollout(deployment(wanted, strategy={"type": "Recreate"}))
    it.settle()
    it.update("web:2")
    for action, index in steps:
        if action == "update":
            continue
        getattr(it, action)(*([] if action == "deploy" else [index]))
        assert len({it.image(pod) for pod in it.pods}) <= 1
    it.settle()
    assert {it.image(pod) for pod in it.pods} <= {"web:2"}
    assert len(it.pods) == wanted


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10), st.integers(0, 12), st.lists(step, max_size=30))
def test_resized_amid_a_rollout(wanted: int, then: int, steps: list[tuple[str, int]]) -> None:
    it = Rollout(deployment(wanted))
    it.settle()
    it.update("web:2")
    for action, index in steps:
        if action != "update":
            getattr(it, action)(*([] if action == "deploy" else [index]))
    it.world.change_spec(DEPLOYMENTS, "web", replicas=then)
    it.deploy()
    it.settle()
    assert len(it.pods) == it.available() == then
    assert {it.image(pod) for pod in it.pods} <= {"web:2"}


def replica_set(size: int, available: int | None = None, *, maximum: int = 0, at: int = 0, image: str = "old") -> Json:
    annotations = {names.MAXIMUM: str(maximum)} if maximum else {}
    return {
        "metadata": {
            "name": f"rs-{at}",
            "uid": f"uid-{at}",
            "creationTimestamp": f"2026-01-01T00:00:{at:02}Z",
            "annotations": annotations,
        },
        "spec": {"replicas": size, "template": template(image)},
        "status": {"replicas": size, "availableReplicas": size if available is None else available},
    }


@pytest.mark.parametrize(
    ("title", "wanted", "old", "new", "expected"),
    [
        # The figures of the Kubernetes documentation: 10 replicas, maxSurge 3, scaled to 15 in the midst of a rollout.
        ("proportional growth", 15, replica_set(8, maximum=13, at=1), replica_set(5, 0, maximum=13, at=2), [11, 7]),
        ("proportional shrinking", 5, replica_set(8, maximum=13, at=1), replica_set(5, 0, maximum=13, at=2), [5, 3]),
        ("to nothing", 0, replica_set(8, maximum=13, at=1), replica_set(5, 0, maximum=13, at=2), [0, 0]),
        ("new one complete", 5, replica_set(2, maximum=13, at=1), replica_set(5, maximum=13, at=2), [0, 5]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_proportional(title: str, wanted: int, old: Json, new: Json, expected: list[int]) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    sizes = {
        found["metadata"]["name"]: size
        for found, size in rollout.proportional(deployment(wanted, strategy=strategy), new, [old])
    }
    assert [sizes.get("rs-1", 2), sizes.get("rs-2", 5)] == expected, title


@pytest.mark.parametrize(
    ("title", "old", "new", "expected"),
    [
        ("nothing new is available", replica_set(10, at=1), replica_set(3, 0, at=2), 8),
        ("three new ones are", replica_set(8, at=1), replica_set(5, 3, at=2), 5),
        ("broken old pods go first", replica_set(10, 4, at=1), replica_set(3, 3, at=2), 5),
        ("status lags behind a scale-down", replica_set(8, 10, at=1), replica_set(3, 0, at=2), 8),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shrinking_the_old_one(title: str, old: Json, new: Json, expected: int) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    sizes = [size for _, size in rollout.shrink_old(deployment(10, strategy=strategy), new, [old])]
    assert (sizes or [old["spec"]["replicas"]]) == [expected], title


def test_no_progress_until_the_deadline() -> None:
    it = Rollout(deployment(2, progressDeadlineSeconds=60))
    it.deploy()
    it.replicate(0)
    it.deploy()
    before = condition(it.deployment, "Progressing")
    assert before is not None
    assert before["status"] == "True"
    wait = statuses.deadline_in(it.deployment, it.deployment["status"], it.world.now)
    assert wait is not None
    it.world.now += wait
    it.deploy()
    found = condition(it.deployment, "Progressing")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "ProgressDeadlineExceeded")
    name = it.sets()[0]["metadata"]["name"]
    assert found["message"] == f'ReplicaSet "{name}" has timed out progressing.'
    it.settle()
    found = condition(it.deployment, "Progressing")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", names.AVAILABLE)


def test_paused_rollout_waits_and_scales() -> None:
    it = Rollout(deployment(2))
    it.settle()
    it.world.change_spec(DEPLOYMENTS, "web", paused=True, template=template("web:2"), replicas=4)
    it.settle()
    assert {it.image(pod) for pod in it.pods} == {"web:1"}
    assert len(it.pods) == 4
    it.world.change_spec(DEPLOYMENTS, "web", paused=False)
    it.settle()
    assert {it.image(pod) for pod in it.pods} == {"web:2"}


def test_history_is_limited_and_revisions_count_up() -> None:
    it = Rollout(deployment(1, revisionHistoryLimit=2))
    for number in range(1, 6):
        it.update(f"web:{number}")
        it.settle()
    revisions = {it.image(each): each["metadata"]["annotations"][names.REVISION] for each in it.sets()}
    assert revisions == {"web:3": "3", "web:4": "4", "web:5": "5"}
    it.update("web:3")
    it.settle()
    annotations = next(each for each in it.sets() if it.image(each) == "web:3")["metadata"]["annotations"]
    assert (annotations[names.REVISION], annotations[names.REVISION_HISTORY]) == ("6", "3")
    assert it.deployment["metadata"]["annotations"][names.REVISION] == "6"
