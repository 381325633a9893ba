from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: object) -> AsyncIterator[GatewayLab]:
    """One Envoy for a module, with a Gateway `web` that takes every route of its namespace on port 80."""
    folder: Path = tmp_path_factory.mktemp("gateway")  # type: ignore[attr-defined]
    found = GatewayLab(folder)
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
