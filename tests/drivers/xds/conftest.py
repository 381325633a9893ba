from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab

from fairlead.drivers.xds.tables import MANY
from fairlead.lab.runtime import kernel


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask all that a module asks both of a port with few hosts and of one with many, where it says so (`FEW_AND_MANY`).

    What has nothing to do with hosts is marked `few` and asked once.
    """
    if "lab" in metafunc.fixturenames and getattr(metafunc.module, "FEW_AND_MANY", False):
        once = metafunc.definition.get_closest_marker("few") is not None
        sizes = {"few": MANY} if once else {"few": MANY, "many": 0}
        metafunc.parametrize("lab", sizes.values(), ids=sizes, indirect=True, scope="module")


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A network of the module's own: the proxies change a setting of theirs."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    kernel.unshare(kernel.CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        kernel.setns(before, kernel.CLONE_NEWNET)
        os.close(before)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(request: pytest.FixtureRequest, tmp_path_factory: object) -> AsyncIterator[GatewayLab]:
    """One Envoy for a module, with a Gateway `web` that takes every route of its namespace on port 80."""
    folder: Path = tmp_path_factory.mktemp("gateway")  # type: ignore[attr-defined]
    found = GatewayLab(folder, many=getattr(request, "param", MANY))
    try:
        await found.start()
        for name in ("one", "two"):
            await found.backend(name)
        await found.apply(
            """
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
        )
        yield found
    finally:
        await found.stop()
