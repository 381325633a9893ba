"""Ownership of fields over the wire: every write is recorded under its manager, and server-side apply respects it."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_client import Http, Json, config_map, pod
from tests.apiserver.test_verbs import APPLY, DEPLOYMENTS, MAPS, MERGE, PODS, definition, deployment

from fairlead.apiserver.server import Server

JSON_PATCH = "application/json-patch+json"


def managers(obj: Json) -> list[tuple[str, ...]]:
    """Return (manager, operation, subresource) of each entry, in their order."""
    return [
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in obj["metadata"].get("managedFields", ())
    ]


def owned(obj: Json, name: str) -> Any:
    return next(entry["fieldsV1"] for entry in obj["metadata"]["managedFields"] if entry["manager"] == name)


async def test_writes_are_recorded_under_agent_or_manager(http: Http) -> None:
    made = await http.ok("POST", MAPS, config_map("a", x="1"), headers={"User-Agent": "tool/v1.2 (linux)"})
    assert managers(made) == [("tool", "Update", "")]
    made["data"]["x"] = "2"
    put = await http.ok("PUT", f"{MAPS}/a?fieldManager=editor", made)
    assert managers(put) == [("editor", "Update", ""), ("tool", "Update", "")]
    assert owned(put, "editor") == {"f:data": {"f:x": {}}}
    assert owned(put, "tool") == {"f:data": {}}
    same = await http.ok("PUT", f"{MAPS}/a?fieldManager=idle", put)
    assert same == put
    gone = await http.ok("PATCH", f"{MAPS}/a?fieldManager=cleaner", {"data": {"x": None}}, type=MERGE)
    assert managers(gone) == []


async def test_what_the_server_adds_is_nobodys(http: Http) -> None:
    made = await http.ok("POST", f"{PODS}?fieldManager=me", pod("p"))
    spec = owned(made, "me")["f:spec"]
    assert "f:restartPolicy" in spec, "defaults are the writer's"
    assert "f:serviceAccountName" not in spec, "what admission sets is not"
    assert "f:status" not in owned(made, "me")
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await http.ok("POST", f"{PODS}/p/binding", binding)
    assert managers(await http.ok("GET", f"{PODS}/p")) == [("me", "Update", "")]


async def test_subresources_are_managers_of_their_own(http: Http) -> None:
    await http.ok("POST", f"{DEPLOYMENTS}?fieldManager=me", deployment("d"))
    await http.ok("PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=me", {"status": {"replicas": 1}}, type=MERGE)
    await http.ok("PATCH", f"{DEPLOYMENTS}/d/scale?fieldManager=me", {"spec": {"replicas": 4}}, type=MERGE)
    found = await http.ok("GET", f"{DEPLOYMENTS}/d")
    assert sorted(managers(found)) == [("me", "Update", ""), ("me", "Update", "scale"), ("me", "Update", "status")]
    by_subresource = {entry.get("subresource", ""): entry["fieldsV1"] for entry in found["metadata"]["managedFields"]}
    assert by_subresource["scale"] == {"f:spec": {"f:replicas": {}}}
    assert by_subresource["status"] == {"f:status": {"f:replicas": {}}}
    assert "f:replicas" not in by_subresource[""]["f:spec"]


async def test_conflicts_with_updates_and_force(http: Http) -> None:
    await http.ok("POST", f"{DEPLOYMENTS}?fieldManager=maker", deployment("d", replicas=1))
    wanted: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}}
    refused = await http("PATCH", f"{DEPLOYMENTS}/d?fieldManager=me", wanted, type=APPLY)
    assert refused.code == 409
    assert refused.message == 'Apply failed with 1 conflict: conflict with "maker" using apps/v1: .spec.replicas'
    trial = await http.ok("PATCH", f"{DEPLOYMENTS}/d?fieldManager=me&force=true&dryRun=All", wanted, type=APPLY)
    assert trial["spec"]["replicas"] == 3
    assert (await http.ok("GET", f"{DEPLOYMENTS}/d"))["spec"]["replicas"] == 1
    forced = await http.ok("PATCH", f"{DEPLOYMENTS}/d?fieldManager=me&force=true", wanted, type=APPLY)
    assert managers(forced) == [("me", "Apply", ""), ("maker", "Update", "")]
    assert "f:replicas" not in owned(forced, "maker")["f:spec"]
    del wanted["spec"]
    back = await http.ok("PATCH", f"{DEPLOYMENTS}/d?fieldManager=me", wanted, type=APPLY)
    assert back["spec"]["replicas"] == 1, "the default fills in for what nobody states"


async def test_status_is_applied_through_its_subresource_alone(http: Http) -> None:
    await http.ok("POST", DEPLOYMENTS, deployment("d"))
    both: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 5}, "spec": {"replicas": 9}}
    after = await http.ok("PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=controller", both, type=APPLY)
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (1, 5)
    assert owned(after, "controller") == {"f:status": {"f:replicas": {}}}
    after = await http.ok("PATCH", f"{DEPLOYMENTS}/d?fieldManager=user&force=true", both, type=APPLY)
    assert owned(after, "user") == {"f:spec": {"f:replicas": {}}}


async def test_entries_can_be_cleared_and_restated(http: Http) -> None:
    await http.ok("POST", f"{MAPS}?fieldManager=me", config_map("a", x="1"))
    clear = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    assert managers(await http.ok("PATCH", f"{MAPS}/a", clear, type=JSON_PATCH)) == []
    assert managers(await http.ok("PATCH", f"{MAPS}/a", {"data": {"y": "1"}}, type=MERGE)) == []
    stated = await http.ok("PATCH", f"{MAPS}/a?fieldManager=you", config_map("a", x="1"), type=APPLY)
    assert managers(stated) == [("you", "Apply", ""), ("before-first-apply", "Update", "")]


async def test_kubectl_may_go_over_to_the_server_side_without_conflict(http: Http) -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    first = config_map("a", x="1")
    first["metadata"]["annotations"] = {annotation: '{"data":{"x":"1"}}'}
    await http.ok("POST", f"{MAPS}?fieldManager=kubectl-client-side-apply", first)
    wanted = config_map("a", x="2")
    assert (await http("PATCH", f"{MAPS}/a?fieldManager=other", wanted, type=APPLY)).code == 409
    after = await http.ok("PATCH", f"{MAPS}/a?fieldManager=kubectl", wanted, type=APPLY)
    assert after["data"] == {"x": "2"}
    assert '"x":"2"' in after["metadata"]["annotations"][annotation]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"metadata": {"managedFields": [{"manager": "x"}]}}, "metadata.managedFields must be nil"),
        ({"spec": {"containers": [{"image": "x"}]}}, 'omits key field "name"'),
        ({"spec": {"containers": {"name": "x"}}}, "failed to create typed patch object"),
        ({"kind": "ConfigMap"}, "does not match"),
        (["x"], "must be an object"),
    ],
)
async def test_bad_configurations_are_refused(http: Http, body: Any, words: str) -> None:
    answer = await http("PATCH", f"{PODS}/p?fieldManager=me", body, type=APPLY)
    assert answer.code == 400, answer.body
    assert words in answer.message


async def test_custom_resources_are_tracked_by_their_schema(http: Http, server: Server) -> None:
    crd = definition()
    version = crd["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"].setdefault("properties", {})
    spec["spec"] = {
        "type": "object",
        "properties": {
            "rules": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                },
            }
        },
    }
    await http.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
    path = f"/apis/{group}/{version['name']}/namespaces/default/{plural}/w"

    def wanted(*names: str) -> Json:
        rules = [{"name": name, "port": 1} for name in names]
        return {
            "apiVersion": f"{group}/{version['name']}",
            "kind": crd["spec"]["names"]["kind"],
            "spec": {"rules": rules},
        }

    await http.ok("PATCH", f"{path}?fieldManager=one", wanted("a"), type=APPLY)
    await http.ok("PATCH", f"{path}?fieldManager=two", wanted("b"), type=APPLY)
    both = await http.ok("PATCH", f"{path}?fieldManager=one", wanted("c"), type=APPLY)
    assert [rule["name"] for rule in both["spec"]["rules"]] == ["b", "c"]
