"""ip(8) and nft(8) in the network namespace of this process."""

from __future__ import annotations

import asyncio
import json
import subprocess


async def ip(*arguments: str, given: str = "") -> str:
    """Return what `ip` prints; raises OSError with its words."""
    return await _run(["ip", *arguments], given)


async def device_to(address: str) -> str:
    """Return the interface that leads to an address; raises OSError."""
    found: str = json.loads(await ip("-j", "route", "get", address))[0]["dev"]
    return found


async def nft(given: str) -> None:
    """Apply rules in one transaction; raises OSError with the words of `nft`."""
    await _run(["nft", "-f", "-"], given)


async def _run(command: list[str], given: str) -> str:
    def work() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    done = await asyncio.to_thread(work)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}; given: {given}")
    return done.stdout
