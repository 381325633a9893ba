"""Admission webhooks: who is asked about what, and what follows from the answers, against a real server over TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apiserver_pki
import pytest
from aiohttp import web
from apiserver_client import Http, config_map, pod

Json = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
IN_DEFAULT = "/api/v1/namespaces/default"
MAPS = f"{IN_DEFAULT}/configmaps"


class Asked:
    """A server of webhooks: `answer` decides by path; `requests` are what was asked."""

    def __init__(self, port: int, bundle: str) -> None:
        self.port, self.bundle = port, bundle
        self.requests: list[tuple[str, Json]] = []
        self.answer: Callable[[str, Json], Json | None] = lambda path, request: {"allowed": True}
        self.silent = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        review = await request.json()
        assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
        asked = review["request"]
        self.requests.append((request.path, asked))
        found = self.answer(request.path, asked)
        if found is None:
            await self.silent.wait()
            found = {}
        body = {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": asked["uid"], **found},
        }
        return web.json_response(body)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def hook(self, name: str, **more: Any) -> Json:
        rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
        return {
            "name": f"{name}.example.org",
            "clientConfig": {"url": f"https://localhost:{self.port}/{name}", "caBundle": self.bundle},
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    authority = apiserver_pki.Authority(tmp_path / "webhook")
    authority.issue("hook", "webhook", addresses=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "webhook/hook.crt", tmp_path / "webhook/hook.key")
    found = Asked(0, base64.b64encode((tmp_path / "webhook/ca.crt").read_bytes()).decode())
    runner = web.ServerRunner(web.Server(found.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    assert site._server is not None
    found.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield found
    found.silent.set()
    await runner.cleanup()


async def configure(http: Http, sort: str, *hooks: Json, name: str = "c") -> None:
    kind = f"{sort.capitalize()}WebhookConfiguration"
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": list(hooks),
    }
    await http.ok("POST", f"{GROUP}/{sort}webhookconfigurations", body)


def patch(*operations: Json) -> Json:
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(operations).encode()).decode(),
    }


def add(path: str, value: Any) -> Json:
    return {"op": "add", "path": path, "value": value}


async def test_what_a_webhook_is_told(http: Http, asked: Asked):
    await configure(http, "validating", asked.hook("a"))
    made = await http.ok("POST", MAPS, config_map("m", x="1"))
    await http.ok("PUT", f"{MAPS}/m", config_map("m", x="2"))
    await http.ok("DELETE", f"{MAPS}/m")
    create, update, delete = (request for _, request in asked.requests)
    assert create["kind"] == create["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert create["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (create["name"], create["namespace"], create["operation"], create["dryRun"]) == (
        "m",
        "default",
        "CREATE",
        False,
    )
    assert create["userInfo"]["username"] == "kubernetes-admin"
    assert (create["object"]["data"], create["oldObject"]) == ({"x": "1"}, None)
    assert create["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert (update["object"]["data"], update["oldObject"]["data"]) == ({"x": "2"}, {"x": "1"})
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"x": "2"})


DENIED: dict[str, tuple[Json, int, str, str]] = {
    "in its own words": (
        {"status": {"message": "no", "code": 403, "reason": "Forbidden"}},
        403,
        "Forbidden",
        'admission webhook "a.example.org" denied the request: no',
    ),
    "by a reason": (
        {"status": {"reason": "Teapot"}},
        400,
        "Teapot",
        'admission webhook "a.example.org" denied the request: Teapot',
    ),
    "without explanation": ({}, 400, "", 'admission webhook "a.example.org" denied the request without explanation'),
    "with a good code": (
        {"status": {"code": 200, "message": "x"}},
        400,
        "",
        'admission webhook "a.example.org" denied the request: x',
    ),
}


@pytest.mark.parametrize("case", DENIED)
async def test_denials(case: str, http: Http, asked: Asked):
    answer, code, reason, message = DENIED[case]
    asked.answer = lambda path, request: {"allowed": False, **answer}
    await configure(http, "validating", asked.hook("a"))
    found = await http("POST", MAPS, config_map("m"))
    assert (found.code, found.body.get("reason", ""), found.message) == (code, reason, message)
    assert (await http("GET", f"{MAPS}/m")).code == 404


async def test_warnings_reach_the_client(http: Http, asked: Asked):
    asked.answer = lambda path, request: {"allowed": True, "warnings": ["mind the gap"]}
    await configure(http, "validating", asked.hook("a"))
    assert (await http("POST", MAPS, config_map("m"))).headers["Warning"] == '299 - "mind the gap"'


async def test_mutating_webhooks_change_what_is_stored_in_order(http: Http, asked: Asked):
    asked.answer = lambda path, request: patch(
        add("/data" if "data" not in request["object"] else "/data/x", {} if "data" not in request["object"] else path)
    )
    hooks = [asked.hook("first"), asked.hook("second")]
    await configure(http, "mutating", *hooks, name="b")
    await configure(http, "mutating", asked.hook("zero"), name="a")
    made = await http.ok("POST", MAPS, config_map("m", x="0"))
    assert asked.paths == ["/zero", "/first", "/second"]
    assert made["data"] == {"x": "/second"} and asked.requests[2][1]["object"]["data"] == {"x": "/first"}


async def test_what_a_webhook_adds_is_completed_and_validated(http: Http, asked: Asked):
    sidecar = {"name": "sidecar", "image": "proxy:1"}
    asked.answer = lambda path, request: patch(add("/spec/containers/-", sidecar))
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    await configure(http, "mutating", asked.hook("inject", rules=[rule]))
    made = await http.ok("POST", f"{IN_DEFAULT}/pods", pod("p"))
    main, added = made["spec"]["containers"]
    assert added["imagePullPolicy"] == "IfNotPresent", "defaults"
    assert added["volumeMounts"] == main["volumeMounts"], "the account's token, in one volume"
    assert len(made["spec"]["volumes"]) == 1
    sidecar["name"] = "NOT A NAME"
    answer = await http("POST", f"{IN_DEFAULT}/pods", pod("q"))
    assert answer.code == 422 and "spec.containers[1].name" in answer.message


async def test_who_an_object_is_stays(http: Http, asked: Asked):
    asked.answer = lambda path, request: patch(
        {"op": "replace", "path": "/metadata/name", "value": "other"}, add("/metadata/labels", {"a": "b"})
    )
    await configure(http, "mutating", asked.hook("a"))
    made = await http.ok("POST", MAPS, config_map("m"))
    assert (made["metadata"]["name"], made["metadata"]["labels"]) == ("m", {"a": "b"})


async def test_asked_again_when_others_changed_the_object_since(http: Http, asked: Asked):
    def answer(path: str, request: Json) -> Json:
        return patch(add(f"/data/{path[1:]}", "1")) if path[1:] not in request["object"]["data"] else {"allowed": True}

    asked.answer = answer
    await configure(
        http, "mutating", asked.hook("one", reinvocationPolicy="IfNeeded"), asked.hook("two"), asked.hook("three")
    )
    await http.ok("POST", MAPS, config_map("m", x="0"))
    assert asked.paths == ["/one", "/two", "/three", "/one"]


FAILURES: dict[str, tuple[Json, str]] = {
    "no answer": (
        {"timeoutSeconds": 1},
        'failed to call webhook: Post "https://localhost:PORT/a?timeout=1s": context deadline exceeded',
    ),
    "nobody there": (
        {"clientConfig": {"url": "https://127.0.0.1:1/a", "caBundle": "BUNDLE"}},
        'failed to call webhook: Post "https://127.0.0.1:1/a?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused',
    ),
    "another authority": (
        {"clientConfig": {"url": "https://localhost:PORT/a", "caBundle": "OTHER"}},
        "tls: failed to verify certificate: x509:",
    ),
    "a Service that does not exist": (
        {"clientConfig": {"service": {"namespace": "default", "name": "nope"}, "caBundle": "BUNDLE"}},
        'Post "https://nope.default.svc:443/?timeout=10s": service "nope" not found',
    ),
    "a Service without endpoints": (
        {"clientConfig": {"service": {"namespace": "default", "name": "empty", "path": "/x"}, "caBundle": "BUNDLE"}},
        'Post "https://empty.default.svc:443/x?timeout=10s": no endpoints available for service "empty"',
    ),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failures_refuse_or_are_ignored(case: str, http: Http, asked: Asked, certificates: Path):
    more, words = FAILURES[case]
    other = base64.b64encode((certificates / "ca.crt").read_bytes()).decode()
    text = json.dumps(more).replace("PORT", str(asked.port)).replace("BUNDLE", asked.bundle).replace("OTHER", other)
    asked.answer = lambda path, request: None
    service = {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 443}]}}
    await http.ok("POST", f"{IN_DEFAULT}/services", {"apiVersion": "v1", "kind": "Service", **service})
    await configure(http, "validating", asked.hook("a", **json.loads(text)))
    answer = await http("POST", MAPS, config_map("m"))
    assert (answer.code, answer.body["reason"]) == (500, "InternalError")
    assert answer.message.startswith(
        'Internal error occurred: failed calling webhook "a.example.org": failed to call webhook: '
    )
    assert words.replace("PORT", str(asked.port)) in answer.message
    path = f"{GROUP}/validatingwebhookconfigurations/c"
    found = await http.ok("GET", path)
    found["webhooks"][0]["failurePolicy"] = "Ignore"
    await http.ok("PUT", path, found)
    assert (await http("POST", MAPS, config_map("m"))).code == 201


ANSWERS: dict[str, tuple[Json, str]] = {
    "another uid": ({"uid": "x", "allowed": True}, 'expected response.uid="'),
    "a patch of no type": ({"allowed": True, "patch": "W10="}, "response.patchType"),
    "a patch that is none": ({"allowed": True, "patchType": "JSONPatch", "patch": "%%%"}, "the patch cannot be read"),
    "a patch that does not fit": (patch({"op": "remove", "path": "/nope"}), "the patch cannot be applied"),
    "a patch to something else": (patch({"op": "replace", "path": "", "value": []}), "the patch leaves no object"),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_that_make_no_sense(case: str, http: Http, asked: Asked):
    found, words = ANSWERS[case]
    asked.answer = lambda path, request: found
    await configure(http, "mutating", asked.hook("a"))
    answer = await http("POST", MAPS, config_map("m"))
    assert answer.code == 500 and words in answer.message


def rule(**more: Any) -> Json:
    usual = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    return {"rules": [usual | more]}


MATCHED: dict[str, tuple[Json, bool]] = {
    "its operation": (rule(), True),
    "another operation": (rule(operations=["UPDATE"]), False),
    "another group": (rule(apiGroups=["apps"]), False),
    "any resource": (rule(resources=["*"], apiGroups=["*"]), True),
    "subresources only": (rule(resources=["configmaps/status"]), False),
    "any subresource": (rule(resources=["*/*"]), True),
    "the cluster's scope": (rule(scope="Cluster"), False),
    "the namespaced scope": (rule(scope="Namespaced"), True),
    "a namespace's label": (
        rule() | {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}},
        True,
    ),
    "another namespace's label": (rule() | {"namespaceSelector": {"matchLabels": {"x": "y"}}}, False),
    "the object's label": (rule() | {"objectSelector": {"matchLabels": {"app": "m"}}}, True),
    "another label": (rule() | {"objectSelector": {"matchLabels": {"app": "n"}}}, False),
    "a condition": (rule() | {"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'm'"}]}, True),
    "a condition that does not hold": (
        rule() | {"matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'eve'"}]},
        False,
    ),
    "a false condition before a faulty one": (
        rule()
        | {
            "matchConditions": [
                {"name": "a", "expression": "object.nope == 1"},
                {"name": "b", "expression": "has(object.nope)"},
            ]
        },
        False,
    ),
}


@pytest.mark.parametrize("case", MATCHED)
async def test_what_is_matched(case: str, http: Http, asked: Asked):
    more, expected = MATCHED[case]
    await configure(http, "validating", asked.hook("a", **more))
    await http.ok("POST", MAPS, config_map("m", labels={"app": "m"}))
    assert bool(asked.requests) is expected


async def test_a_condition_that_fails(http: Http, asked: Asked):
    more = rule() | {"matchConditions": [{"name": "c", "expression": "object.nope == 1"}]}
    await configure(http, "validating", asked.hook("a", **more))
    answer = await http("POST", MAPS, config_map("m"))
    assert (answer.code, answer.message) == (
        403,
        "configmaps \"m\" is forbidden: expression 'object.nope == 1' resulted in error: no such key: nope",
    )


async def test_equivalent_versions_are_asked_about_in_the_version_of_the_rule(http: Http, asked: Asked):
    of_core = rule(resources=["events"])
    await configure(
        http, "validating", asked.hook("core", **of_core), asked.hook("exact", matchPolicy="Exact", **of_core)
    )
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x.io/y",
        "reportingInstance": "z",
        "action": "Act",
        "reason": "Because",
        "type": "Normal",
        "note": "told",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    }
    await http.ok("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)
    ((path, request),) = asked.requests
    assert path == "/core"
    assert request["kind"] == {"group": "", "version": "v1", "kind": "Event"}
    assert request["requestKind"]["group"] == "events.k8s.io"
    assert (request["object"]["apiVersion"], request["object"]["message"]) == ("v1", "told")


SCALE = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def test_a_scale_is_shown_as_a_scale(http: Http, asked: Asked):
    await configure(http, "validating", asked.hook("a", rules=[SCALE]))
    await configure(http, "mutating", asked.hook("b", rules=[SCALE]))
    await http.ok("POST", DEPLOYMENTS, DEPLOYMENT)
    assert not asked.requests
    asked.answer = lambda path, request: (
        patch({"op": "replace", "path": "/spec/replicas", "value": 3}) if path == "/b" else {"allowed": True}
    )
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 9}}
    assert (await http.ok("PUT", f"{DEPLOYMENTS}/d/scale", scale))["spec"]["replicas"] == 3
    assert (await http.ok("GET", f"{DEPLOYMENTS}/d"))["spec"]["replicas"] == 3
    (_, first), (_, second) = asked.requests
    assert first["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (first["subResource"], first["object"]["spec"], first["oldObject"]["spec"]) == (
        "scale",
        {"replicas": 9},
        {"replicas": 1},
    )
    assert second["object"]["spec"] == {"replicas": 3}
    asked.answer = lambda path, request: {"allowed": False}
    answer = await http(
        "PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 5}}, type="application/merge-patch+json"
    )
    assert answer.code == 400
    assert (await http.ok("GET", f"{DEPLOYMENTS}/d"))["spec"]["replicas"] == 3


async def test_connections_are_judged_before_they_are_made(http: Http, asked: Asked):
    asked.answer = lambda path, request: {"allowed": False, "status": {"message": "no shell"}}
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}
    await configure(http, "validating", asked.hook("a", rules=[rule]))
    await http.ok("POST", f"{IN_DEFAULT}/pods", pod("p", nodeName="n"))
    answer = await http("POST", f"{IN_DEFAULT}/pods/p/exec?command=sh&command=-c&stdin=true&container=main")
    assert answer.message == 'admission webhook "a.example.org" denied the request: no shell'
    ((_, request),) = asked.requests
    assert (request["operation"], request["kind"]["kind"], request["options"]) == ("CONNECT", "PodExecOptions", None)
    assert request["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "container": "main",
        "command": ["sh", "-c"],
    }


async def test_dry_runs_go_to_webhooks_without_side_effects(http: Http, asked: Asked):
    await configure(http, "validating", asked.hook("a"))
    await http.ok("POST", f"{MAPS}?dryRun=All", config_map("m"))
    assert asked.requests[0][1]["dryRun"] is True
    path = f"{GROUP}/validatingwebhookconfigurations/c"
    bad = asked.hook("b", sideEffects="Some")
    answer = await http("PUT", path, (await http.ok("GET", path)) | {"webhooks": [bad]})
    assert answer.code == 422 and 'webhooks[0].sideEffects: Unsupported value: "Some"' in answer.message


async def test_configurations_stay_repairable(http: Http, asked: Asked):
    asked.answer = lambda path, request: {"allowed": False}
    everything = rule(operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"])
    await configure(http, "validating", asked.hook("wall", **everything))
    assert (await http("POST", MAPS, config_map("m"))).code == 400
    await http.ok("DELETE", f"{GROUP}/validatingwebhookconfigurations/c")
    await http.ok("POST", MAPS, config_map("m"))


REFUSED: dict[str, tuple[Json, str]] = {
    "no scheme": ({"clientConfig": {"url": "http://x/y"}}, "'https' is the only allowed URL scheme"),
    "neither": ({"clientConfig": {}}, "clientConfig: Required value: exactly one of url or service is required"),
    "a short name": ({"name": "x"}, "should be a domain with at least three segments separated by dots"),
    "too slow": ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
    "no versions": ({"admissionReviewVersions": []}, "admissionReviewVersions: Required value"),
    "a faulty expression": (
        {"matchConditions": [{"name": "c", "expression": "1 +"}]},
        "matchConditions[0].expression: Invalid value",
    ),
    "an unknown variable": ({"matchConditions": [{"name": "c", "expression": "foo"}]}, "undeclared reference to 'foo'"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_configurations_that_are_refused(case: str, http: Http, asked: Asked):
    more, words = REFUSED[case]
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "c"},
        "webhooks": [asked.hook("a") | more],
    }
    answer = await http("POST", f"{GROUP}/validatingwebhookconfigurations", body)
    assert answer.code == 422 and words in answer.message, answer.body
