"""CustomResourceDefinitions and their objects through the API: names, versions, validation, the end; the Gateway API with kubectl."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apiserver_pki
import pytest
from apiserver_client import TABLE, Answer, Http
from apiserver_kubectl import Kubectl
from tests.kubectl_programs import by_age

from conftest import settings
from fairlead.api import crds
from fairlead.apiserver.server import Server

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BOATS = "/apis/sea.io/v1/namespaces/default/boats"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"

SCHEMA: Json = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["sails"],
            "x-kubernetes-validations": [
                {
                    "rule": "self.sails <= 5 || self.crew.size() > 1",
                    "message": "many sails need a crew",
                    "fieldPath": ".crew",
                }
            ],
            "properties": {
                "sails": {"type": "integer", "minimum": 0},
                "color": {"type": "string", "default": "white", "enum": ["white", "red"]},
                "crew": {
                    "type": "array",
                    "maxItems": 10,
                    "default": [],
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "role": {"type": "string", "default": "sailor"}},
                    },
                },
            },
        },
        "status": {"type": "object", "properties": {"knots": {"type": "integer"}, "sails": {"type": "integer"}}},
    },
}


def definition(*, names: Json | None = None, versions: list[Json] | None = None, **version: Any) -> Json:
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList", "shortNames": ["bt"]} | (
        names or {}
    )
    first = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails"},
        },
        "additionalPrinterColumns": [
            {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"},
            {"name": "Crew", "type": "string", "jsonPath": ".spec.crew[*].name"},
            {"name": "Knots", "type": "integer", "jsonPath": ".status.knots", "priority": 1},
            {"name": "All", "type": "string", "jsonPath": ".spec.crew", "priority": 1},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.sea.io"},
        "spec": {"group": "sea.io", "scope": "Namespaced", "names": names, "versions": versions or [first | version]},
    }


def boat(name: str = "b", **spec: Any) -> Json:
    return {"apiVersion": "sea.io/v1", "kind": "Boat", "metadata": {"name": name}, "spec": {"sails": 1} | spec}


def conditions(obj: Json) -> dict[str, str]:
    return {one["type"]: f"{one['status']} {one['reason']}" for one in obj["status"]["conditions"]}


async def until(http: Http, path: str, holds: Callable[[Answer], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds(await http("GET", path)):
                return
            await asyncio.sleep(0.01)


def gone(answer: Answer) -> bool:
    return answer.code == 404


def ending(answer: Answer) -> bool:
    return "deletionTimestamp" in answer.body["metadata"]


async def test_objects_are_defaulted_pruned_and_refused(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    answer = await http("POST", BOATS, boat(wings=2, crew=[{"name": "ann", "age": 3}]))
    assert answer.body["spec"] == {"sails": 1, "color": "white", "crew": [{"name": "ann", "role": "sailor"}]}
    warnings = answer.headers.getall("Warning")
    assert [text.split('"', 1)[1] for text in warnings] == [
        'unknown field \\"spec.crew[0].age\\""',
        'unknown field \\"spec.wings\\""',
    ]
    refused = await http("POST", BOATS, boat("c", sails="x", color="blue"))
    assert refused.code == 422
    assert refused.body["details"]["causes"] == [
        {
            "reason": "FieldValueTypeInvalid",
            "message": 'Invalid value: "string": spec.sails in body must be of type integer: "string"',
            "field": "spec.sails",
        },
        {
            "reason": "FieldValueNotSupported",
            "message": 'Unsupported value: "blue": supported values: "white", "red"',
            "field": "spec.color",
        },
        {
            "reason": "FieldValueInvalid",
            "message": 'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the '
            "existing errors to complete validation",
            "field": "<nil>",
        },
    ]
    refused = await http("POST", BOATS, boat("c", sails=6))
    assert refused.message == 'Boat.sea.io "c" is invalid: spec.crew: Invalid value: many sails need a crew'
    refused = await http("PATCH", f"{BOATS}/b", {"spec": {"crew": [{"name": "x"}, {"name": "x"}]}}, type=MERGE)
    assert refused.message == 'Boat.sea.io "b" is invalid: spec.crew[1]: Duplicate value: {"name":"x"}'


async def test_strict_field_validation(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    body = '{"apiVersion":"sea.io/v1","kind":"Boat","metadata":{"name":"b","color":1},"spec":{"sails":1,"sails":2,"wings":3}}'
    strict = await http("POST", BOATS, body, params={"fieldValidation": "Strict"})
    assert strict.code == 400
    assert strict.message.endswith(
        'strict decoding error: duplicate field "spec.sails", unknown field "metadata.color", unknown field "spec.wings"'
    )
    quiet = await http("POST", BOATS, body, params={"fieldValidation": "Ignore"})
    assert (quiet.code, quiet.body["spec"]["sails"], "Warning" in quiet.headers) == (201, 2, False)
    assert "color" not in quiet.body["metadata"]


async def test_subresources_columns_and_selectors(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    await http.ok("POST", BOATS, boat("a", sails=2, crew=[{"name": "ann"}, {"name": "bob"}]))
    await http.ok("POST", BOATS, boat("b", color="red") | {"status": {"knots": 9}})
    refused = await http("PATCH", f"{BOATS}/b/status", {"status": {"knots": "x"}}, type=MERGE)
    wrong = 'status.knots: Invalid value: "string": knots in body must be of type integer: "string"'
    assert wrong in refused.message
    changed = await http.ok(
        "PATCH", f"{BOATS}/b/status", {"status": {"knots": 3, "wind": 1}, "spec": {"sails": 9}}, type=MERGE
    )
    assert (changed["status"], changed["spec"]["sails"], changed["metadata"]["generation"]) == ({"knots": 3}, 1, 1)
    table = await http.ok("GET", BOATS, headers={"Accept": TABLE})
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Sails", "Crew", "Knots", "All"]
    assert [row["cells"] for row in table["rows"]] == [
        ["a", 2, "ann,bob", None, '[{"name":"ann","role":"sailor"},{"name":"bob","role":"sailor"}]'],
        ["b", 1, None, 3, "[]"],
    ]
    red = await http("GET", BOATS, params={"fieldSelector": "spec.color=red"})
    assert red.names == ["b"]
    assert (await http("GET", BOATS, params={"fieldSelector": "spec.sails=1"})).code == 400
    scaled = await http.ok("PATCH", f"{BOATS}/a/scale", {"spec": {"replicas": 4}}, type=MERGE)
    assert scaled["spec"]["replicas"] == 4
    too_many = await http("PATCH", f"{BOATS}/b/scale", {"spec": {"replicas": 8}}, type=MERGE)
    assert too_many.message == 'Boat.sea.io "b" is invalid: spec.crew: Invalid value: many sails need a crew'


async def test_appliers_share_a_list_by_its_keys(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    for manager, name in (("one", "ann"), ("two", "bob")):
        wanted = boat(crew=[{"name": name}])
        await http.ok("PATCH", f"{BOATS}/b", wanted, type=APPLY, params={"fieldManager": manager})
    crew = (await http.ok("GET", f"{BOATS}/b"))["spec"]["crew"]
    assert [one["name"] for one in crew] == ["ann", "bob"]


async def test_what_a_new_schema_refuses_may_stay(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    await http.ok("POST", BOATS, boat(sails=5))
    stricter = definition()
    stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {
        **SCHEMA,
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"sails": {"type": "integer", "maximum": 2}, "color": {"type": "string"}},
            }
        },
    }
    await http.ok("PATCH", f"{CRDS}/boats.sea.io", {"spec": stricter["spec"]}, type=MERGE)
    kept = await http.ok("PATCH", f"{BOATS}/b", {"spec": {"color": "green"}}, type=MERGE)
    assert kept["spec"] == {"sails": 5, "color": "green"}
    assert (await http("PATCH", f"{BOATS}/b", {"spec": {"sails": 4}}, type=MERGE)).code == 422


async def test_versions(http: Http) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": "v1beta1", "served": True, "storage": False, "schema": schema, "deprecated": True},
        {"name": "v1", "served": True, "storage": True, "schema": schema},
        {"name": "v1alpha1", "served": False, "storage": False, "schema": schema},
    ]
    await http.ok("POST", CRDS, definition(versions=versions))
    beta = BOATS.replace("/v1/", "/v1beta1/")
    made = await http("POST", beta, boat() | {"apiVersion": "sea.io/v1beta1"})
    assert made.headers["Warning"] == '299 - "sea.io/v1beta1 Boat is deprecated; use sea.io/v1 Boat"'
    assert made.body["apiVersion"] == "sea.io/v1beta1"
    assert (await http.ok("GET", f"{BOATS}/b"))["apiVersion"] == "sea.io/v1"
    assert "Warning" in (await http("GET", beta)).headers
    assert (await http("GET", BOATS.replace("/v1/", "/v1alpha1/"))).code == 404
    group = await http.ok("GET", "/apis/sea.io")
    assert [one["version"] for one in group["versions"]] == ["v1", "v1beta1"]
    moved = [{**one, "storage": one["name"] == "v1beta1"} for one in versions]
    changed = await http.ok("PATCH", f"{CRDS}/boats.sea.io", {"spec": {"versions": moved}}, type=MERGE)
    assert changed["status"]["storedVersions"] == ["v1", "v1beta1"]
    refused = await http(
        "PATCH", f"{CRDS}/boats.sea.io", {"spec": {"versions": [versions[0] | {"storage": True}]}}, type=MERGE
    )
    assert "v1 was previously a storage version" in refused.message


async def test_without_its_webhook_only_the_stored_version_is_served(http: Http) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = ("v1", "v2")
    wanted = definition(
        versions=[{"name": one, "served": True, "storage": one == "v1", "schema": schema} for one in names]
    )
    webhook = {"clientConfig": {"url": "https://convert.example"}, "conversionReviewVersions": ["v1"]}
    wanted["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    made = await http("POST", CRDS, wanted)
    assert made.headers["Warning"] == '299 - "conversion webhooks are not called: only version v1 is served"'
    assert (await http.ok("GET", BOATS))["items"] == []
    assert (await http("GET", BOATS.replace("/v1/", "/v2/"))).code == 404


async def test_a_name_goes_to_the_first_and_then_to_who_waits(http: Http) -> None:
    first = await http.ok("POST", CRDS, definition())
    assert conditions(first) == {"NamesAccepted": "True NoConflicts", "Established": "True InitialNamesAccepted"}
    names = {"plural": "ships", "singular": "ship", "kind": "Boat", "listKind": "ShipList", "shortNames": ["bt"]}
    second = await http.ok("POST", CRDS, definition(names=names))
    assert conditions(second) == {"NamesAccepted": "False KindConflict", "Established": "False NotAccepted"}
    assert second["status"]["acceptedNames"] == {"plural": "ships", "singular": "ship", "listKind": "ShipList"}
    ships = BOATS.replace("boats", "ships")
    assert (await http("GET", ships)).code == 404
    async with http.watch(CRDS, fieldSelector="metadata.name=ships.sea.io") as events:
        await http.ok("DELETE", f"{CRDS}/boats.sea.io")
        async for event in events:
            if conditions(event["object"])["Established"].startswith("True"):
                break
    assert (await http.ok("GET", ships))["items"] == []


async def test_a_definition_ends_with_its_objects(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    await http.ok("POST", BOATS, boat("free"))
    held = boat("held")
    held["metadata"]["finalizers"] = ["sea.io/anchor"]
    await http.ok("POST", BOATS, held)
    marked = await http.ok("DELETE", f"{CRDS}/boats.sea.io")
    assert conditions(marked)["Terminating"] == "True InstanceDeletionPending"
    assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await until(http, f"{BOATS}/free", gone)
    refused = await http("POST", BOATS, boat("late"))
    assert (refused.code, refused.message) == (
        405,
        "create not allowed while custom resource definition is terminating",
    )
    await until(http, f"{BOATS}/held", ending)
    async with http.watch(BOATS) as events:
        await http.ok("PATCH", f"{BOATS}/held", {"metadata": {"finalizers": []}}, type=MERGE)
        assert [event["type"] async for event in events][-1] == "DELETED"
    await until(http, f"{CRDS}/boats.sea.io", gone)
    assert (await http("GET", BOATS)).code == 404
    await http.ok("POST", CRDS, definition())
    assert (await http.ok("GET", BOATS))["items"] == []


async def test_an_end_goes_on_after_a_restart(tmp_path: Path, certificates: Path) -> None:
    async with Server(settings(tmp_path, certificates)) as server:
        http = Http(certificates, server.ports[0])
        await http.ok("POST", CRDS, definition())
        held = boat("held")
        held["metadata"]["finalizers"] = ["sea.io/anchor"]
        await http.ok("POST", BOATS, held)
        await http.ok("DELETE", f"{CRDS}/boats.sea.io")
        await http.close()
    async with Server(settings(tmp_path, certificates)) as server:
        http = Http(certificates, server.ports[0])
        await http.ok("PATCH", f"{BOATS}/held", {"metadata": {"finalizers": []}}, type=MERGE)
        await until(http, f"{CRDS}/boats.sea.io", gone)
        await http.close()


async def test_published_schemas(http: Http) -> None:
    await http.ok("POST", CRDS, definition())
    index = (await http.ok("GET", "/openapi/v3"))["paths"]
    before = index["apis/sea.io/v1"]["serverRelativeURL"]
    document = await http.ok("GET", before)
    boats = document["components"]["schemas"]["io.sea.v1.Boat"]
    assert boats["properties"]["spec"] == SCHEMA["properties"]["spec"]
    assert boats["x-kubernetes-group-version-kind"] == [{"group": "sea.io", "kind": "Boat", "version": "v1"}]
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in document["components"]["schemas"]
    assert {"/apis/sea.io/v1/boats", "/apis/sea.io/v1/namespaces/{namespace}/boats/{name}/status"} <= document[
        "paths"
    ].keys()
    v2 = await http.ok("GET", "/openapi/v2")
    crew = v2["definitions"]["io.sea.v1.Boat"]["properties"]["spec"]["properties"]["crew"]
    assert crew["x-kubernetes-list-map-keys"] == ["name"]
    assert "io.k8s.api.core.v1.Pod" in v2["definitions"]
    await http.ok("PATCH", f"{CRDS}/boats.sea.io", {"spec": {"names": {"shortNames": ["b"]}}}, type=MERGE)
    assert (await http.ok("GET", "/openapi/v3"))["paths"]["apis/sea.io/v1"]["serverRelativeURL"] == before


# The Gateway API.

GATEWAYS = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"


def gateway(*listeners: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "shop"},
        "spec": {"gatewayClassName": "fairlead", "listeners": list(listeners), **spec},
    }


def route(*rules: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "shop"}], "rules": list(rules), **spec},
    }


def listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **more: Any) -> Json:
    return {"name": name, "port": port, "protocol": protocol} | more


def backend(**more: Any) -> Json:
    return {"name": "web", "port": 80} | more


PREFIX = {"path": {"type": "PathPrefix", "value": "/a"}}
REWRITE = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}
TLS = {"certificateRefs": [{"name": "cert"}]}

GOOD: dict[str, Json] = {
    "gateway": gateway(listener()),
    "gateway with TLS": gateway(listener("https", 443, "HTTPS", tls=TLS), listener(hostname="*.example.com")),
    "gateway with addresses": gateway(
        listener(), addresses=[{"value": "10.0.0.1"}, {"type": "Hostname", "value": "a.example"}]
    ),
    "route": route({"matches": [PREFIX], "backendRefs": [backend(weight=0)]}),
    "rewrite of one prefix": route({"matches": [PREFIX], "filters": [REWRITE], "backendRefs": [backend()]}),
    "redirect": route({"filters": [REDIRECT]}),
    "timeouts": route({"backendRefs": [backend()], "timeouts": {"request": "10s", "backendRequest": "1s"}}),
    "two parents": route({}, parentRefs=[{"name": "a"}, {"name": "b", "sectionName": "http"}]),
    "one parent by two ports": route({}, parentRefs=[{"name": "a", "port": 80}, {"name": "a", "port": 8080}]),
}

BAD: dict[str, tuple[Json, str]] = {
    "no listener": (gateway(), "spec.listeners"),
    "port 0": (gateway(listener(port=0)), "spec.listeners[0].port"),
    "protocol of no form": (gateway(listener(protocol="a b")), "spec.listeners[0].protocol"),
    "one name twice": (gateway(listener(), listener(port=81)), "spec.listeners[1]"),
    "one port twice": (gateway(listener(), listener("b")), "spec.listeners"),
    "TLS of plain HTTP": (gateway(listener(tls=TLS)), "spec.listeners"),
    "TLS without certificate": (gateway(listener("https", 443, "HTTPS", tls={"options": {}})), "spec.listeners[0].tls"),
    "host of UDP": (gateway(listener(protocol="UDP", hostname="a.example")), "spec.listeners"),
    "host name in capitals": (gateway(listener(hostname="A.example")), "spec.listeners[0].hostname"),
    "address that is none": (
        gateway(listener(), addresses=[{"type": "IPAddress", "value": "1.2.3"}]),
        "spec.addresses[0].value",
    ),
    "one address twice": (
        gateway(listener(), addresses=[{"value": "10.0.0.1"}, {"value": "10.0.0.1"}]),
        "spec.addresses",
    ),
    "label key": (gateway(listener(), infrastructure={"labels": {"-": "x"}}), "spec.infrastructure.labels"),
    "relative path": (
        route({"matches": [{"path": {"type": "Exact", "value": "a"}}]}),
        "spec.rules[0].matches[0].path",
    ),
    "path with dots": (
        route({"matches": [{"path": {"type": "PathPrefix", "value": "/a/../b"}}]}),
        "spec.rules[0].matches[0].path",
    ),
    "method": (route({"matches": [{"method": "FETCH"}]}), "spec.rules[0].matches[0].method"),
    "Service without port": (route({"backendRefs": [{"name": "web"}]}), "spec.rules[0].backendRefs[0]"),
    "weight": (route({"backendRefs": [backend(weight=-1)]}), "spec.rules[0].backendRefs[0].weight"),
    "filter without its part": (route({"filters": [{"type": "URLRewrite"}]}), "spec.rules[0].filters[0]"),
    "filter with another part": (
        route({"filters": [REDIRECT | {"type": "URLRewrite", "urlRewrite": {}}]}),
        "spec.rules[0].filters[0]",
    ),
    "redirect and backends": (route({"filters": [REDIRECT], "backendRefs": [backend()]}), "spec.rules[0]"),
    "rewrite without prefix": (
        route({"filters": [REWRITE], "matches": [{"path": {"type": "Exact", "value": "/a"}}]}),
        "spec.rules[0]",
    ),
    "timeouts": (
        route({"backendRefs": [backend()], "timeouts": {"request": "1s", "backendRequest": "2s"}}),
        "spec.rules[0].timeouts",
    ),
    "duration": (route({"timeouts": {"request": "1d"}}), "spec.rules[0].timeouts.request"),
    "one parent twice": (route(parentRefs=[{"name": "a"}, {"name": "a"}]), "spec.parentRefs"),
    "one parent's port twice": (
        route(parentRefs=[{"name": "a", "port": 80}, {"name": "a", "port": 80}]),
        "spec.parentRefs",
    ),
    "header name": (
        route({"matches": [{"headers": [{"name": "a b", "value": "x"}]}]}),
        "spec.rules[0].matches[0].headers[0].name",
    ),
    "header twice": (
        route({"matches": [{"headers": [{"name": "a", "value": "x"}, {"name": "a", "value": "y"}]}]}),
        "spec.rules[0].matches[0].headers[1]",
    ),
}


@pytest.fixture
async def lab(tmp_path: Path, certificates: Path) -> AsyncIterator[Server]:
    async with Server(settings(tmp_path / "lab", certificates, definitions=crds.FOLDER)) as server:
        yield server


async def test_the_gateway_api_takes_good_objects_and_names_the_bad_field(lab: Server, certificates: Path) -> None:
    http = Http(certificates, lab.ports[0])
    try:
        for case, obj in GOOD.items():
            path = GATEWAYS if obj["kind"] == "Gateway" else ROUTES
            answer = await http("POST", path, obj, params={"dryRun": "All", "fieldValidation": "Strict"})
            assert answer.code == 201, (case, answer.body)
        for case, (obj, field) in BAD.items():
            path = GATEWAYS if obj["kind"] == "Gateway" else ROUTES
            answer = await http("POST", path, obj, params={"dryRun": "All"})
            assert answer.code == 422, (case, answer.body)
            assert field in [cause["field"] for cause in answer.body["details"]["causes"]], (case, answer.message)
    finally:
        await http.close()


PROGRAMS = by_age()
VERSIONS = sorted({0, len(PROGRAMS) // 2, len(PROGRAMS) - 1})
"""The oldest, one between, the newest: they differ in what they read of the published schemas."""

MANIFEST = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


@pytest.mark.parametrize("version", [list(PROGRAMS)[position] for position in VERSIONS if PROGRAMS])
async def test_kubectl_knows_the_gateway_api(version: str, lab: Server, certificates: Path, tmp_path: Path) -> None:
    apiserver_pki.kubeconfig(certificates, lab.ports[0], tmp_path / "config")
    kubectl = Kubectl(PROGRAMS[version], tmp_path)
    assert "created" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert await kubectl("get", "gateway", "shop", "-o", "jsonpath={.metadata.generation}") == "1"
    header, row = (await kubectl("get", "gateways")).splitlines()
    assert header.split() == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"]
    # The default condition says that no controller has seen it.
    assert row.split()[:3] == ["shop", "fairlead", "Unknown"]
    explained = await kubectl("explain", "gateways.spec.listeners.port")
    assert "<integer>" in explained
    assert "listeners" in await kubectl("explain", "gtw.spec")
    refused = await kubectl("apply", "-f", "-", stdin=MANIFEST.replace("port: 80", "port: 0"), code=1)
    assert "spec.listeners[0].port" in refused
    unknown = await kubectl("apply", "-f", "-", stdin=MANIFEST.replace("port: 80", "port: 80, prot: x"), code=1)
    assert "prot" in unknown
    await kubectl("delete", "gateway", "shop")
    await kubectl("delete", "crd", "tcproutes.gateway.networking.k8s.io")
    assert "NotFound" in await kubectl("get", "crd", "tcproutes.gateway.networking.k8s.io", code=1)
