"""The executable as a runtime starts it, against a real socket: what is printed, how it exits, and what happens without an agent."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from tests.agent.cni.memory import Kernel, Network

from fairlead.agent.attachments import AttachmentStore
from fairlead.agent.cni import framing, install, server
from fairlead.agent.cni.protocol import MOST_BYTES
from fairlead.agent.cni.service import Reply

CONFIG = json.dumps({"cniVersion": "1.0.0", "name": "fairlead", "type": "fairlead"}).encode()


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own folders are too long for socket addresses.
    with tempfile.TemporaryDirectory(prefix="flt-cni-") as path:
        yield Path(path)


@pytest.fixture
def installed(folder: Path) -> install.Installation:
    return install.install(folder / "agent.sock", folder / "bin", folder / "net.d", [])


async def echo(arguments: Mapping[str, str], body: bytes) -> Reply:
    return Reply(0, json.dumps(dict(arguments)).encode() + body)


@pytest.fixture
async def agent(folder: Path) -> AsyncIterator[Network]:
    network = Network()
    store = AttachmentStore(folder / "attachments")
    async with server.serve(folder / "agent.sock", store, network, Kernel(network), verbs={"echo": echo}):
        yield network


async def run(plugin: Path, command: str, stdin: bytes = CONFIG, **more: str) -> tuple[int, bytes]:
    variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/ns/c1"}
    process = await asyncio.create_subprocess_exec(
        plugin, env=variables | more, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(stdin)
    return process.returncode or 0, output


async def test_add_and_del(installed: install.Installation, agent: Network) -> None:
    status, output = await run(installed.plugin, "ADD", CNI_ARGS="K8S_POD_NAME=web;K8S_POD_NAMESPACE=default")
    assert status == 0
    assert json.loads(output)["cniVersion"] == "1.0.0"
    assert agent.kernel["c1", "eth0"].pod_name == "web"
    assert await run(installed.plugin, "DEL") == (0, b"")
    assert agent.kernel == {}


async def test_errors_exit_with_one_and_a_cni_error(installed: install.Installation, agent: Network) -> None:
    status, output = await run(installed.plugin, "ADD", b"{")
    assert (status, json.loads(output)["code"]) == (1, 6)
    status, output = await run(installed.plugin, "ADD", b" " * (MOST_BYTES + 2))
    assert (status, json.loads(output)["code"]) == (1, 5)
    status, output = await run(installed.plugin, "ADD", CNI_ARGS="x" * 100_000)
    assert (status, json.loads(output)["code"]) == (1, 7)


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
async def test_without_an_agent_the_runtime_is_told_to_try_again(
    installed: install.Installation, command: str, code: int
) -> None:
    status, output = await run(installed.plugin, command)
    error = json.loads(output)
    assert (status, error["code"], error["cniVersion"]) == (1, code, "1.0.0")
    assert "agent.sock: No such file or directory" in error["details"]


async def test_version_needs_no_agent(installed: install.Installation) -> None:
    status, output = await run(installed.plugin, "VERSION", b'{"cniVersion": "1.1.0"}')
    assert (status, json.loads(output)["cniVersion"], json.loads(output)["supportedVersions"][-1]) == (
        0,
        "1.1.0",
        "1.1.0",
    )


@pytest.mark.parametrize("answer", [b"", b"0 100\n{}", b"nonsense\n"])
async def test_an_agent_that_dies_while_answering_is_a_retryable_error(
    installed: install.Installation, folder: Path, answer: bytes
) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(die, folder / "agent.sock"):
        status, output = await run(installed.plugin, "ADD")
    assert (status, json.loads(output)["code"]) == (1, 11)


async def test_the_socket_answers_other_requests_and_refuses_nonsense(folder: Path, agent: Network) -> None:
    path = folder / "agent.sock"
    assert await server.call(path, "echo", {"a": "b=c"}, b"!") == (0, b'{"a": "b=c"}!')
    status, output = await server.call(path, "fly", {})
    assert status == 2
    assert b"unknown request 'fly'; known are cni, echo" in output
    for request in (
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"cni 1 -1 0\n",
        b"cni 9 0 0\n",
        b"cni 1 0 999999999\n",
        b"x" * 99999,
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request)
        writer.write_eof()
        data = await reader.read(-1)
        assert data == b"" or framing.parse_reply(data)[0] == 2
        writer.close()


async def test_only_this_user_may_connect(folder: Path, agent: Network) -> None:
    assert stat.S_IMODE((folder / "agent.sock").stat().st_mode) == 0o600


async def test_a_socket_that_a_dead_agent_left_is_replaced(folder: Path) -> None:
    path = folder / "agent.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    network = Network()
    async with server.serve(path, AttachmentStore(folder / "attachments"), network, Kernel(network)):
        assert (await server.call(path, "cni", {"CNI_COMMAND": "VERSION"}, b"{}"))[0] == 0
    assert not path.exists()


async def test_a_long_path_works() -> None:
    with tempfile.TemporaryDirectory(prefix="flt-cni-" + "x" * 120) as name:
        folder = Path(name)
        installed = install.install(folder / "agent.sock", folder / "bin", folder / "net.d", [])
        network = Network()
        async with server.serve(folder / "agent.sock", AttachmentStore(folder / "a"), network, Kernel(network)):
            assert (await run(installed.plugin, "ADD"))[0] == 0


def fake_plugin(folder: Path, name: str, versions: list[str]) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{json.dumps({'supportedVersions': versions})}'\n")
    path.chmod(0o755)


def test_the_configuration_speaks_the_newest_version_of_the_whole_chain(folder: Path) -> None:
    where = (folder / "agent.sock", folder / "bin", folder / "net.d", [folder / "none", folder])
    alone = install.install(*where)
    assert (alone.version, alone.missing) == ("1.1.0", ("portmap", "bandwidth"))
    fake_plugin(folder, "portmap", ["0.4.0", "1.0.0"])
    fake_plugin(folder, "bandwidth", ["0.4.0", "1.0.0", "1.1.0", "2.0.0"])
    chained = install.install(*where)
    assert (chained.version, chained.missing) == ("1.0.0", ())
    document = json.loads(chained.conflist.read_text())
    assert (document["cniVersion"], document["name"]) == ("1.0.0", "fairlead")
    assert document["disableCheck"]
    assert [each["type"] for each in document["plugins"]] == ["fairlead", "portmap", "bandwidth"]
    fake_plugin(folder, "portmap", ["1.0.0", "1.1.0"])
    document = json.loads(install.install(*where).conflist.read_text())
    assert (document["cniVersion"], "disableCheck" in document) == ("1.1.0", False)


def test_installing_twice_changes_nothing_and_uninstalling_removes_all(folder: Path) -> None:
    where = (folder / "agent.sock", folder / "bin", folder / "net.d", [])
    first = install.install(*where)
    before = (first.plugin.stat().st_mtime_ns, first.conflist.stat().st_mtime_ns)
    install.install(*where)
    assert (first.plugin.stat().st_mtime_ns, first.conflist.stat().st_mtime_ns) == before
    assert os.access(first.plugin, os.X_OK)
    for _ in range(2):
        install.uninstall(folder / "bin", folder / "net.d")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["with space", "it's", "/".join(["x" * 90] * 3)])
async def test_an_interpreter_that_no_first_line_can_name_is_started_by_a_shell(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str
) -> None:
    interpreter = folder / name / "it's python"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setattr(os.path, "realpath", lambda _: str(interpreter))
    installed = install.install(folder / "agent.sock", folder / "bin", folder / "net.d", [])
    monkeypatch.undo()
    assert installed.plugin.read_text().startswith("#!/bin/sh\n")
    assert (await run(installed.plugin, "VERSION"))[0] == 0
