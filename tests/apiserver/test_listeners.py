"""Addresses to listen on, and sockets inside of other network namespaces."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from conftest import settings
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.server import Server
from fairlead.base.errors import UserError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6443", Address("127.0.0.1", 6443)),
        ("[::1]:6443", Address("::1", 6443)),
        ("netns=/run/netns/x,[10.10.0.10]:6443", Address("10.10.0.10", 6443, Path("/run/netns/x"))),
        ("netns=/run/netns/x,[fd10:10::a]:6443", Address("fd10:10::a", 6443, Path("/run/netns/x"))),
    ],
)
def test_addresses(text: str, address: Address):
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "6443", "a:b", "::1:6443", "127.0.0.1:70000", "netns=x"])
def test_addresses_that_are_none(text: str):
    with pytest.raises(UserError, match="is no address"):
        Address.parse(text)


async def test_a_taken_address_is_a_users_mistake(tmp_path: Path, certificates: Path):
    async with Server(settings(tmp_path / "one", certificates)) as server:
        taken = settings(tmp_path / "two", certificates)
        object.__setattr__(taken, "listen", [Address("127.0.0.1", server.ports[0])])
        with pytest.raises(UserError, match="Address already in use"):
            async with Server(taken):
                pass


async def test_missing_certificates_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"apiserver\.crt"):
        async with Server(settings(tmp_path, tmp_path)):
            pass


@pytest.mark.kernel
async def test_listening_inside_of_namespaces(tmp_path: Path, certificates: Path):
    name = f"flt-apiserver-{os.getpid()}"
    netns = Path("/run/netns") / name
    await _run(["ip", "netns", "add", name])
    try:
        await _run(["ip", "-n", name, "link", "set", "lo", "up"])
        await _run(["ip", "-n", name, "addr", "add", "10.10.0.10/32", "dev", "lo"])
        wanted = settings(tmp_path, certificates)
        inside = [Address("10.10.0.10", 6443, netns), Address("fd10:10::a", 6443, netns)]
        object.__setattr__(wanted, "listen", [Address("127.0.0.1", 0), *inside])
        async with Server(wanted):
            await _run(["ip", "-n", name, "addr", "add", "fd10:10::a/128", "dev", "lo", "nodad"])
            for host in ("10.10.0.10", "[fd10:10::a]"):
                command = ["ip", "netns", "exec", name, "curl", "-skS", f"https://{host}:6443/readyz"]
                assert await _run(command) == b"ok"
        absent = settings(tmp_path, certificates)
        object.__setattr__(absent, "listen", [Address("10.10.0.10", 6443, Path("/run/netns/none"))])
        with pytest.raises(UserError, match="No such file"):
            async with Server(absent):
                pass
    finally:
        await _run(["ip", "netns", "del", name])


async def _run(command: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, command
    return output
