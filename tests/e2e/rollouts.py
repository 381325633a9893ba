"""Rolling updates one after the other, by one client that stays connected: starting kubectl twice for each took longer than the pods."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

from tests.e2e.conftest import Lab

from fairlead.api.resources import DEPLOYMENTS
from fairlead.sources.client import Client

_EACH_S = 60.0
_PROGRESS = 10


def roll(lab: Lab, name: str, times: int) -> None:
    """Replace all pods of the Deployment `name` of the namespace of that name so many times.

    Says from time to time how far it is. Raises TimeoutError when one of them takes longer than a minute.
    """
    asyncio.run(_roll(lab, name, times))


async def _roll(lab: Lab, name: str, times: int) -> None:
    begun = time.monotonic()
    async with Client.from_kubeconfig(lab.folder / "kubeconfig", user_agent="rollouts") as client:
        for at in range(1, times + 1):
            async with asyncio.timeout(_EACH_S):
                await _once(client, name)
            if at % _PROGRESS == 0:
                taken_s = time.monotonic() - begun
                print(f"{at} of {times} rolling updates, {taken_s:.0f} s, {taken_s / at:.2f} s each", flush=True)


async def _once(client: Client, name: str) -> None:
    template = {"metadata": {"annotations": {"again": os.urandom(4).hex()}}}
    deployment = await client.patch(DEPLOYMENTS, name, {"spec": {"template": template}}, namespace=name)
    version = deployment["metadata"]["resourceVersion"]
    changes = client.watch(
        DEPLOYMENTS, namespace=name, field_selector=f"metadata.name={name}", resource_version=version
    )
    async with contextlib.aclosing(changes):
        async for kind, deployment in changes:
            if kind == "MODIFIED" and _complete(deployment):
                return
    raise AssertionError(f"the watch of deployment {name} ended before its rolling update")


def _complete(deployment: dict[str, Any]) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    status, replicas = deployment["status"], deployment["spec"]["replicas"]
    counts = {status.get(each) for each in ("replicas", "updatedReplicas", "availableReplicas")}
    return bool(status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == {replicas})
