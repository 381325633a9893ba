"""Client and informer against a scripted server: pages, errors, watches that end, break or expire."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from fairlead.api.resources import CONFIGMAPS, NODES
from fairlead.sources.client import Client
from fairlead.sources.errors import AlreadyExists, ApiError, Conflict, Gone, NotFound, Unreachable
from fairlead.sources.informer import Informer
from fairlead.sources.kubeconfig import Connection

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with Client(Connection(server=f"http://127.0.0.1:{port}"), user_agent="test") as client:
            yield client
    finally:
        await runner.cleanup()


def node(name: str, version: int, uid: str = "u1") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


async def test_who_owns_which_field_is_not_kept() -> None:
    owned = node("a", 1)
    owned["metadata"]["managedFields"] = [{"manager": "x"}]

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await stream(
                request, ("MODIFIED", owned | {"metadata": owned["metadata"] | {"resourceVersion": "2"}}), hold=True
            )
        return listing([owned], 1)

    async with serving(handler) as client:
        informer = Informer(client, NODES)
        changed = asyncio.Event()
        informer.on_change(lambda old, new: changed.set() if old is not None else None)
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(changed.wait(), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert informer.store["", "a"]["metadata"] == {"name": "a", "uid": "u1", "resourceVersion": "2"}


def listing(items: list[dict[str, Any]], version: int, token: str = "") -> web.Response:
    metadata = {"resourceVersion": str(version)} | ({"continue": token} if token else {})
    return web.json_response({"items": items, "metadata": metadata})


async def stream(request: web.Request, *events: tuple[str, dict[str, Any]], hold: bool = False) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for kind, obj in events:
        await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
    if hold:
        await asyncio.Event().wait()
    return response


async def test_a_list_is_read_in_pages_and_typed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            return listing([node("b", 2)], 7)
        return listing([node("a", 1)], 7, token="next")

    async with serving(handler) as client:
        items, version = await client.list(NODES)
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert all((item["kind"], item["apiVersion"]) == ("Node", "v1") for item in items)
    assert version == "7"


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (500, "InternalError", ApiError),
    ],
)
async def test_a_refusal_is_an_exception_with_the_servers_words(code: int, reason: str, kind: type[ApiError]) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        status = {"kind": "Status", "status": "Failure", "reason": reason, "message": "the words", "code": code}
        return web.json_response(status, status=code)

    async with serving(handler) as client:
        with pytest.raises(kind, match="the words") as caught:
            await client.get(CONFIGMAPS, "x", namespace="default")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.reason) == (code, reason)


async def test_an_answer_that_is_no_status_keeps_its_text() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="bad gateway")

    async with serving(handler) as client:
        with pytest.raises(ApiError, match="bad gateway"):
            await client.get(NODES, "x")


async def test_no_server_is_unreachable() -> None:
    async with Client(Connection(server="http://127.0.0.1:1"), user_agent="test") as client:
        with pytest.raises(Unreachable, match="GET /api/v1/nodes"):
            await client.list(NODES)


async def test_the_informer_misses_nothing_when_watches_end_and_expire() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            asked.append("list")
            if asked.count("list") == 1:
                return listing([node("a", 1), node("b", 2)], 2)
            return listing([node("b", 9), node("c", 10, uid="new"), node("d", 11)], 11)
        version = request.query["resourceVersion"]
        asked.append(f"watch {version}")
        match version:
            case "2":
                return await stream(request, ("ADDED", node("c", 3)), ("BOOKMARK", node("", 5)))
            case "5":
                return await stream(request, ("MODIFIED", node("a", 6)), ("DELETED", node("a", 7)))
            case "7":
                return await stream(request, ("ERROR", {"code": 410, "reason": "Expired", "message": "too old"}))
            case _:
                return await stream(request, ("ADDED", node("e", 12)), hold=True)

    changes: list[tuple[str | None, str | None]] = []
    finished = asyncio.Event()

    def label(obj: dict[str, Any] | None) -> str | None:
        return f"{obj['metadata']['name']}@{obj['metadata']['resourceVersion']}" if obj else None

    def note(old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        changes.append((label(old), label(new)))
        if label(new) == "e@12":
            finished.set()

    async with serving(handler) as client:
        informer = Informer(client, NODES)
        informer.on_change(note)
        task = asyncio.create_task(informer.run())
        async with asyncio.timeout(10):
            await informer.wait_synced()
            await finished.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert asked == ["list", "watch 2", "watch 5", "watch 7", "list", "watch 11"]
    assert changes == [
        (None, "a@1"),
        (None, "b@2"),
        (None, "c@3"),
        ("a@1", "a@6"),
        ("a@6", None),
        ("b@2", "b@9"),
        ("c@3", None),
        (None, "c@10"),
        (None, "d@11"),
        (None, "e@12"),
    ]
    assert sorted(name for _, name in informer.store) == ["b", "c", "d", "e"]


async def test_an_unreachable_server_keeps_the_store() -> None:
    broken = asyncio.Event()
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        if "watch" not in request.query:
            return listing([node("a", 1)], 1)
        calls += 1
        if calls < 3:
            request.transport.abort()  # type: ignore[union-attr]
            return web.Response()
        broken.set()
        return await stream(request, hold=True)

    async with serving(handler) as client:
        informer = Informer(client, NODES)
        task = asyncio.create_task(informer.run())
        async with asyncio.timeout(10):
            await broken.wait()
        assert list(informer.store) == [("", "a")]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_equal_events_become_a_count() -> None:
    bodies: list[tuple[str, dict[str, Any]]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append((request.method, await request.json()))
        return web.json_response({})

    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "n", "uid": "u"}}
    async with serving(handler) as client:
        for _ in range(3):
            await client.event(pod, type="Warning", reason="BackOff", message="again", component="kubelet", node="n1")
    assert [method for method, _ in bodies] == ["POST", "PATCH", "PATCH"]
    assert bodies[0][1]["involvedObject"]["name"] == "p"
    assert [body["count"] for _, body in bodies] == [1, 2, 3]
