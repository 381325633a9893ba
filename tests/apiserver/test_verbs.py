"""What each verb does, over HTTP, with the real server's codes and words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apiserver_client import TABLE, Http, Json, config_map, pod

from fairlead.apiserver.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
MERGE, STRATEGIC, APPLY = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def deployment(name: str, replicas: int = 1) -> Json:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}},
        },
    }


DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def bound(http: Http, name: str, **spec: Any) -> Json:
    await http.ok("POST", PODS, pod(name, **spec))
    await http.ok("POST", f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "node-1"}})
    return await http.ok("GET", f"{PODS}/{name}")


# Create.


async def test_create_fills_in_what_the_server_owns(http: Http):
    made = await http("POST", MAPS, config_map("a") | {"metadata": {"name": "a", "uid": "mine", "generation": 7}})
    assert made.code == 201
    metadata = made.body["metadata"]
    assert metadata["namespace"] == "default"
    assert metadata["uid"] not in ("", "mine")
    assert metadata["creationTimestamp"].endswith("Z")
    assert "generation" not in metadata
    assert (await http.ok("GET", f"{MAPS}/a")) == made.body


async def test_create_twice(http: Http):
    await http.ok("POST", MAPS, config_map("a"))
    again = await http("POST", MAPS, config_map("a"))
    assert (again.code, again.message) == (409, 'configmaps "a" already exists')
    assert again.body["details"] == {"name": "a", "kind": "configmaps"}
    await http.ok("POST", DEPLOYMENTS, deployment("d"))
    assert (await http("POST", DEPLOYMENTS, deployment("d"))).message == 'deployments.apps "d" already exists'


async def test_generated_names_differ(http: Http):
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"}}
    names = [(await http.ok("POST", MAPS, wanted))["metadata"]["name"] for _ in range(5)]
    assert len(set(names)) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (MAPS, config_map("a", "kube-system"), 400, "the namespace of the provided object does not match the namespace sent on the request"),
        ("/api/v1/namespaces/nowhere/configmaps", config_map("a", "nowhere"), 404, 'namespaces "nowhere" not found'),
        (MAPS, {"apiVersion": "v2", "kind": "ConfigMap"}, 400, "the API version in the data (v2) does not match the expected API version (v1)"),
        (MAPS, config_map("a") | {"metadata": {"name": "a", "resourceVersion": "5"}}, 500, "resourceVersion should not be set on objects to be created"),
        (PODS, pod("p", serviceAccountName="who"), 403, 'pods "p" is forbidden: error looking up service account default/who: serviceaccount "who" not found'),
    ],
)  # fmt: skip
async def test_create_refuses(http: Http, path: str, body: Json, code: int, message: str):
    answer = await http("POST", path, body)
    assert (answer.code, answer.message) == (code, message)
    assert answer.body["kind"] == "Status"


async def test_names_are_required(http: Http):
    answer = await http("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})
    assert answer.code == 422
    assert "metadata.name: Required value: name or generateName is required" in answer.message


async def test_pods_get_what_their_cluster_gives(http: Http):
    spec = (await http.ok("POST", PODS, pod("p")))["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["priority"] == 0
    assert [(one["key"], one["tolerationSeconds"]) for one in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]


async def test_unknown_fields_by_field_validation(http: Http):
    wrong = pod("p", colour="red")
    strict = await http("POST", f"{PODS}?fieldValidation=Strict", wrong)
    assert strict.code == 400
    assert 'strict decoding error: unknown field "spec.colour"' in strict.message
    warned = await http("POST", PODS, wrong)
    assert warned.code == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.colour\\""'
    await http.ok("DELETE", f"{PODS}/p")
    assert "Warning" not in (await http("POST", f"{PODS}?fieldValidation=Ignore", wrong)).headers


async def test_dry_run_leaves_no_trace(http: Http):
    made = await http("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert made.code == 201
    assert "resourceVersion" not in made.body["metadata"]
    assert (await http("GET", f"{MAPS}/a")).code == 404
    assert (await http("POST", f"{MAPS}?dryRun=Some", config_map("a"))).code == 400
    await http.ok("POST", MAPS, config_map("a", x="1"))
    assert (await http.ok("PATCH", f"{MAPS}/a?dryRun=All", {"data": {"x": "2"}}, type=MERGE))["data"]["x"] == "2"
    await http.ok("DELETE", f"{MAPS}/a", {"kind": "DeleteOptions", "dryRun": ["All"]})
    assert (await http.ok("GET", f"{MAPS}/a"))["data"] == {"x": "1"}


# Update and patch.


DRY_RUNS: dict[str, tuple[str, str, Any, str]] = {
    "create": ("POST", PODS, pod("new"), ""),
    "update": ("PUT", f"{DEPLOYMENTS}/d", {**deployment("d", 7), "metadata": {"name": "d", "labels": {"a": "b"}}}, ""),
    "patch": ("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 7}}, MERGE),
    "apply": ("PATCH", f"{DEPLOYMENTS}/d?fieldManager=me&force=true", deployment("d", 7), APPLY),
    "apply what is new": ("PATCH", f"{DEPLOYMENTS}/fresh?fieldManager=me", deployment("fresh"), APPLY),
    "status": ("PATCH", f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 7}}, MERGE),
    "scale": ("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 7}}, MERGE),
    "bind": ("POST", f"{PODS}/free/binding", {"target": {"kind": "Node", "name": "n"}}, ""),
    "evict": ("POST", f"{PODS}/bound/eviction", {"metadata": {"name": "bound"}}, ""),
    "delete": ("DELETE", f"{PODS}/bound", None, ""),
    "delete a collection": ("DELETE", PODS, None, ""),
    "debug": (
        "PATCH",
        f"{PODS}/free/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "look", "image": "busybox:1"}]}},
        STRATEGIC,
    ),
    "service": (
        "POST",
        "/api/v1/namespaces/default/services",
        {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30333}]}},
        "",
    ),
    "namespace": ("DELETE", "/api/v1/namespaces/doomed", None, ""),
    "definition": ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None, ""),
}


@pytest.mark.parametrize("case", DRY_RUNS)
async def test_a_dry_run_of_any_verb_answers_and_leaves_no_trace(http: Http, server: Server, case: str):
    await http.ok("POST", DEPLOYMENTS, deployment("d"))
    await http.ok("POST", PODS, pod("free"))
    await bound(http, "bound")
    await http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "doomed"}})
    assert server.api is not None
    before = server.api.store.revision
    method, path, body, media = DRY_RUNS[case]
    if case == "definition":
        body = definition()
    join = "&" if "?" in path else "?"
    for _ in range(2):
        # Twice: a reservation that stayed would refuse the second.
        answer = await http(method, f"{path}{join}dryRun=All", body, type=media or "application/json")
        assert answer.code in (200, 201), answer.body
    assert server.api.store.revision == before
    assert (await http("GET", "/apis/sea.io/v1/namespaces/default/boats")).code == 404


async def test_optimistic_concurrency(http: Http):
    first = await http.ok("POST", MAPS, config_map("a", x="1"))
    second = await http.ok("PUT", f"{MAPS}/a", first | {"data": {"x": "2"}})
    late = await http("PUT", f"{MAPS}/a", first | {"data": {"x": "3"}})
    assert late.code == 409
    assert late.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"x": "4"}}
    assert (await http("PATCH", f"{MAPS}/a", stale, type=MERGE)).code == 409
    assert (await http.ok("GET", f"{MAPS}/a")) == second


async def test_updates_without_change_write_nothing(http: Http):
    made = await http.ok("POST", MAPS, config_map("a", x="1"))
    assert await http.ok("PUT", f"{MAPS}/a", made) == made
    assert await http.ok("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, type=MERGE) == made


async def test_concurrent_patches_all_count(http: Http):
    await http.ok("POST", MAPS, config_map("a"))
    await asyncio.gather(*(http.ok("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, type=MERGE) for n in range(20)))
    assert len((await http.ok("GET", f"{MAPS}/a"))["data"]) == 20


async def test_update_keeps_what_only_the_server_changes(http: Http):
    made = await http.ok("POST", MAPS, config_map("a"))
    changed = made | {"metadata": {"name": "a", "creationTimestamp": "2001-01-01T00:00:00Z"}, "data": {"x": "1"}}
    after = (await http.ok("PUT", f"{MAPS}/a", changed))["metadata"]
    assert after["uid"] == made["metadata"]["uid"]
    assert after["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    wrong = await http("PUT", f"{MAPS}/a", made | {"metadata": {"name": "a", "uid": "another"}})
    assert wrong.code == 409
    assert "Precondition failed: UID in precondition: another" in wrong.message
    assert (await http("PUT", f"{MAPS}/b", made)).message == (
        "the name of the object (a) does not match the name on the URL (b)"
    )


@pytest.mark.parametrize(
    ("media", "body", "code"),
    [
        (MERGE, {"data": {"x": "2"}}, 200),
        (STRATEGIC, {"data": {"x": "2"}}, 200),
        ("application/json-patch+json", [{"op": "replace", "path": "/data/x", "value": "2"}], 200),
        ("application/json-patch+json", [{"op": "test", "path": "/data/x", "value": "9"}], 422),
        (MERGE, b"{", 400),
        (MERGE, {"data": {"x": 5}}, 400),
        (MERGE, {"kind": "Secret"}, 400),
        ("text/css", {}, 415),
    ],
)
async def test_patch_media_types(http: Http, media: str, body: Any, code: int):
    await http.ok("POST", MAPS, config_map("a", x="1"))
    answer = await http("PATCH", f"{MAPS}/a", body, type=media)
    assert answer.code == code, answer.body
    assert (await http.ok("GET", f"{MAPS}/a"))["data"]["x"] == ("2" if code == 200 else "1")


async def test_apply_creates_and_owns(http: Http):
    body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n"
    assert (await http("PATCH", f"{MAPS}/a", body, type=APPLY)).code == 422, "a manager must be named"
    made = await http("PATCH", f"{MAPS}/a?fieldManager=me", body, type=APPLY)
    assert made.code == 201
    again = await http("PATCH", f"{MAPS}/a?fieldManager=me", body, type=APPLY)
    assert again.code == 200
    assert again.body == made.body
    other = await http("PATCH", f"{MAPS}/a?fieldManager=you", body.replace("1'", "2'"), type=APPLY)
    assert other.code == 409
    assert (
        await http("PATCH", f"{MAPS}/a?fieldManager=you&force=true", body.replace("1'", "2'"), type=APPLY)
    ).code == 200


async def test_generation_counts_specifications(http: Http):
    assert (await http.ok("POST", DEPLOYMENTS, deployment("d")))["metadata"]["generation"] == 1
    path = f"{DEPLOYMENTS}/d"
    assert (await http.ok("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, type=MERGE))["metadata"][
        "generation"
    ] == 1
    assert (await http.ok("PATCH", path, {"spec": {"replicas": 2}}, type=MERGE))["metadata"]["generation"] == 2
    done = await http.ok("PATCH", f"{path}/status", {"status": {"replicas": 2}, "spec": {"replicas": 9}}, type=MERGE)
    assert (done["metadata"]["generation"], done["spec"]["replicas"], done["status"]["replicas"]) == (2, 2, 2)
    ignored = await http.ok("PATCH", path, {"status": {"replicas": 7}}, type=MERGE)
    assert ignored["status"]["replicas"] == 2


async def test_status_of_pods_keeps_annotations(http: Http):
    await http.ok("POST", PODS, pod("p"))
    patch = {"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Running"}}
    after = await http.ok("PATCH", f"{PODS}/p/status", patch, type=STRATEGIC)
    assert after["status"]["phase"] == "Running"
    assert after["metadata"]["annotations"] == {"a": "b"}


async def test_scale(http: Http):
    await http.ok("POST", DEPLOYMENTS, deployment("d", 2))
    path = f"{DEPLOYMENTS}/d/scale"
    scale = await http.ok("GET", path)
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=d"}
    assert (await http.ok("PUT", path, scale | {"spec": {"replicas": 5}}))["spec"]["replicas"] == 5
    assert (await http.ok("PATCH", path, {"spec": {"replicas": 3}}, type=MERGE))["spec"]["replicas"] == 3
    assert (await http.ok("GET", f"{DEPLOYMENTS}/d"))["metadata"]["generation"] == 3
    assert (await http("PUT", path, scale)).code == 409
    assert (await http("PATCH", path, {"spec": {"replicas": -1}}, type=MERGE)).code == 422


# Read.


async def test_pages_are_consistent(http: Http):
    for number in range(7):
        await http.ok("POST", MAPS, config_map(f"m{number}", labels={"l": "x"}))
    first = await http("GET", f"{MAPS}?limit=3&labelSelector=l%3Dx")
    assert first.names == ["m0", "m1", "m2"]
    await http.ok("DELETE", f"{MAPS}/m4")
    await http.ok("POST", MAPS, config_map("m3a", labels={"l": "x"}))
    token = first.body["metadata"]["continue"]
    rest = await http("GET", MAPS, params={"limit": "10", "continue": token, "labelSelector": "l=x"})
    assert rest.names == ["m3", "m4", "m5", "m6"]
    assert rest.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
    assert "continue" not in rest.body["metadata"]
    assert (await http("GET", f"{MAPS}?continue=nonsense")).code == 400


async def test_remaining_items_are_counted(http: Http):
    for number in range(4):
        await http.ok("POST", PODS, pod(f"p{number}"))
    page = await http("GET", f"{PODS}?limit=1")
    assert page.body["metadata"]["remainingItemCount"] == 3


async def test_lists_at_revisions(http: Http):
    made = await http.ok("POST", MAPS, config_map("m1"))
    version = made["metadata"]["resourceVersion"]
    await http.ok("POST", MAPS, config_map("m2"))
    exact = await http("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert "m2" not in exact.names
    assert exact.body["metadata"]["resourceVersion"] == version
    newer = await http("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan")
    assert "m2" in newer.names
    assert "m2" in (await http("GET", f"{MAPS}?resourceVersion=0")).names
    future = await http("GET", f"{MAPS}?resourceVersion=999999&resourceVersionMatch=NotOlderThan")
    assert (future.code, future.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert (await http("GET", f"{MAPS}?resourceVersion=x")).code == 400


async def test_field_selectors(http: Http):
    await bound(http, "here")
    await http.ok("POST", PODS, pod("nowhere"))
    assert (await http("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1")).names == ["here"]
    assert (await http("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D")).names == ["nowhere"]
    wrong = await http("GET", "/api/v1/pods?fieldSelector=spec.color%3Dred")
    assert (wrong.code, wrong.message) == (400, "field label not supported: spec.color")


async def test_tables_and_metadata(http: Http):
    await http.ok("POST", PODS, pod("p"))
    table = await http.ok("GET", PODS, headers={"Accept": TABLE})
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]][:4] == ["Name", "Ready", "Status", "Restarts"]
    (row,) = table["rows"]
    assert row["cells"][:3] == ["p", "0/1", "Pending"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = await http.ok("GET", f"{PODS}?includeObject=Object", headers={"Accept": TABLE})
    assert whole["rows"][0]["object"]["kind"] == "Pod"
    bare = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    partial = await http.ok("GET", PODS, headers={"Accept": bare})
    assert partial["kind"] == "PartialObjectMetadataList"
    assert "spec" not in partial["items"][0]


async def test_events_are_served_by_two_groups(http: Http):
    event = {
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started",
        "action": "Starting",
        "note": "it runs",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "kubelet",
        "reportingInstance": "node-1",
    }
    await http.ok("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)
    core = await http.ok("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp")
    assert core["items"][0]["message"] == "it runs"
    assert core["items"][0]["apiVersion"] == "v1"
    (again,) = (await http.ok("GET", "/apis/events.k8s.io/v1/events"))["items"]
    assert (again["note"], again["apiVersion"]) == ("it runs", "events.k8s.io/v1")


# Delete.


async def test_delete_answers(http: Http):
    made = await http.ok("POST", MAPS, config_map("a"))
    gone = await http("DELETE", f"{MAPS}/a")
    assert gone.code == 200
    assert gone.body["status"] == "Success"
    assert gone.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await http("DELETE", f"{MAPS}/a")).message == 'configmaps "a" not found'
    await http.ok("POST", PODS, pod("p"))
    assert (await http.ok("DELETE", f"{PODS}/p"))["kind"] == "Pod"


async def test_preconditions_of_deletion(http: Http):
    made = await http.ok("POST", MAPS, config_map("a"))
    assert (await http("DELETE", f"{MAPS}/a", {"preconditions": {"uid": "another"}})).code == 409
    assert (await http("DELETE", f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}})).code == 409
    await http.ok("DELETE", f"{MAPS}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})


async def test_pods_on_a_node_wait_for_their_kubelet(http: Http):
    await bound(http, "p")
    marked = await http.ok("DELETE", f"{PODS}/p")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await http.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert shorter["metadata"]["deletionTimestamp"] < marked["metadata"]["deletionTimestamp"]
    assert (await http.ok("DELETE", f"{PODS}/p"))["metadata"] == shorter["metadata"]
    await http.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert (await http("GET", f"{PODS}/p")).code == 404


async def test_finalizers(http: Http):
    await http.ok("POST", MAPS, config_map("a") | {"metadata": {"name": "a", "finalizers": ["x.io/wait"]}})
    assert "deletionTimestamp" in (await http.ok("DELETE", f"{MAPS}/a"))["metadata"]
    more = await http("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": ["x.io/wait", "x.io/more"]}}, type=MERGE)
    assert more.code == 422
    assert "no new finalizers can be added if the object is being deleted" in more.message
    await http.ok("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, type=MERGE)
    assert (await http("GET", f"{MAPS}/a")).code == 404


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)]
)
async def test_propagation(http: Http, policy: str, finalizers: list[str] | None):
    await http.ok("POST", DEPLOYMENTS, deployment("d"))
    await http.ok("DELETE", f"{DEPLOYMENTS}/d?propagationPolicy={policy}")
    left = await http("GET", f"{DEPLOYMENTS}/d")
    assert (left.body["metadata"]["finalizers"] if left.code == 200 else None) == finalizers
    assert (await http("DELETE", f"{DEPLOYMENTS}/d?propagationPolicy=Sideways")).code == 422


async def test_delete_collection(http: Http):
    for number in range(3):
        await http.ok("POST", MAPS, config_map(f"m{number}", labels={"n": str(number)}))
    gone = await http("DELETE", f"{MAPS}?labelSelector=n+in+(0,1)")
    assert gone.names == ["m0", "m1"]
    assert (await http("GET", MAPS)).names == ["kube-root-ca.crt", "m2"]


# Namespaces.


async def test_a_new_cluster(http: Http):
    assert (await http("GET", "/api/v1/namespaces")).names == [
        "default",
        "kube-node-lease",
        "kube-public",
        "kube-system",
    ]
    service = await http.ok("GET", "/api/v1/namespaces/default/services/kubernetes")
    assert service["spec"]["clusterIPs"] == ["10.96.0.1"]
    (item,) = (await http.ok("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"))["items"]
    assert item["endpoints"][0]["addresses"] == ["10.10.0.10"]
    assert (await http("DELETE", "/api/v1/namespaces/default")).message == (
        'namespaces "default" is forbidden: this namespace may not be deleted'
    )


async def test_what_a_cluster_needs_comes_back(http: Http):
    services, maps = "/api/v1/namespaces/default/services", MAPS
    async with http.watch(services, fieldSelector="metadata.name=kubernetes") as events:
        await http.ok("DELETE", f"{services}/kubernetes")
        assert [(await anext(events))["type"] for _ in range(3)] == ["ADDED", "DELETED", "ADDED"]
    assert (await http.ok("GET", f"{services}/kubernetes"))["spec"]["clusterIP"] == "10.96.0.1"
    async with http.watch(maps) as events:
        await http.ok("DELETE", f"{maps}/kube-root-ca.crt")
        assert [(await anext(events))["type"] for _ in range(3)] == ["ADDED", "DELETED", "ADDED"]


async def test_life_of_a_namespace(http: Http):
    made = await http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    assert made["status"] == {"phase": "Active"}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    root = await http.ok("GET", "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt")
    assert "BEGIN CERTIFICATE" in root["data"]["ca.crt"]
    await http.ok("GET", "/api/v1/namespaces/shop/serviceaccounts/default")
    dying = await http.ok("DELETE", "/api/v1/namespaces/shop")
    assert dying["status"]["phase"] == "Terminating"
    refused = await http("POST", "/api/v1/namespaces/shop/configmaps", config_map("a", "shop"))
    assert refused.code == 403
    assert refused.message == (
        'configmaps "a" is forbidden: unable to create new content in namespace shop because it is being terminated'
    )
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await http.ok("PUT", "/api/v1/namespaces/shop/finalize", dying | {"spec": {"finalizers": []}})
    assert (await http("GET", "/api/v1/namespaces/shop")).code == 404


# Pods from outside.


async def test_binding(http: Http):
    pod_ = await bound(http, "p")
    assert pod_["spec"]["nodeName"] == "node-1"
    assert [(one["type"], one["status"]) for one in pod_["status"]["conditions"]] == [("PodScheduled", "True")]
    again = await http("POST", f"{PODS}/p/binding", {"target": {"name": "node-2"}})
    assert again.code == 409
    assert 'pod p is already assigned to node "node-1"' in again.message
    assert (await http("POST", f"{PODS}/p/binding", {"target": {}})).code == 422


async def test_eviction_respects_budgets(http: Http):
    await bound(http, "p")
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await http.ok("PATCH", f"{PODS}/p/status", {"status": ready}, type=MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    selector = {"matchLabels": {"app": "p"}}
    await http.ok("POST", budgets, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": selector}})
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "desiredHealthy": 1,
        "currentHealthy": 1,
        "expectedPods": 1,
    }
    await http.ok("PATCH", f"{budgets}/b/status", {"status": status}, type=MERGE)
    refused = await http("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    assert (refused.code, refused.message) == (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    await http.ok("PATCH", f"{budgets}/b/status", {"status": {"disruptionsAllowed": 1}}, type=MERGE)
    await http.ok("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    assert "deletionTimestamp" in (await http.ok("GET", f"{PODS}/p"))["metadata"]
    assert (await http.ok("GET", f"{budgets}/b"))["status"]["disruptionsAllowed"] == 0


@pytest.mark.parametrize(
    ("policy", "current", "code"),
    [(None, 1, 201), (None, 0, 429), ("IfHealthyBudget", 0, 429), ("AlwaysAllow", 0, 201)],
)
async def test_pods_that_are_not_ready_are_spared_as_their_budget_says(
    http: Http, policy: str | None, current: int, code: int
):
    await bound(http, "p")
    await http.ok("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, type=MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec: Json = {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}
    if policy is not None:
        spec["unhealthyPodEvictionPolicy"] = policy
    await http.ok("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": current}
    await http.ok("PATCH", f"{budgets}/b/status", {"status": status | {"expectedPods": 1}}, type=MERGE)
    assert (await http("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}})).code == code


# Discovery.


async def test_discovery(http: Http):
    assert (await http.ok("GET", "/api"))["versions"] == ["v1"]
    groups = [group["name"] for group in (await http.ok("GET", "/apis"))["groups"]]
    assert {"apps", "networking.k8s.io", "discovery.k8s.io", "authorization.k8s.io"} <= set(groups)
    core = await http.ok("GET", "/api/v1")
    by_name = {one["name"]: one for one in core["resources"]}
    assert by_name["pods"]["shortNames"] == ["po"]
    assert by_name["pods/eviction"]["kind"] == "Eviction"
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    found = await http("GET", "/apis", headers={"Accept": aggregated})
    assert found.body["kind"] == "APIGroupDiscoveryList"
    assert "v=v2" in found.headers["Content-Type"]
    cached = await http("GET", "/apis", headers={"Accept": aggregated, "If-None-Match": found.headers["ETag"]})
    assert cached.code == 304
    assert (await http("GET", "/apis/nothing.io/v1")).code == 404


async def test_reviews(http: Http):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}}
    assert (await http.ok("POST", path, asked))["status"] == {"allowed": True}
    who = await http.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert who["status"]["userInfo"]["username"] == "kubernetes-admin"
    assert "system:masters" in who["status"]["userInfo"]["groups"]


# Custom resources.


def definition(**version: Any) -> Json:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.sea.io"},
        "spec": {
            "group": "sea.io",
            "scope": "Namespaced",
            "names": {
                "plural": "boats",
                "singular": "boat",
                "kind": "Boat",
                "listKind": "BoatList",
                "shortNames": ["bt"],
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [{"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}],
                    **version,
                }
            ],
        },
    }


async def test_custom_resources(http: Http, server: Server):
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    boats = "/apis/sea.io/v1/namespaces/default/boats"
    assert (await http("GET", boats)).code == 404
    made = await http.ok("POST", crds, definition())
    assert [(one["type"], one["status"]) for one in made["status"]["conditions"]] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]
    assert made["status"]["storedVersions"] == ["v1"]
    boat = {
        "apiVersion": "sea.io/v1",
        "kind": "Boat",
        "metadata": {"name": "b"},
        "spec": {"sails": 2},
        "status": {"x": 1},
    }
    async with http.watch(boats) as events:
        first = await http.ok("POST", boats, boat)
        assert first["metadata"]["generation"] == 1
        assert "status" not in first
        assert (await anext(events))["type"] == "ADDED"
        await http.ok("PATCH", f"{boats}/b/status", {"status": {"afloat": True}, "spec": {"sails": 9}}, type=MERGE)
        changed = (await anext(events))["object"]
        assert (changed["spec"], changed["status"], changed["metadata"]["generation"]) == (
            {"sails": 2},
            {"afloat": True},
            1,
        )
    table = await http.ok("GET", boats, headers={"Accept": TABLE})
    assert [row["cells"] for row in table["rows"]] == [["b", 2]]
    assert (await http("PATCH", f"{boats}/b", {}, type=STRATEGIC)).code == 415
    unversioned = await http("PUT", f"{boats}/b", boat)
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in unversioned.message
    groups = [group["name"] for group in (await http.ok("GET", "/apis"))["groups"]]
    assert "sea.io" in groups
    async with http.watch(boats, resourceVersion=first["metadata"]["resourceVersion"]) as events:
        await http.ok("DELETE", f"{crds}/boats.sea.io")
        assert [event["type"] async for event in events] == ["MODIFIED", "DELETED"]
    assert (await http("GET", boats)).code == 404
