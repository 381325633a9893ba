"""Logs and proxies: what a kubelet says reaches the client, also while it is still saying it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from apiserver_client import Http, pod

from fairlead.apiserver.server import Server

PODS = "/api/v1/namespaces/default/pods"


class Kubelet:
    """A kubelet that notes what it is asked and answers from a table."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.rel_url}")
        if request.query.get("previous"):
            return web.Response(status=400, text='previous terminated container "main" in pod "p" not found')
        if request.path == "/healthz":
            return web.Response(text="ok", headers={"X-From": "kubelet"})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        if request.query.get("follow"):
            await self.go_on.wait()
            await response.write(b"two\n")
        await response.write_eof()
        return response


@pytest.fixture
async def kubelet(server: Server, http: Http, tmp_path: Path) -> AsyncIterator[Kubelet]:
    fake = Kubelet()
    runner = web.ServerRunner(web.Server(fake.handle))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "state" / "node-1.sock")).start()
    await http.ok("POST", "/api/v1/nodes", {"metadata": {"name": "node-1"}})
    await http.ok("POST", PODS, pod("p"))
    await http.ok("POST", f"{PODS}/p/binding", {"target": {"name": "node-1"}})
    yield fake
    await runner.cleanup()


async def test_logs(http: Http, kubelet: Kubelet):
    answer = await http("GET", f"{PODS}/p/log?tailLines=5&timestamps=true&colour=red")
    assert (answer.code, answer.body) == (200, b"one\n")
    assert kubelet.asked == ["GET /containerLogs/default/p/main?tailLines=5&timestamps=true"]


async def test_followed_logs_arrive_as_they_come(http: Http, kubelet: Kubelet):
    async with http.session.get(f"{http.base}{PODS}/p/log?follow=true") as response:
        assert await response.content.readline() == b"one\n"
        kubelet.go_on.set()
        assert await response.content.readline() == b"two\n"


async def test_refusals_keep_the_kubelets_words(http: Http, kubelet: Kubelet):
    answer = await http("GET", f"{PODS}/p/log?previous=true")
    assert (answer.code, answer.message) == (400, 'previous terminated container "main" in pod "p" not found')


async def test_containers_are_chosen_as_upstream(http: Http, kubelet: Kubelet):
    assert (await http("GET", f"{PODS}/p/log?container=x")).message == "container x is not valid for pod p"
    two = [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]
    await http.ok("POST", PODS, pod("q", containers=two, initContainers=[{"name": "i", "image": "x"}]))
    assert (await http("GET", f"{PODS}/q/log")).message == (
        "a container name must be specified for pod q, choose one of: [a b] or one of the init containers: [i]"
    )
    assert (await http("GET", f"{PODS}/q/log?container=b")).body == b"", "nothing runs yet"
    assert (await http("GET", f"{PODS}/none/log")).code == 404


async def test_a_kubelet_that_is_down(http: Http):
    await http.ok("POST", PODS, pod("p"))
    await http.ok("POST", f"{PODS}/p/binding", {"target": {"name": "node-9"}})
    answer = await http("GET", f"{PODS}/p/log")
    assert answer.code == 500
    assert "error dialing the kubelet of node node-9" in answer.message
    assert (await http("GET", "/api/v1/nodes/node-9/proxy/healthz")).code == 404


async def test_node_proxy(http: Http, kubelet: Kubelet):
    answer = await http("GET", "/api/v1/nodes/node-1/proxy/healthz?verbose=1")
    assert (answer.code, answer.body) == (200, b"ok")
    assert answer.headers["X-From"] == "kubelet"
    assert kubelet.asked == ["GET /healthz?verbose=1"]


async def serve_port_forward(path: Path, port: int, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """Answer like a kubelet whose pod holds a small HTTP server, over TLS if asked for."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if f"port={port}".encode() not in head:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7\r\n\r\nrefused")
        else:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            if tls is not None:
                await writer.start_tls(tls)
            request = await reader.readuntil(b"\r\n\r\n")
            line = request.split(b"\r\n")[0]
            assert b"Authorization" not in request
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Pod: p\r\n\r\n")
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line))
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(handle, str(path))


async def test_pod_and_service_proxies(http: Http, tmp_path: Path):
    container = {"name": "main", "image": "x", "ports": [{"containerPort": 8080, "name": "web"}]}
    await http.ok("POST", PODS, pod("p", containers=[container]))
    await http.ok("POST", f"{PODS}/p/binding", {"target": {"name": "node-2"}})
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}
    await http.ok("POST", "/api/v1/namespaces/default/services", service)
    endpoint = {"addresses": ["10.244.1.2"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "p"}}
    labels = {"kubernetes.io/service-name": "s"}
    piece = {
        "metadata": {"name": "s-1", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": [{"name": "http", "port": 8080}],
    }
    server = await serve_port_forward(tmp_path / "state" / "node-2.sock", 8080)
    async with server:
        for path in ("pods/p:8080/proxy/a/b/?q=1", "pods/p:web/proxy/a/b/?q=1", "pods/p/proxy/a/b/?q=1"):
            answer = await http("GET", f"/api/v1/namespaces/default/{path}")
            assert (answer.code, answer.body) == (200, b"GET /a/b/?q=1 HTTP/1.1"), path
            assert answer.headers["X-Pod"] == "p"
        none = await http("GET", "/api/v1/namespaces/default/services/s/proxy/")
        assert (none.code, none.message) == (503, 'no endpoints available for service "s"')
        await http.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)
        for path in ("services/s/proxy/x", "services/s:http/proxy/x", "services/http:s:80/proxy/x"):
            assert (await http("GET", f"/api/v1/namespaces/default/{path}")).body == b"GET /x HTTP/1.1", path
        refused = await http("GET", "/api/v1/namespaces/default/pods/p:9/proxy/")
        assert refused.code == 503


async def test_proxies_to_ports_that_speak_tls(http: Http, certificates: Path, tmp_path: Path):
    await http.ok("POST", PODS, pod("p"))
    await http.ok("POST", f"{PODS}/p/binding", {"target": {"name": "node-2"}})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "apiserver.crt", certificates / "apiserver.key")
    async with await serve_port_forward(tmp_path / "state" / "node-2.sock", 8443, context):
        answer = await http("GET", f"{PODS}/https:p:8443/proxy/a?q=1")
        assert (answer.code, answer.body) == (200, b"GET /a?q=1 HTTP/1.1")

    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    (tmp_path / "state" / "node-2.sock").unlink()
    async with await asyncio.start_unix_server(speak_plainly, str(tmp_path / "state" / "node-2.sock")):
        plain = await http("GET", f"{PODS}/https:p:8443/proxy/a")
        assert plain.code == 503
        assert "error trying to reach service" in plain.message
