"""An API server in this process, and a client of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import apiserver_pki  # noqa: E402
from apiserver_client import Http  # noqa: E402

from fairlead.apiserver.listeners import Address  # noqa: E402
from fairlead.apiserver.server import Server, Settings  # noqa: E402


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    apiserver_pki.cluster(folder)
    return folder


def settings(state: Path, certificates: Path, **more: Any) -> Settings:
    return Settings(
        state=state,
        pki=certificates,
        listen=[Address("127.0.0.1", 0)],
        advertise=[Address("10.10.0.10", 6443)],
        kubelet_sockets=str(state / "{node}.sock"),
        **more,
    )


@pytest.fixture
async def server(tmp_path: Path, certificates: Path) -> AsyncIterator[Server]:
    async with Server(settings(tmp_path / "state", certificates)) as running:
        yield running


@pytest.fixture
async def http(server: Server, certificates: Path) -> AsyncIterator[Http]:
    client = Http(certificates, server.ports[0])
    yield client
    await client.close()
