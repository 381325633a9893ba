"""What was acknowledged survives kill -9, whenever it comes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from apiserver_client import Http, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def start(state: Path, certificates: Path, port: int) -> tuple[asyncio.subprocess.Process, Http]:
    arguments = ["--state", str(state), "--pki", str(certificates), "--listen", f"127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead", "apiserver", *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"event=ready" in line:
            return process, Http(certificates, port)
    raise AssertionError("the server ended before it was ready")


async def write_until_cut(http: Http, worker: int, acknowledged: dict[str, str], noted: Callable[[], None]) -> str:
    """Write until the connection breaks, noting each answer; returns the name whose deletion was asked for and not answered, if any."""
    number = 0
    while True:
        name = f"w{worker}-{number % 7}"
        deletes = name in acknowledged and number % 3 == 0
        try:
            if deletes:
                answer = await http("DELETE", f"{MAPS}/{name}")
                assert answer.code == 200
                del acknowledged[name]
            else:
                method, path = ("PUT", f"{MAPS}/{name}") if name in acknowledged else ("POST", MAPS)
                answer = await http(method, path, config_map(name, n=str(number)))
                assert answer.code in (200, 201), answer.body
                acknowledged[name] = answer.body["metadata"]["resourceVersion"]
        except (aiohttp.ClientError, ConnectionError):
            return name if deletes else ""
        noted()
        number += 1


@pytest.mark.parametrize("answers", [20, 100, 300])
async def test_kill_loses_nothing_acknowledged(tmp_path: Path, certificates: Path, answers: int):
    port = free_port()
    process, http = await start(tmp_path, certificates, port)
    acknowledged: list[dict[str, str]] = [{} for _ in range(8)]
    # Killed between answers, not at a time: a slow machine must not change what is tested.
    countdown = iter([False] * (answers + random.randrange(20)) + [True])

    def noted() -> None:
        if next(countdown, False):
            os.kill(process.pid, signal.SIGKILL)

    workers = [asyncio.create_task(write_until_cut(http, n, mine, noted)) for n, mine in enumerate(acknowledged)]
    unanswered = await asyncio.gather(*workers)
    await process.wait()
    await http.close()
    process, http = await start(tmp_path, certificates, port)
    try:
        listed = await http.ok("GET", MAPS)
        found = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
        for mine, doubtful in zip(acknowledged, unanswered, strict=True):
            for name, version in mine.items():
                # Only a deletion without an answer may have removed it, only a write without one may have made it newer.
                if name != doubtful:
                    assert name in found, f"{name} was acknowledged at {version} and is lost"
                if name in found:
                    assert int(found[name]) >= int(version), name
        assert int(listed["metadata"]["resourceVersion"]) >= max(int(v) for mine in acknowledged for v in mine.values())
    finally:
        process.terminate()
        assert await process.wait() == 0
        await http.close()


async def test_only_one_server_per_state(tmp_path: Path, certificates: Path):
    process, http = await start(tmp_path, certificates, free_port())
    try:
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead", "apiserver", "--state", str(tmp_path), "--pki", str(certificates),
            "--listen", f"127.0.0.1:{free_port()}", stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, text = await second.communicate()
        assert second.returncode == 1
        assert b"another API server works on" in text
        assert b"Traceback" not in text
    finally:
        process.terminate()
        await process.wait()
        await http.close()
