"""Clients that make no sense, are nobody, or mean harm: a clear refusal and no traceback."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import apiserver_pki
import pytest
from apiserver_client import Http, config_map

from fairlead.apiserver.http import connection
from fairlead.apiserver.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"
LAUGHS = "".join(f"a{at}: &a{at} [{f'*a{at - 1},' * 9 if at else 1}]\n" for at in range(9)).encode()
"""Nine lines that mean 43 million numbers."""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"a":', "unexpected end of JSON input"),
        (b"nope", "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b'{"a": 1} x', "invalid character 'x' after top-level value"),
        (b"{x}", "invalid character 'x' looking for beginning of object key string"),
        (b"[" * 100_000, "exceeded max depth"),
        (b"[]", "cannot unmarshal array"),
    ],
)
async def test_malformed_json(http: Http, body: bytes, problem: str):
    answer = await http("POST", MAPS, body)
    assert answer.code == 400
    assert answer.body["reason"] == "BadRequest"
    assert answer.message.startswith("the object provided is unrecognized (must be of type ConfigMap): ")
    if not body.startswith(b"nope"):
        assert problem in answer.message


@pytest.mark.parametrize(
    ("method", "path", "body", "options", "code"),
    [
        ("POST", MAPS, b"", {}, 400),
        ("POST", MAPS, b"{}", {"type": "application/xml"}, 415),
        ("POST", MAPS, b"k8s\x00garbage", {"type": "application/vnd.kubernetes.protobuf"}, 400),
        ("POST", MAPS, b"a: [", {"type": "application/yaml"}, 400),
        ("POST", MAPS, b"[" * 100_000, {"type": "application/yaml"}, 400),
        ("POST", MAPS, b"- " * 100_000 + b"a", {"type": "application/yaml"}, 400),
        ("POST", MAPS, LAUGHS, {"type": "application/yaml"}, 400),
        ("POST", MAPS, b'{"metadata": []}', {}, 400),
        ("POST", MAPS, b'{"metadata": {"labels": {"a": 5}}}', {}, 400),
        ("PATCH", f"{MAPS}/kube-root-ca.crt", b'{"metadata": 5}', {"type": "application/merge-patch+json"}, 400),
        ("PATCH", f"{MAPS}/kube-root-ca.crt", b"null", {"type": "application/json-patch+json"}, 400),
        ("PUT", MAPS, b"{}", {}, 405),
        ("POST", f"{MAPS}/a", b"{}", {}, 405),
        ("POST", "/api/v1/configmaps", b"{}", {}, 405),
        ("DELETE", "/api/v1/namespaces", None, {}, 405),
        ("GET", MAPS, None, {"headers": {"Accept": "image/png"}}, 406),
        ("GET", "/api/v1/nonsense", None, {}, 404),
        ("GET", "/api/v1/namespaces/default/nodes", None, {}, 404),
        ("GET", f"{MAPS}/a/status", None, {}, 404),
        ("GET", "/nowhere", None, {}, 404),
        ("POST", "/version", b"{}", {}, 405),
        ("GET", f"{MAPS}?labelSelector=a+in+b", None, {}, 400),
        ("DELETE", f"{MAPS}/kube-root-ca.crt", b'{"gracePeriodSeconds": "soon"}', {}, 400),
        ("BREW", MAPS, None, {}, 400),
    ],
)  # fmt: skip
async def test_refusals(http: Http, method: str, path: str, body: Any, options: dict[str, Any], code: int):
    answer = await http(method, path, body, **options)
    assert answer.code == code, answer.body
    assert answer.body["kind"] == "Status"
    assert answer.body["code"] == code
    assert "Traceback" not in answer.message


@pytest.mark.parametrize("length_known", [True, False])
async def test_huge_bodies(http: Http, length_known: bool):
    body = json.dumps(config_map("a", x="y" * (4 << 20))).encode()

    async def chunks() -> Any:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    data: Any = io.BytesIO(body) if length_known else chunks()
    async with http.session.post(http.base + MAPS, data=data, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413
        assert (await response.json())["reason"] == "RequestEntityTooLarge"
    assert (await http("GET", "/version")).code == 200


async def test_anonymous_clients_see_health_and_version_only(server: Server, certificates: Path):
    http = Http(certificates, server.ports[0], user=None)
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert (await http("GET", path)).code == 200
    for path in ("/api", "/apis", "/readyz/ping", "/openapi/v3", "/"):
        answer = await http("GET", path)
        assert (answer.code, answer.message) == (403, f'forbidden: User "system:anonymous" cannot get path "{path}"')
    answer = await http("GET", MAPS)
    assert (answer.code, answer.message) == (
        403,
        'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" '
        'in the namespace "default"',
    )
    await http.close()


async def test_certificates_of_another_authority(server: Server, certificates: Path, tmp_path: Path):
    apiserver_pki.Authority(tmp_path / "other").issue("eve", "kubernetes-admin", "system:masters")
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(tmp_path / "other" / "eve.crt", tmp_path / "other" / "eve.key")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, OSError), match="UNKNOWN_CA"):
            await session.get(f"https://127.0.0.1:{server.ports[0]}{MAPS}")


async def test_plain_http_is_no_tls(server: Server):
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.get(f"http://127.0.0.1:{server.ports[0]}/healthz")


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\x00\x01\x02"])
async def test_dawdling_clients_are_dropped(http: Http, monkeypatch: pytest.MonkeyPatch, sent: bytes):
    monkeypatch.setattr(connection, "HEADER_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context)
    writer.write(sent)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            await reader.readexactly(1 << 20)
    writer.close()


async def test_an_idle_connection_between_requests_stays(http: Http, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEADER_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(2) == b"ok"
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.3, done.set_result, None)
        await done
    writer.close()


async def test_garbage_requests_get_a_status(http: Http):
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context)
    writer.write(b"GET /a b c\r\nnonsense\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.") and b" 400 " in answer.split(b"\r\n")[0]
    assert b'"kind":"Status"' in answer
    writer.close()


async def test_defects_are_told_without_their_insides(http: Http, server: Server, monkeypatch: pytest.MonkeyPatch):
    assert server.api is not None

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret insides")

    monkeypatch.setattr(server.api.store, "get", fail)
    answer = await http("GET", f"{MAPS}/a")
    assert (answer.code, answer.body["reason"]) == (500, "InternalError")
    assert "insides" not in answer.message
