"""Slices against an evaluation of their own, and how little is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.world import World

from fairlead.api.resources import ENDPOINTS, ENDPOINTSLICES
from fairlead.controllers.actions import Create, Delete, Replace
from fairlead.controllers.endpoints import desired, legacy, slices

Json = dict[str, Any]
ZONES = {"node-1": "zone-a", "node-2": "zone-b"}


def service(**spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "service", "labels": {"tier": "front"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.5",
            "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
            **spec,
        },
    }


def pod(number: int, *, port: int = 8080, ready: bool = True, node: str = "node-1", **more: Any) -> Json:
    name = f"web-{number}"
    metadata: Json = {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}}
    if more.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ports = [{"name": "http", "containerPort": port}] if port else []
    spec: Json = {"nodeName": node, "containers": [{"name": "main", "ports": ports}], **more.get("spec", {})}
    addresses = [] if more.get("bare") else [f"10.244.{number // 250}.{number % 250}", f"fd10:244::{number:x}"]
    return {
        "metadata": metadata,
        "spec": spec,
        "status": {
            "phase": more.get("phase", "Running"),
            "podIPs": [{"ip": address} for address in addresses],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


class Kept:
    """A Service whose slices are kept over a history of pods."""

    def __init__(self, obj: Json) -> None:
        self.world = World()
        self.service = obj

    def reconcile(self, pods: list[Json]) -> list[Any]:
        existing = self.world.all(ENDPOINTSLICES)
        actions = slices.reconcile(self.service, pods, existing, ZONES, trigger_time=None)
        self.world.apply(actions)
        return actions

    def rows(self) -> list[tuple[str, tuple[Any, ...], str, bool, bool, bool, str]]:
        return sorted(
            (
                each["addressType"],
                tuple(port["port"] for port in each["ports"]),
                endpoint["addresses"][0],
                *(endpoint["conditions"][kind] for kind in ("ready", "serving", "terminating")),
                endpoint["zone"],
            )
            for each in self.world.all(ENDPOINTSLICES)
            for endpoint in each["endpoints"]
        )


def evaluated(obj: Json, pods: list[Json]) -> list[Any]:
    """The rows that should be there, written down from the API's documentation."""
    rows = []
    for each in pods:
        if each["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        ready = each["status"]["conditions"][0]["status"] == "True"
        going = "deletionTimestamp" in each["metadata"]
        numbers = tuple(port["containerPort"] for port in each["spec"]["containers"][0]["ports"])
        shown = bool(obj["spec"].get("publishNotReadyAddresses")) or (ready and not going)
        for address in (entry["ip"] for entry in each["status"]["podIPs"]):
            family = "IPv6" if ":" in address else "IPv4"
            if family in obj["spec"]["ipFamilies"]:
                rows.append((family, numbers, address, shown, ready, going, ZONES[each["spec"]["nodeName"]]))
    return sorted(rows)


change = st.tuples(
    st.integers(0, 8),
    st.sampled_from([8080, 8080, 9090, 0]),
    st.booleans(),
    st.sampled_from(["node-1", "node-2"]),
    st.sampled_from(["Running", "Running", "Running", "Failed", "gone", "bare", "terminating"]),
)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"]]), st.lists(change, max_size=25))
def test_slices_say_what_the_pods_are(anyway: bool, families: list[str], changes: list[Any]) -> None:
    obj = service(publishNotReadyAddresses=anyway, ipFamilies=families)
    kept = Kept(obj)
    pods: dict[int, Json] = {}
    for number, port, ready, node, fate in changes:
        if fate == "gone":
            pods.pop(number, None)
        else:
            more: Json = {fate: True} if fate in ("bare", "terminating") else {"phase": fate}
            pods[number] = pod(number, port=port, ready=ready, node=node, **more)
        kept.reconcile(list(pods.values()))
        assert kept.rows() == evaluated(obj, list(pods.values()))
        assert kept.reconcile(list(pods.values())) == [], "a second look writes nothing"
        shapes = [(each["addressType"], slices.ports_of(each)) for each in kept.world.all(ENDPOINTSLICES)]
        assert len(shapes) == len(set(shapes)), "no more slices than needed"
        assert {family for family, _ in shapes} == set(families)


@pytest.mark.parametrize(("anyway", "left"), [(False, {"10.244.0.1"}), (True, {"10.244.0.1", "10.244.0.2"})])
def test_pods_of_a_deleted_node_are_no_endpoints(anyway: bool, left: set[str]) -> None:
    """Nothing leads to them any more, and it takes the garbage collector a while to delete them."""
    kept = Kept(service(publishNotReadyAddresses=anyway, ipFamilies=["IPv4"]))
    kept.reconcile([pod(1), pod(2, node="deleted")])
    (found,) = kept.world.all(ENDPOINTSLICES)
    assert {each["addresses"][0] for each in found["endpoints"]} == left


def test_a_changed_pod_touches_one_slice_per_family() -> None:
    kept = Kept(service())
    pods = [pod(number) for number in range(250)]
    assert len(kept.reconcile(pods)) == 6
    assert sorted(len(each["endpoints"]) for each in kept.world.all(ENDPOINTSLICES)) == [50, 50, 100, 100, 100, 100]
    pods[17] = pod(17, ready=False)
    actions = kept.reconcile(pods)
    assert [type(action) for action in actions] == [Replace, Replace]
    del pods[120]
    assert len(kept.reconcile(pods)) == 2
    assert len(kept.reconcile([*pods, pod(300)])) == 2
    kept.reconcile(pods[:10])
    assert len(kept.world.all(ENDPOINTSLICES)) == 2


def test_a_slice_without_use_is_rewritten_rather_than_deleted() -> None:
    kept = Kept(service(ipFamilies=["IPv4"]))
    kept.reconcile([])
    (empty,) = kept.world.all(ENDPOINTSLICES)
    assert (empty["endpoints"], empty["ports"]) == ([], [])
    (action,) = kept.reconcile([pod(1)])
    assert isinstance(action, Replace)
    (found,) = kept.world.all(ENDPOINTSLICES)
    assert found["metadata"]["name"] == empty["metadata"]["name"]


def test_metadata_of_a_slice() -> None:
    (action,) = slices.reconcile(
        service(clusterIP="None", ipFamilies=["IPv4"]), [pod(1)], [], ZONES, trigger_time="2026-01-01T00:00:00.000000Z"
    )
    assert isinstance(action, Create)
    assert action.obj["metadata"] == {
        "generateName": "web-",
        "namespace": "default",
        "labels": {
            "tier": "front",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "service.kubernetes.io/headless": "",
        },
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00.000000Z"},
        "ownerReferences": [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "name": "web",
                "uid": "service",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    assert action.obj["endpoints"] == [
        {
            "addresses": ["10.244.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "web-1"},
            "nodeName": "node-1",
            "zone": "zone-a",
        }
    ]


@pytest.mark.parametrize(
    ("title", "spec", "found", "expected"),
    [
        (
            "hostname of a headless one",
            {"clusterIP": "None"},
            {"spec": {"hostname": "a", "subdomain": "web"}},
            {"hostname": "a"},
        ),
        ("subdomain of another", {"clusterIP": "None"}, {"spec": {"hostname": "a", "subdomain": "db"}}, {}),
        ("zone hints", {"trafficDistribution": "PreferClose"}, {}, {"hints": {"forZones": [{"name": "zone-a"}]}}),
        (
            "node hints",
            {"trafficDistribution": "PreferSameNode"},
            {},
            {"hints": {"forNodes": [{"name": "node-1"}], "forZones": [{"name": "zone-a"}]}},
        ),
        ("no hints while not ready", {"trafficDistribution": "PreferClose"}, {"ready": False}, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_details_of_an_endpoint(title: str, spec: Json, found: Json, expected: Json) -> None:
    endpoint = desired.endpoint(service(**spec), pod(1, **found), "10.244.0.1", ZONES)
    assert {key: endpoint[key] for key in ("hostname", "hints") if key in endpoint} == expected, title


@pytest.mark.parametrize(
    ("title", "target", "expected"),
    [("a number", 8080, 8080), ("a name", "http", 8080), ("no target", None, 80), ("an unknown name", "grpc", None)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_target_ports(title: str, target: Any, expected: int | None) -> None:
    port = {"name": "x", "port": 80, "protocol": "TCP", **({"targetPort": target} if target else {})}
    found = desired.ports_of(service(ports=[port]), pod(1))
    assert [number for _, _, number, _ in found] == ([expected] if expected else []), title


def test_legacy_endpoints() -> None:
    pods = [pod(1), pod(2, ready=False), pod(3, terminating=True), pod(4, phase="Failed"), pod(5, bare=True)]
    (action,) = legacy.reconcile(service(), pods, None, trigger_time=None)
    assert isinstance(action, Create)
    (subset,) = action.obj["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["10.244.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.244.0.2"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    world = World()
    world.apply([action])
    assert legacy.reconcile(service(), pods, world.get(ENDPOINTS, "web"), trigger_time=None) == []
    (action,) = legacy.reconcile(service(), [], world.get(ENDPOINTS, "web"), trigger_time=None)
    assert isinstance(action, Replace)
    assert action.obj["subsets"] == []


def test_slices_of_others_are_not_ours() -> None:
    assert not slices.is_ours({"metadata": {"labels": {slices.SERVICE_NAME: "web"}}})
    assert not any(
        isinstance(action, Delete) for action in slices.reconcile(service(), [], [], ZONES, trigger_time=None)
    )
