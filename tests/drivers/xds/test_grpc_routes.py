"""GRPCRoutes by real calls, and backends that speak HTTP/2 or WebSocket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab

pytestmark = pytest.mark.asyncio(loop_scope="module")


class _Everything(grpc.GenericRpcHandler):
    """Answers every call with the backend's name, the method, and the metadata `x-set`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, details: Any) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            seen = dict(context.invocation_metadata())
            return f"{self._name} {details.method} {seen.get('x-set', '-')} ".encode() + request

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callees(lab: GatewayLab) -> AsyncIterator[GatewayLab]:
    servers = []
    for name in ("g-one", "g-two", "g-http2"):
        server = grpc.aio.server(handlers=(_Everything(name),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        await lab.serve(name, port, app_protocol="kubernetes.io/h2c" if name == "g-http2" else "grpc")
    yield lab
    for server in servers:
        await server.stop(None)


def route(kind: str, name: str, rules: str) -> str:
    return f"""
kind: {kind}
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: web}}], hostnames: ['{name}.example.com'], rules: {rules}}}
"""


async def call(lab: GatewayLab, host: str, method: str, **metadata: str) -> str:
    """Make a call through the Gateway; return the answer, or the status that it failed with."""
    options = [("grpc.default_authority", host), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports['web', 80]}", options=options) as channel:
        try:
            answer: bytes = await channel.unary_unary(method)(b"hi", metadata=tuple(metadata.items()), timeout=30)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return answer.decode()


async def test_calls_by_service_method_and_header(callees: GatewayLab) -> None:
    def to(match: str, name: str) -> str:
        return f"{{name: to-{name}, matches: [{match}], backendRefs: [{{name: {name}, port: 80}}]}}"

    rules = ", ".join(
        (
            to("{method: {service: a.B, method: Get}}", "g-one"),
            to("{method: {service: a.B}}", "g-two"),
            to("{method: {service: a.B}, headers: [{name: x-to, value: one}]}", "g-one"),
            to("{method: {method: Only}}", "g-one"),
            to("{method: {type: RegularExpression, service: 'r[.].+', method: 'G.*'}}", "g-two"),
        )
    )
    await callees.apply(route("GRPCRoute", "calls", f"[{rules}]"))
    cases = {
        ("/a.B/Get", ""): "g-one",
        ("/a.B/Put", ""): "g-two",
        ("/a.B/Put", "one"): "g-one",
        ("/a.Bc/Put", ""): "UNIMPLEMENTED",
        ("/other/Only", ""): "g-one",
        ("/r.x/Go", ""): "g-two",
        ("/r.x/Stop", ""): "UNIMPLEMENTED",
    }
    found = {}
    for method, header in cases:
        metadata = {"x-to": header} if header else {}
        found[method, header] = (await call(callees, "calls.example.com", method, **metadata)).partition(" ")[0]
    assert found == cases


async def test_filters_of_calls(callees: GatewayLab) -> None:
    change = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: new}]}}"
    await callees.apply(
        route("GRPCRoute", "filters", f"[{{filters: [{change}], backendRefs: [{{name: g-one, port: 80}}]}}]")
    )
    assert await call(callees, "filters.example.com", "/a/B") == "g-one /a/B new hi"


async def test_a_backend_of_http2_without_tls(callees: GatewayLab) -> None:
    await callees.apply(route("HTTPRoute", "http2", "[{backendRefs: [{name: g-http2, port: 80}]}]"))
    assert (await call(callees, "http2.example.com", "/a/B")).startswith("g-http2 /a/B")


async def test_a_backend_of_websocket(lab: GatewayLab) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            await answer.send_str(f"echo {message.data}")
        return answer

    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, sock).start()
    await lab.serve("sockets", sock.getsockname()[1], app_protocol="kubernetes.io/ws")
    await lab.apply(route("HTTPRoute", "sockets", "[{backendRefs: [{name: sockets, port: 80}]}]"))
    url = f"http://127.0.0.1:{lab.ports['web', 80]}/ws"
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(url, headers={"Host": "sockets.example.com"}) as talk,
    ):
        for text in ("a", "b"):
            await talk.send_str(text)
            assert await talk.receive_str() == f"echo {text}"
    await runner.cleanup()
