"""Clients and an operator framework in Python, unchanged, each in a process of its own against the server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apiserver_pki
import pytest
from apiserver_client import Http, Json
from tests.apiserver.test_verbs import MERGE, definition

from fairlead.apiserver.server import Server

HERE = Path(__file__).parent / "clients"
BOATS = "/apis/sea.io/v1/namespaces/default/boats"
_PATIENCE_S = 60


@pytest.fixture
async def kubeconfig(server: Server, http: Http, certificates: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    apiserver_pki.kubeconfig(certificates, server.ports[0], path)
    await http.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
    return path


def environment(kubeconfig: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(kubeconfig.parent), "KUBECONFIG": str(kubeconfig)}


@pytest.mark.parametrize("client", ["kubernetes", "kubernetes_asyncio", "kr8s", "lightkube"])
async def test_a_client_does_its_work(client: str, kubeconfig: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / f"use_{client}.py"),
        str(kubeconfig),
        env=environment(kubeconfig),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said.decode().splitlines()[-1:] == ["done"], said.decode()


async def until(http: Http, path: str, condition: Callable[[Json], Any]) -> Json:
    """Watch one object until it satisfies the condition, and return it."""
    collection, _, name = path.rpartition("/")
    async with asyncio.timeout(_PATIENCE_S), http.watch(collection, fieldSelector=f"metadata.name={name}") as events:
        async for event in events:
            if condition(event["object"]):
                found: Json = event["object"]
                return found
    raise AssertionError("the watch ended")


async def up_to_the_end(events: AsyncIterator[Json]) -> AsyncIterator[Json]:
    """Yield the events of one object up to its deletion."""
    async for event in events:
        yield event
        if event["type"] == "DELETED":
            return


async def test_an_operator_by_kopf(http: Http, kubeconfig: Path) -> None:
    await http.ok("POST", BOATS, {"metadata": {"name": "early"}, "spec": {"sails": 1}})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "kopf", "run", "--standalone", "--namespace", "default", str(HERE / "operator_of_boats.py")),
        env=environment(kubeconfig),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        early = await until(http, f"{BOATS}/early", lambda boat: (boat.get("status") or {}).get("created"))
        assert early["status"]["created"] == {"sails": 1, "name": "early"}
        assert early["status"]["afloat"] is True
        assert early["metadata"]["finalizers"], "kopf wants to hear of the end"
        await http.ok("POST", BOATS, {"metadata": {"name": "late"}, "spec": {"sails": 2}})
        await until(http, f"{BOATS}/late", lambda boat: (boat.get("status") or {}).get("afloat"))
        await http.ok("PATCH", f"{BOATS}/late", {"spec": {"sails": 3}}, type=MERGE)
        await until(http, f"{BOATS}/late", lambda boat: (boat.get("status") or {}).get("history") == "2 to 3")
        async with asyncio.timeout(_PATIENCE_S), http.watch(BOATS, fieldSelector="metadata.name=early") as events:
            await http.ok("DELETE", f"{BOATS}/early")
            assert process.stdout is not None
            assert await process.stdout.readline() == b"SUNK early\n"
            assert "DELETED" in [event["type"] async for event in up_to_the_end(events)]
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.communicate(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
