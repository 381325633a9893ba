"""Reviews of access: what may this one do, and why."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_client import Http, acting_as

Json = dict[str, Any]
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"


async def review(http: Http, plural: str, spec: Json, namespace: str = "", **options: Any) -> Any:
    where = f"/namespaces/{namespace}" if namespace else ""
    return await http("POST", f"{AUTHORIZATION}{where}/{plural}", {"spec": spec}, **options)


def attributes(verb: str, resource: str, namespace: str = "default", **more: str) -> Json:
    return {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace, **more}}


@pytest.fixture
async def viewer(http: Http) -> Http:
    """Bob views the namespace default."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}
    body = {"metadata": {"name": "viewers"}, "roleRef": reference, "subjects": [subject]}
    await http.ok("POST", f"{RBAC}/rolebindings", body)
    return http


async def test_what_somebody_may_do(viewer: Http):
    may = await review(viewer, "subjectaccessreviews", {"user": "bob", **attributes("list", "pods")})
    assert may.code == 201 and may.body["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "viewers/default" of ClusterRole "view" to User "bob"',
    }
    for spec in (
        {"user": "bob", **attributes("list", "secrets")},
        {"user": "bob", **attributes("list", "pods", "kube-system")},
        {"user": "eve", **attributes("list", "pods")},
        {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/metrics"}},
    ):
        assert (await review(viewer, "subjectaccessreviews", spec)).body["status"] == {"allowed": False}
    health = {"groups": ["system:unauthenticated"], "nonResourceAttributes": {"verb": "get", "path": "/healthz"}}
    status = (await review(viewer, "subjectaccessreviews", health)).body["status"]
    assert status["reason"] == (
        'RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" '
        'to Group "system:unauthenticated"'
    )


async def test_what_one_may_do_oneself(viewer: Http):
    for verb, allowed in (("list", True), ("delete", False)):
        answer = await review(viewer, "selfsubjectaccessreviews", attributes(verb, "pods"), **acting_as("bob"))
        assert answer.body["status"]["allowed"] is allowed
    mine = await review(viewer, "selfsubjectaccessreviews", attributes("*", "*", group="*"))
    assert mine.body["status"] == {"allowed": True}


async def test_local_reviews_stay_in_their_namespace(viewer: Http):
    good = await review(viewer, "localsubjectaccessreviews", {"user": "bob", **attributes("list", "pods")}, "default")
    assert good.body["status"]["allowed"] is True
    spec = {"user": "bob", **attributes("list", "pods", "other")}
    bad = await review(viewer, "localsubjectaccessreviews", spec, "default")
    assert bad.code == 400 and "must match namespace" in bad.message


async def test_a_node_is_judged_by_selectors(viewer: Http):
    requirement = {"key": "spec.nodeName", "operator": "In", "values": ["node-1"]}
    asked: Json = {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [requirement]}}
    who = {"user": "system:node:node-1", "groups": ["system:nodes"]}
    for attributes_, allowed in ((asked, True), ({"verb": "list", "resource": "pods"}, False)):
        answer = await review(viewer, "subjectaccessreviews", {**who, "resourceAttributes": attributes_})
        assert answer.body["status"]["allowed"] is allowed


async def test_rules_of_oneself(viewer: Http):
    answer = await review(viewer, "selfsubjectrulesreviews", {"namespace": "default"}, **acting_as("bob"))
    status = answer.body["status"]
    assert status["incomplete"] is False
    assert any("pods" in rule["resources"] and "list" in rule["verbs"] for rule in status["resourceRules"])
    assert any("/healthz" in rule["nonResourceURLs"] for rule in status["nonResourceRules"])
    elsewhere = await review(viewer, "selfsubjectrulesreviews", {"namespace": "other"}, **acting_as("bob"))
    assert not any("pods" in rule["resources"] for rule in elsewhere.body["status"]["resourceRules"])
    node = acting_as("system:node:node-1", "system:nodes")
    answer = await review(viewer, "selfsubjectrulesreviews", {"namespace": "default"}, **node)
    assert answer.body["status"]["incomplete"] is True
    assert (await review(viewer, "selfsubjectrulesreviews", {})).message == "no namespace on request"


BAD: list[Any] = [
    {},
    {"user": "bob"},
    {"user": "bob", "resourceAttributes": {}, "nonResourceAttributes": {}},
    {**attributes("list", "pods")},
    {"user": "bob", "resourceAttributes": {"verb": 7}},
    {"user": "bob", "resourceAttributes": []},
    {"user": 7, **attributes("list", "pods")},
    {"user": "bob", "groups": "x", **attributes("list", "pods")},
    "text",
]


@pytest.mark.parametrize("spec", BAD, ids=str)
async def test_questions_that_make_no_sense(spec: Any, http: Http):
    answer = await review(http, "subjectaccessreviews", spec)
    assert answer.code in (400, 422) and answer.body["kind"] == "Status"
