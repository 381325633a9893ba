"""The kubelet's HTTP API over its socket, with the API server's end of the stream."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from tests.lab.kubelet.kubelet_fakes import FakeSession, eventually

from fairlead.apiserver.streaming.kubelet_stream import CLOSE, EXIT, RESIZE, STDIN, Refused, connect


@contextlib.asynccontextmanager
async def running(node, **pod):
    async with node.kubelet():
        made = node.pod(**pod)
        await node.api.wait_pod("web", lambda status: status.get("phase") == "Running")
        yield made["metadata"]["uid"]


async def get(node, path):
    reader, writer = await asyncio.open_unix_connection(str(node.settings.socket))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


async def frames(stream):
    found = []
    while (frame := await asyncio.wait_for(stream.read(), 5)) is not None:
        found.append(frame)
    await stream.close()
    return found


async def test_health_and_pods(lab):
    node = lab()
    async with running(node):
        assert await get(node, "/healthz") == (200, "ok")
        code, body = await get(node, "/pods")
        (pod,) = json.loads(body)["items"]
        assert (code, pod["metadata"]["name"], pod["status"]["phase"]) == (200, "web", "Running")
        assert (await get(node, "/nothing"))[0] == 404


async def test_logs(lab):
    node = lab()
    async with running(node, restartPolicy="Never") as uid:
        spec = node.runtime.specs[(uid, "app")]
        spec.log_path.write_text("2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F two\n")
        assert await get(node, "/containerLogs/default/web/app?tailLines=1") == (200, "two\n")
        following = asyncio.ensure_future(get(node, "/containerLogs/default/web/app?follow=true"))
        node.runtime.exit(uid, "app", 0)
        assert await following == (200, "one\ntwo\n")


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("none/app", 404, 'pod "none" not found'),
        ("web/none", 404, 'container "none" not found in pod "web"'),
        ("web/app?previous=true", 400, 'previous terminated container "app" in pod "web" not found'),
        ("web/app?tailLines=x", 400, 'tailLines: "x" is no number'),
    ],
)
async def test_logs_that_cannot_be_read(lab, path, code, message):
    node = lab()
    async with running(node):
        assert await get(node, f"/containerLogs/default/{path}") == (code, message)


async def test_logs_of_a_container_that_waits(lab):
    node = lab()
    async with node.kubelet():
        node.pod(containers=[{"name": "app", "image": "i", "envFrom": [{"secretRef": {"name": "none"}}]}])
        await node.api.wait_for(lambda: "Failed" in node.api.reasons())
        code, message = await get(node, "/containerLogs/default/web/app")
    assert (code, message) == (400, 'container "app" in pod "web" is waiting to start: CreateContainerConfigError')


async def test_exec_carries_output_and_exit_code(lab):
    node = lab()
    node.runtime.exec_results[("sh", "-c", "x")] = (3, b"hello")
    async with running(node):
        query = [("command", "sh"), ("command", "-c"), ("command", "x"), ("stdout", "1")]
        stream = await connect(node.settings.socket, "/exec/default/web/app", query)
        output, end = await frames(stream)
    assert output == (1, b"hello")
    assert end[0] == EXIT
    assert json.loads(end[1]) == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: command terminated with exit code 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }


async def test_exec_of_an_absent_program_is_told_in_the_stream(lab):
    node = lab()
    async with running(node):
        stream = await connect(node.settings.socket, "/exec/default/web/app", [("command", "/no/such")])
        ((channel, status),) = await frames(stream)
    assert channel == EXIT
    assert 'exec: "/no/such": executable file not found in $PATH' in json.loads(status)["message"]


async def test_input_reaches_the_process(lab):
    node = lab()
    session = FakeSession(0)
    released = asyncio.Event()

    async def read():
        await released.wait()

    async def exec_(*args, **options):
        return session

    session.read, node.runtime.exec = read, exec_
    async with running(node):
        query = [("command", "cat"), ("stdin", "1"), ("tty", "1")]
        stream = await connect(node.settings.socket, "/exec/default/web/app", query)
        await stream.write(STDIN, b"typed")
        await stream.write(RESIZE, b'{"Width": 80, "Height": 24}')
        await stream.write(CLOSE, bytes([STDIN]))
        await eventually(lambda: session.eof)
        assert (session.input, session.size) == ([b"typed"], (80, 24))
        released.set()
        assert [channel for channel, _ in await frames(stream)] == [EXIT]


async def test_a_client_that_hangs_up_ends_its_process(lab):
    node = lab()
    session = FakeSession(0)

    async def read():
        await asyncio.Event().wait()

    async def exec_(*args, **options):
        return session

    session.read, node.runtime.exec = read, exec_
    async with running(node):
        stream = await connect(node.settings.socket, "/exec/default/web/app", [("command", "cat")])
        await stream.close()
        await eventually(lambda: session.killed)


async def test_attach(lab):
    node = lab()
    async with running(node):
        stream = await connect(node.settings.socket, "/attach/default/web/app", [("stdout", "1")])
        assert (await frames(stream))[0] == (1, b"attached")


async def test_a_container_that_does_not_run_cannot_be_entered(lab):
    node = lab()
    async with running(node, restartPolicy="Never") as uid:
        node.runtime.exit(uid, "app", 0)
        with pytest.raises(Refused) as refused:
            await connect(node.settings.socket, "/exec/default/web/app", [("command", "sh")])
    assert (refused.value.code, str(refused.value)) == (404, 'container not found ("app")')


async def test_port_forward_carries_bytes(lab):
    node = lab()

    async def upper(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(upper, "127.0.0.1", 0)

    async def dial(uid, port):
        return await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

    async with running(node):
        with pytest.raises(Refused, match="failed to connect to localhost:80") as refused:
            await connect(node.settings.socket, "/portForward/default/web", [("port", "80")])
        assert refused.value.code == 502
        node.runtime.dial = dial
        stream = await connect(node.settings.socket, "/portForward/default/web", [("port", "80")])
        stream.writer.write(b"hello")
        stream.writer.write_eof()
        assert await asyncio.wait_for(stream.reader.read(), 5) == b"HELLO"
        await stream.close()
    server.close()


async def test_nonsense_is_dropped(lab):
    node = lab()
    async with running(node):
        reader, writer = await asyncio.open_unix_connection(str(node.settings.socket))
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert await get(node, "/healthz") == (200, "ok")
