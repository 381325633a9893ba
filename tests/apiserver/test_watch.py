"""Watches over HTTP: the state, its changes, bookmarks, resumption and refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apiserver_client import TABLE, Http, config_map, pod

from fairlead.apiserver.server import Server
from fairlead.apiserver.verbs import watching

MAPS = "/api/v1/namespaces/default/configmaps"


async def take(events: Any, count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        event = await asyncio.wait_for(anext(events), 5)
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
    return found


async def test_state_then_changes(http: Http):
    async with http.watch(MAPS) as events:
        assert await take(events, 1) == [("ADDED", "kube-root-ca.crt")]
        await http.ok("POST", MAPS, config_map("a"))
        await http.ok("PUT", f"{MAPS}/a", config_map("a", x="1"))
        await http.ok("DELETE", f"{MAPS}/a")
        assert await take(events, 3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_resuming_from_a_list(http: Http):
    await http.ok("POST", MAPS, config_map("a"))
    version = (await http.ok("GET", MAPS))["metadata"]["resourceVersion"]
    await http.ok("POST", MAPS, config_map("b"))
    async with http.watch(MAPS, resourceVersion=version) as events:
        assert await take(events, 1) == [("ADDED", "b")]


async def test_selectors_decide_what_is_seen(http: Http):
    pods = "/api/v1/namespaces/default/pods"
    async with http.watch("/api/v1/pods", fieldSelector="spec.nodeName=node-1") as events:
        await http.ok("POST", pods, pod("p"))
        await http.ok("POST", f"{pods}/p/binding", {"target": {"name": "node-1"}})
        assert await take(events, 1) == [("ADDED", "p")]
    async with http.watch(MAPS, labelSelector="app=web", resourceVersion="0") as events:
        await http.ok("POST", MAPS, config_map("a", labels={"app": "web"}))
        await http.ok("PUT", f"{MAPS}/a", config_map("a"))
        assert await take(events, 2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_initial_events_end_with_a_bookmark(http: Http):
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with http.watch(MAPS, **asked) as events:
        assert (await anext(events))["type"] == "ADDED"
        bookmark = await anext(events)
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        version = bookmark["object"]["metadata"]["resourceVersion"]
        made = await http.ok("POST", MAPS, config_map("a"))
        assert int(made["metadata"]["resourceVersion"]) > int(version)
        assert await take(events, 1) == [("ADDED", "a")]
    refused = await http("GET", MAPS, params={"watch": "1", "sendInitialEvents": "true"})
    assert refused.code == 422


async def test_bookmarks_come_by_themselves(http: Http, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "BOOKMARK_S", 0.05)
    version = (await http.ok("GET", MAPS))["metadata"]["resourceVersion"]
    async with http.watch(MAPS, resourceVersion=version, allowWatchBookmarks="true") as events:
        await http.ok("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "elsewhere"}})
        while True:
            bookmark = await asyncio.wait_for(anext(events), 5)
            assert bookmark["type"] == "BOOKMARK"
            if int(bookmark["object"]["metadata"]["resourceVersion"]) > int(version):
                break


async def test_a_watch_ends_when_its_time_is_over(http: Http):
    async with http.watch(MAPS, timeoutSeconds=1) as events:
        assert [event["type"] async for event in events] == ["ADDED"]


async def test_lost_history_is_told_as_an_event(http: Http, server: Server):
    assert server.api is not None
    server.api.store.table("configmaps").floor = server.api.store.revision
    await http.ok("POST", MAPS, config_map("a"))
    async with http.watch(MAPS, resourceVersion="3") as events:
        (event,) = [event async for event in events]
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 3 (")
    async with http.watch(MAPS, resourceVersion="999999") as events:
        assert [event["object"]["code"] async for event in events] == [410]


async def test_expired_lists(http: Http, server: Server):
    assert server.api is not None
    await http.ok("POST", MAPS, config_map("a"))
    page = await http.ok("GET", f"{MAPS}?limit=1")
    await http.ok("POST", MAPS, config_map("b"))
    server.api.store.table("configmaps").floor = server.api.store.revision
    late = await http("GET", MAPS, params={"limit": "1", "continue": page["metadata"]["continue"]})
    assert (late.code, late.body["reason"]) == (410, "Expired")
    inconsistent = await http("GET", MAPS, params={"continue": late.body["metadata"]["continue"]})
    assert inconsistent.names == ["b", "kube-root-ca.crt"]


async def test_tables_are_watched_too(http: Http):
    async with http.watch(MAPS, accept=TABLE) as events:
        first = await anext(events)
        assert (first["type"], first["object"]["kind"]) == ("ADDED", "Table")
        await http.ok("POST", MAPS, config_map("a", x="1"))
        assert (await anext(events))["object"]["rows"][0]["cells"][:2] == ["a", 1]


async def test_a_client_that_does_not_read_is_cut_off(http: Http, server: Server, monkeypatch: pytest.MonkeyPatch):
    assert server.api is not None
    original = server.api.store.watch
    monkeypatch.setattr(server.api.store, "watch", lambda *args, **more: original(*args, **more | {"limit": 20}))
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=http.context, limit=1024)
    writer.write(f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    for number in range(80):
        await http.ok("POST", MAPS, config_map(f"big-{number}", x="y" * 400_000))
        if not server.api.store.table("configmaps").watchers:
            break
    assert not server.api.store.table("configmaps").watchers
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        while await reader.readexactly(1 << 16):
            pass
    writer.close()


async def test_each_of_many_watchers_sees_every_change_once(http: Http):
    names = [f"a{number}" for number in range(50)]

    async def watch() -> list[tuple[str, str]]:
        async with http.watch(MAPS) as events:
            started.release()
            return await take(events, len(names) + 1)

    started = asyncio.Semaphore(0)
    watchers = [asyncio.create_task(watch()) for _ in range(20)]
    for _ in watchers:
        await started.acquire()
    await asyncio.gather(*(http.ok("POST", MAPS, config_map(name)) for name in names))
    seen = await asyncio.gather(*watchers)
    assert all(sorted(name for _, name in one) == sorted([*names, "kube-root-ca.crt"]) for one in seen)
    order = [name for _, name in seen[0]]
    assert all([name for _, name in one] == order for one in seen), "all see the same order"
