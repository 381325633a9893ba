"""More clients than the proxy may have files: those whom it has are served, the others are refused at once. Real Envoy, real connections."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab

from fairlead.drivers.xds import process

_FILES = 40


@pytest.mark.parametrize(
    ("files", "clients"), [(resource.RLIM_INFINITY, 1 << 19), (1 << 20, 1 << 19), (1024, 512), (1, 1)]
)
def test_how_many_clients_there_may_be(files: int, clients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.resource, "getrlimit", lambda _: (files, files))
    (monitor,) = process.bootstrap("n", process._descriptors())["overload_manager"]["resource_monitors"]
    assert monitor["typed_config"]["max_active_downstream_connections"] == clients


async def test_clients_beyond_half_of_the_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.resource, "getrlimit", lambda _: (_FILES, _FILES))
    lab = GatewayLab(tmp_path)
    crowd: list[asyncio.StreamWriter] = []
    try:
        await lab.start()
        await lab.backend("one")
        await lab.apply(
            """
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
kind: HTTPRoute
metadata: {name: crowd}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: one, port: 80}]}]}
"""
        )

        async def asked() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["web", 80])
            crowd.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: crowd.example.com\r\n\r\n")
            try:
                return (await asyncio.wait_for(reader.read(15), 30)).removeprefix(b"HTTP/1.1 ")
            except ConnectionResetError:
                return b""

        found = [await asked() for _ in range(_FILES)]
        assert found == [b"200 OK"] * (_FILES // 2) + [b""] * (_FILES // 2)
        for writer in crowd:
            writer.close()

        # Envoy hears of each end on its own time.
        async with asyncio.timeout(30):
            while await asked() != b"200 OK":
                pass
    finally:
        for writer in crowd:
            writer.close()
        await lab.stop()
