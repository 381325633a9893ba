"""The proxy's admin interface, as far as it is asked: HTTP on a Unix socket in a folder that is the proxy's own.

What answers there is believed in nothing that matters: lengths and times are bounded, and a failure means that nobody answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import msgspec

_ANSWER_S = 2.0
_MOST_BYTES = 4 << 20
_COUNTED = "^listener\\..*\\.(downstream_cx_(total|active|overflow)|no_filter_chain_match|ssl\\.connection_error|http\\.gateway\\.downstream_rq_.xx)$"
_TIMED = "^http\\.gateway\\.downstream_rq_time$"
_STEP = re.compile(
    r'^envoy_http_downstream_rq_time_(bucket|sum|count)\{[^}]*?(?:le="([0-9.]+|\+Inf)")?\} ([0-9.e+]+)$', re.MULTILINE
)


class _Stat(msgspec.Struct, frozen=True):
    name: str = ""
    value: int = 0


class _Stats(msgspec.Struct, frozen=True):
    stats: tuple[_Stat, ...] = ()


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the proxy counts."""

    values: Mapping[str, int] = {}
    """By its own names."""
    durations: Mapping[str, int] = {}
    """Requests that took no longer than so many milliseconds (`+Inf`: all), and under `sum` and `count` what they took and how many they were."""


class Admin:
    """Asks the admin interface at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def pid(self) -> int | None:
        """Return whose process listens there (SO_PEERCRED, unix(7)), None when none does."""
        try:
            with self._reachable() as path, socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_ANSWER_S)
                probe.connect(path)
                return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        except OSError:
            return None

    async def is_live(self) -> bool:
        """Tell whether the proxy has all that it needs to serve."""
        try:
            return await self._ask("GET", "/ready") == b"LIVE\n"
        except OSError:
            return False

    async def connections(self) -> int:
        """Return how many connections of clients are open; 0 when the proxy does not answer."""
        query = "/stats?format=json&filter=^listener\\..*\\.downstream_cx_active$"
        try:
            found = msgspec.json.decode(await self._ask("GET", query), type=_Stats)
        except (OSError, msgspec.DecodeError):
            return 0
        return sum(each.value for each in found.stats if not each.name.startswith("listener.admin."))

    async def drain(self, draining: bool) -> bool:
        """Have the proxy ask its clients to connect again elsewhere with every answer, or no longer; tell whether it took it.

        While it fails its health check it closes connections of HTTP/1 after an answer and sends GOAWAY in HTTP/2; it serves on.
        """
        try:
            await self._ask("POST", f"/healthcheck/{'fail' if draining else 'ok'}")
        except OSError:
            return False
        return True

    async def counted(self) -> Counts:
        """Return what the proxy counts of Gateways; nothing when it does not answer. Costs time proportional to the listeners."""
        try:
            stats = msgspec.json.decode(await self._ask("GET", f"/stats?format=json&filter={_COUNTED}"), type=_Stats)
            text = (await self._ask("GET", f"/stats?format=prometheus&filter={_TIMED}")).decode("ascii")
            durations = {end or part: int(float(value)) for part, end, value in _STEP.findall(text)}
        except (OSError, ValueError, OverflowError):
            return Counts()
        return Counts(values={each.name: each.value for each in stats.stats if each.name}, durations=durations)

    async def shut(self) -> bool:
        """Have the proxy take no more clients, and ask those it has to leave with their next answers; tell whether it took it."""
        try:
            await self._ask("POST", "/healthcheck/fail")
            await self._ask("POST", "/drain_listeners")
        except OSError:
            return False
        return True

    async def reopen_logs(self) -> bool:
        """Have the proxy open its logs anew by their names; tell whether it did."""
        try:
            await self._ask("POST", "/reopen_logs")
        except OSError:
            return False
        return True

    async def _ask(self, method: str, target: str) -> bytes:
        """Return the body of an answer; raises OSError when there is none that is good."""
        try:
            with self._reachable() as path:
                async with (
                    asyncio.timeout(_ANSWER_S),
                    aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
                    session.request(method, f"http://admin{target}", raise_for_status=True) as response,
                ):
                    body = bytearray()
                    async for part in response.content.iter_any():
                        body += part
                        if len(body) > _MOST_BYTES:
                            raise ConnectionError(f"{target}: more than {_MOST_BYTES} bytes")
                    return bytes(body)
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{target}: {error}") from error

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[str]:
        """Yield a short path to the socket, however deep the folder is: a socket's name has 108 bytes."""
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{self._path.name}"
        finally:
            os.close(folder)
