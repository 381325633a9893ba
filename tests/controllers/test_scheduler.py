"""The scheduler's decisions against an oracle that reads the raw objects, its words, its preferences and its queue."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.cluster import Cluster
from fairlead.controllers.scheduler.decide import Placed, Rejected, decide
from fairlead.controllers.scheduler.queue import SchedulingQueue

Json = dict[str, Any]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def node(name: str, zone: str | None = "a", *, cpu: str = "4", pods: str = "110", **more: Any) -> Json:
    labels = {HOST: name, **({ZONE: zone} if zone else {}), **more.pop("labels", {})}
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": pods}
    return {"metadata": {"name": name, "labels": labels}, "spec": more, "status": {"allocatable": amounts}}


def pod(name: str = "p", app: str = "web", *, owner: str = "", cpu: str = "0", **spec: Any) -> Json:
    containers = [{"name": "main", "resources": {"requests": {"cpu": cpu}}, "ports": spec.pop("ports", [])}]
    metadata: Json = {"name": name, "namespace": spec.pop("namespace", "default"), "uid": name, "labels": {"app": app}}
    if owner:
        metadata["ownerReferences"] = [{"controller": True, "uid": owner, "kind": "ReplicaSet", "name": owner}]
    return {"metadata": metadata, "spec": {"containers": containers, **spec}}


def term(app: str, key: str) -> Json:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}


def affinity(kind: str, *terms: Json) -> Json:
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def spread(app: str, key: str, skew: int = 1, **more: Any) -> Json:
    return {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}},
        **more,
    }


def oracle(obj: Json, nodes: list[Json], placed: list[tuple[Json, str]]) -> set[str]:
    """The nodes on which `obj` may run, read from the definitions one by one."""
    by_name = {each["metadata"]["name"]: each for each in nodes}
    spec = obj["spec"]

    def labels(name: str) -> dict[str, str]:
        return dict(by_name[name]["metadata"]["labels"])

    def app(other: Json) -> str:
        return str(other["metadata"]["labels"]["app"])

    def selects(entry: Json, other: Json) -> bool:
        return bool(entry["labelSelector"]["matchLabels"]["app"] == app(other))

    def terms(of: Json, kind: str) -> list[Json]:
        found = of["spec"].get("affinity", {}).get(kind, {})
        return list(found.get("requiredDuringSchedulingIgnoredDuringExecution", []))

    def together(one: str, other: str, key: str) -> bool:
        return key in labels(one) and labels(one).get(key) == labels(other).get(key)

    def milli(of: Json) -> int:
        text = of["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        return int(text[:-1]) if text.endswith("m") else int(text) * 1000

    def fits_selector(name: str) -> bool:
        return all(labels(name).get(key) == value for key, value in spec.get("nodeSelector", {}).items())

    def fits_spread(name: str) -> bool:
        constraints = spec.get("topologySpreadConstraints", [])
        eligible = [
            each
            for each in by_name
            if fits_selector(each) and all(c["topologyKey"] in labels(each) for c in constraints)
        ]
        for constraint in constraints:
            key = constraint["topologyKey"]
            if key not in labels(name):
                return False
            numbers = {labels(each)[key]: 0 for each in eligible}
            for other, where in placed:
                if (
                    where in eligible
                    and selects(constraint, other)
                    and other["metadata"]["namespace"] == obj["metadata"]["namespace"]
                ):
                    numbers[labels(where)[key]] += 1
            least = min(numbers.values(), default=0) if len(numbers) >= constraint.get("minDomains", 1) else 0
            if numbers.get(labels(name)[key], 0) + selects(constraint, obj) - least > constraint["maxSkew"]:
                return False
        return True

    def fits_affinity(name: str) -> bool:
        same = [
            (other, where) for other, where in placed if other["metadata"]["namespace"] == obj["metadata"]["namespace"]
        ]
        wanted = terms(obj, "podAffinity")
        if any(each["topologyKey"] not in labels(name) for each in wanted):
            return False
        friends = [where for other, where in same if wanted and all(selects(each, other) for each in wanted)]
        anywhere = any(each["topologyKey"] in labels(where) for each in wanted for where in friends)
        if not (wanted and not anywhere and all(selects(each, obj) for each in wanted)) and not all(
            any(together(where, name, each["topologyKey"]) for where in friends) for each in wanted
        ):
            return False
        for each in terms(obj, "podAntiAffinity"):
            if any(selects(each, other) and together(where, name, each["topologyKey"]) for other, where in same):
                return False
        return not any(
            selects(each, obj) and together(where, name, each["topologyKey"])
            for other, where in same
            for each in terms(other, "podAntiAffinity")
        )

    def fits(name: str) -> bool:
        here = [other for other, where in placed if where == name]
        taints = by_name[name]["spec"].get("taints", [])
        tolerated = {each["key"] for each in spec.get("tolerations", [])}
        ports = [port["hostPort"] for port in spec["containers"][0]["ports"]]
        return (
            all(taint["key"] in tolerated for taint in taints if taint["effect"] != "PreferNoSchedule")
            and not by_name[name]["spec"].get("unschedulable")
            and fits_selector(name)
            and len(here) < int(by_name[name]["status"]["allocatable"]["pods"])
            and sum(map(milli, here)) + milli(obj) <= int(by_name[name]["status"]["allocatable"]["cpu"]) * 1000
            and not any(port["hostPort"] in ports for other in here for port in other["spec"]["containers"][0]["ports"])
            and fits_spread(name)
            and fits_affinity(name)
        )

    return {name for name in by_name if fits(name)}


apps, keys = st.sampled_from(["web", "db", "api"]), st.sampled_from([ZONE, HOST])
nodes_ = st.lists(
    st.builds(
        lambda zone, cpu, pods, taint, cordon, disk: {
            "zone": zone,
            "cpu": cpu,
            "pods": pods,
            "labels": {"disk": disk},
            **({"taints": [{"key": "gpu", "effect": taint}]} if taint else {}),
            **({"unschedulable": True} if cordon else {}),
        },
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["2", "3", "9"]),
        st.sampled_from(["", "", "", "NoSchedule", "PreferNoSchedule", "NoExecute"]),
        st.sampled_from([False] * 5 + [True]),
        st.sampled_from(["ssd", "hdd"]),
    ),
    min_size=1,
    max_size=6,
)
pod_ = st.builds(
    lambda app, namespace, cpu, selector, tolerates, port, near, far, spreads, owner: {
        "app": app,
        "namespace": namespace,
        "cpu": cpu,
        "owner": owner,
        **({"nodeSelector": {"disk": selector}} if selector else {}),
        **({"tolerations": [{"key": "gpu", "operator": "Exists"}]} if tolerates else {}),
        **({"ports": [{"hostPort": 80}]} if port else {}),
        **({"affinity": affinity("podAffinity", *near) | affinity("podAntiAffinity", *far)} if near or far else {}),
        **({"topologySpreadConstraints": spreads} if spreads else {}),
    },
    apps,
    st.sampled_from(["default", "default", "other"]),
    st.sampled_from(["0", "300m", "900m"]),
    st.sampled_from(["", "", "", "ssd"]),
    st.booleans(),
    st.sampled_from([False] * 5 + [True]),
    st.lists(st.builds(term, apps, keys), max_size=2).map(lambda found: found if len(found) < 2 else found[:1]),
    st.lists(st.builds(term, apps, keys), max_size=1),
    st.lists(st.builds(spread, apps, keys, st.integers(1, 2), minDomains=st.integers(1, 3)), max_size=2),
    st.sampled_from(["", "rs-1"]),
)


@settings(max_examples=150, deadline=None)
@given(nodes_, st.lists(st.tuples(pod_, st.integers(0, 9)), min_size=1, max_size=12))
def test_every_decision_is_what_the_definitions_allow(specs: list[Json], wishes: list[tuple[Json, int]]) -> None:
    nodes = [node(f"node-{index}", **spec) for index, spec in enumerate(specs)]
    cluster = Cluster()
    for each in nodes:
        cluster.set_node(each["metadata"]["name"], facts.node_of(each))
    placed: list[tuple[Json, str]] = []
    for index, (wish, leaving) in enumerate(wishes):
        obj = pod(f"p-{index}", **wish)
        allowed = oracle(obj, nodes, placed)
        decision = decide(facts.pod_of(obj), cluster)
        if isinstance(decision, Rejected):
            assert not allowed, decision.message
        else:
            assert decision.node in allowed
            cluster.place(facts.pod_of(obj), decision.node)
            placed.append((obj, decision.node))
        if leaving == 0 and placed:
            cluster.remove(placed.pop(0)[0]["metadata"]["uid"])
        fresh = Cluster()
        for each in nodes:
            fresh.set_node(each["metadata"]["name"], facts.node_of(each))
        for other, where in placed:
            fresh.place(facts.pod_of(other), where)
        probe = facts.pod_of(pod("probe", **wish))
        assert decide(probe, cluster) == decide(probe, fresh), "incremental equals from scratch"


def cluster_of(*nodes: Json) -> Cluster:
    cluster = Cluster()
    for each in nodes:
        cluster.set_node(each["metadata"]["name"], facts.node_of(each))
    return cluster


def place_all(cluster: Cluster, pods: list[Json]) -> list[str]:
    found = []
    for obj in pods:
        decision = decide(facts.pod_of(obj), cluster)
        assert isinstance(decision, Placed), decision
        cluster.place(facts.pod_of(obj), decision.node)
        found.append(decision.node)
    return found


@pytest.mark.parametrize(
    ("title", "nodes", "wish", "message"),
    [
        ("no nodes", [], pod(), "no nodes available to schedule pods"),
        (
            "selector",
            [node("n1"), node("n2")],
            pod(nodeSelector={"disk": "ssd"}),
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are "
            "available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            "taint and too little",
            [node("n1", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]), node("n2", cpu="1")],
            pod(cpu="2"),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}. preemption: 0/2 nodes "
            "are available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            "cordoned",
            [node("n1", unschedulable=True)],
            pod(),
            "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling.",
        ),
        (
            "affinity to nobody",
            [node("n1")],
            pod(affinity=affinity("podAffinity", term("db", ZONE))),
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. preemption: 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling.",
        ),
        (
            "no label for spread",
            [node("n1", None)],
            pod(topologySpreadConstraints=[spread("web", ZONE)]),
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            "full",
            [node("n1", pods="0")],
            pod(),
            "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 25 else "",
)
def test_words_of_a_refusal(title: str, nodes: list[Json], wish: Json, message: str) -> None:
    decision = decide(facts.pod_of(wish), cluster_of(*nodes))
    assert isinstance(decision, Rejected), title
    assert decision.message == message


ZONES = [node("node-1", "a"), node("node-2", "b"), node("node-3", "c"), node("node-4", "a")]


def preferring(kind: str, *entries: Json) -> Json:
    return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": list(entries)}}


@pytest.mark.parametrize(
    ("title", "nodes", "pods", "expected"),
    [
        ("pods of one owner go to different zones and hosts", ZONES, [pod(f"p{n}", owner="rs") for n in range(4)], 4),
        (
            "preferred anti-affinity",
            ZONES[:2],
            [
                pod(
                    f"p{n}",
                    affinity=preferring("podAntiAffinity", {"weight": 100, "podAffinityTerm": term("web", HOST)}),
                )
                for n in range(2)
            ],
            2,
        ),
        (
            "preferred affinity",
            ZONES,
            [
                pod(f"p{n}", affinity=preferring("podAffinity", {"weight": 100, "podAffinityTerm": term("web", HOST)}))
                for n in range(3)
            ],
            1,
        ),
        (
            "preferred spread",
            ZONES[:3],
            [
                pod(f"p{n}", topologySpreadConstraints=[{**spread("web", ZONE), "whenUnsatisfiable": "ScheduleAnyway"}])
                for n in range(3)
            ],
            3,
        ),
        ("what is free", ZONES, [pod(f"p{n}", cpu="1") for n in range(4)], 4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_preferences(title: str, nodes: list[Json], pods: list[Json], expected: int) -> None:
    assert len(set(place_all(cluster_of(*nodes), pods))) == expected, title


def test_preferred_node_affinity_and_soft_taint() -> None:
    nodes = [
        node("n1", taints=[{"key": "x", "effect": "PreferNoSchedule"}]),
        node("n2"),
        node("n3", labels={"disk": "ssd"}),
    ]
    preference = {
        "weight": 10,
        "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
    }
    assert place_all(cluster_of(*nodes), [pod(affinity=preferring("nodeAffinity", preference))]) == ["n3"]
    assert place_all(cluster_of(*nodes[:2]), [pod()]) == ["n2"]


def test_namespace_selector_follows_the_labels_of_namespaces() -> None:
    cluster = cluster_of(node("n1", "a"), node("n2", "b"))
    cluster.set_namespace("other", {"team": "x"})
    cluster.place(facts.pod_of(pod("there", "db", namespace="other")), "n1")
    near = {**term("db", ZONE), "namespaceSelector": {"matchLabels": {"team": "x"}}}
    wish = facts.pod_of(pod(affinity=affinity("podAffinity", near)))
    assert decide(wish, cluster) == Placed("n1")
    cluster.set_namespace("other", {"team": "y"})
    assert isinstance(decide(wish, cluster), Rejected)


def test_pods_with_many_constraints_are_placed_fast() -> None:
    cluster = cluster_of(*(node(f"node-{n}", "abc"[n % 3], cpu="64") for n in range(20)))
    far = preferring("podAntiAffinity", {"weight": 100, "podAffinityTerm": term("web", HOST)})
    pods = [
        pod(f"p{n}", owner="rs", cpu="100m", affinity=far, topologySpreadConstraints=[spread("web", ZONE)])
        for n in range(500)
    ]
    began = time.process_time()
    place_all(cluster, pods)
    assert 500 / (time.process_time() - began) > 100, "pods per second of CPU"


def queued(name: str, priority: int = 0, created: str = "2026-01-01T00:00:00Z") -> facts.Pod:
    obj = pod(name, priority=priority)
    obj["metadata"]["creationTimestamp"] = created
    return facts.pod_of(obj)


def test_queue_gives_the_important_and_the_old_first() -> None:
    queue = SchedulingQueue()
    for each in (
        queued("young", 0, "2026-01-02T00:00:00Z"),
        queued("old"),
        queued("important", 5, "2026-01-03T00:00:00Z"),
    ):
        queue.add(each, 0.0)
    assert [each.uid if (each := queue.take(0.0)) else None for _ in range(4)] == ["important", "old", "young", None]


def test_queue_wakes_for_what_may_help_and_not_before_its_back_off() -> None:
    queue = SchedulingQueue()
    queue.add(queued("p"), 0.0)
    assert queue.take(0.0)
    queue.park("p", frozenset({"node"}), 0.0)
    queue.wake(["pod-gone"], 1.0)
    assert queue.take(1.0) is None
    queue.wake(["node"], 0.1)
    assert queue.take(0.1) is None
    assert queue.next_due() == pytest.approx(0.2)
    assert queue.take(0.2)
    queue.park("p", frozenset({"node"}), 1.0)
    assert queue.next_due() == pytest.approx(61.0)
    assert queue.take(61.0), "tried anyway after a minute"
    queue.remove("p")
    assert queue.take(1000.0) is None
    assert "p" not in queue
