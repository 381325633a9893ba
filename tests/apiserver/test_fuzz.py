"""Requests of any shape: always an answer, never a defect, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from apiserver_client import Http, config_map, pod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"

WORDS = st.sampled_from(
    ["api", "apis", "v1", "apps", "batch", "namespaces", "default", "pods", "configmaps", "deployments", "nodes"]
    + [
        "services",
        "watch",
        "status",
        "scale",
        "log",
        "proxy",
        "exec",
        "eviction",
        "binding",
        "openapi",
        "v3",
        "version",
    ]
    + ["", "..", "%", "a", "kube-root-ca.crt", "\u00e9", "x" * 300, "web:http", "token", "finalize"]
)
KEYS = st.sampled_from(
    ["watch", "limit", "continue", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch"]
    + ["sendInitialEvents", "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "force", "includeObject"]
    + ["propagationPolicy", "gracePeriodSeconds", "orphanDependents", "container", "tailLines", "pretty", "command"]
)
VALUES = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        "true",
        "True",
        "All",
        "x",
        "a=b",
        "a in (b,c)",
        "!a",
        "a=b,c!=d",
        "metadata.name=a",
        "NotOlderThan",
    ]
    + ["Exact", "9" * 30, "eyJ2IjoiIn0", "Strict", "Orphan", "\u00e9\u0000", "a" * 200, "(((", "=", ",", "1e9"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=6)
BODIES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "apiVersion",
                    "metadata",
                    "spec",
                    "status",
                    "data",
                    "name",
                    "labels",
                    "managedFields",
                    "f:a",
                    "op",
                ]
                + [
                    "path",
                    "value",
                    "$patch",
                    "containers",
                    "target",
                    "replicas",
                    "deleteOptions",
                    "resourceVersion",
                    "uid",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
MEDIA = st.sampled_from(
    ["application/json", "application/yaml", "application/merge-patch+json", "application/json-patch+json", "text/csv"]
    + ["application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf"]
)
ACCEPTS = st.sampled_from(
    ["*/*", "", "application/json", "application/yaml", "image/png", "application/json;as=Table;v=v1;g=meta.k8s.io"]
    + ["application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", ";;;,q=x", "application/json;q=nan"]
)


async def ask(http: Http, method: str, target: str, body: bytes, media: str, accept: str) -> int:
    """Send one request as it is, on a connection of its own, and return the code of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nAccept: {accept}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        line = await asyncio.wait_for(reader.readline(), 20)
        return int(line.split()[1])
    finally:
        writer.close()
        try:
            await asyncio.wait_for(writer.wait_closed(), 5)
        except (OSError, TimeoutError):
            pass


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"]),
    parts=st.lists(WORDS, max_size=8),
    query=st.lists(st.tuples(KEYS, VALUES), max_size=4),
    body=BODIES | st.binary(max_size=30),
    media=MEDIA,
    accept=ACCEPTS,
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_every_request_has_an_answer_that_is_no_defect(
    http: Http, method: str, parts: list[str], query: list[tuple[str, str]], body: Any, media: str, accept: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    target = "/" + "/".join(quote(part, safe="%:") for part in parts)
    if query:
        target += "?" + urlencode(query)
    code = await ask(http, method, target, content, media, accept)
    assert 200 <= code < 600
    # 501: what is said not to be there. 503, 504: kubelets that do not answer, revisions that are to come.
    assert code != 500, (method, target, content, media, accept)


PATCHES = st.sampled_from(["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])


@given(patches=st.lists(st.tuples(PATCHES, BODIES), min_size=1, max_size=4))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_no_patch_breaks_an_object(http: Http, patches: list[tuple[str, Any]]) -> None:
    await http("POST", MAPS, config_map("target", a="b"))
    for media, patch in patches:
        answer = await http("PATCH", f"{MAPS}/target?fieldManager=me&force=true", patch, type=f"application/{media}")
        assert answer.code in (200, 201, 400, 403, 404, 409, 413, 415, 422), (media, patch, answer.body)
    found = await http("GET", f"{MAPS}/target")
    assert found.code == 200
    assert found.body["kind"] == "ConfigMap" and found.body["metadata"]["name"] == "target"
    assert all(isinstance(value, str) for value in (found.body.get("data") or {}).values())


CONTAINERS = st.lists(
    st.dictionaries(st.sampled_from(["name", "image", "ports", "env", "$patch", "resources"]), BODIES, max_size=3)
    | st.fixed_dictionaries(
        {"name": st.sampled_from(["main", "other", None])}, optional={"image": SCALARS, "ports": BODIES}
    ),
    max_size=3,
)
SPECS = st.dictionaries(
    st.sampled_from(["containers", "$setElementOrder/containers", "tolerations", "nodeName", "volumes", "$retainKeys"]),
    CONTAINERS | BODIES,
    max_size=3,
)


@given(
    patches=st.lists(
        st.tuples(PATCHES, SPECS, st.sampled_from(["", "/status", "/ephemeralcontainers"])), min_size=1, max_size=4
    )
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_no_patch_breaks_a_pod(http: Http, patches: list[tuple[str, Any, str]]) -> None:
    await http("POST", PODS, pod("target"))
    for media, spec, subresource in patches:
        path = f"{PODS}/target{subresource}?fieldManager=me&force=true"
        answer = await http("PATCH", path, {"spec": spec, "status": spec}, type=f"application/{media}")
        assert answer.code in (200, 400, 409, 415, 422), (media, spec, subresource, answer.body)
    found = await http.ok("GET", f"{PODS}/target")
    assert [one["name"] for one in found["spec"]["containers"]] == ["main"]


@given(noise=st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=3))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_noise_on_a_connection_harms_nobody_else(http: Http, noise: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context)
    try:
        for chunk in noise:
            writer.write(chunk)
        # Ends the header, whatever it was.
        writer.write(b"\r\n\r\n")
        line = await asyncio.wait_for(reader.readline(), 20)
        assert not line or line.split()[1].startswith(b"4"), line
    except ConnectionError:
        pass
    finally:
        writer.close()
        try:
            await asyncio.wait_for(writer.wait_closed(), 5)
        except (OSError, TimeoutError):
            pass
    assert (await http("GET", "/readyz")).code == 200


@pytest.mark.parametrize("depth", [50, 5000])
async def test_deep_objects_are_refused_or_stored(http: Http, depth: int) -> None:
    body = b'{"metadata": {"name": "deep"}, "data": ' + b'{"a": ' * depth + b"1" + b"}" * depth + b"}"
    assert (await http("POST", MAPS, body)).code == 400
