"""The node's recent flows: reads the kernel's packet log, names what it says, and answers who asks over the agent's socket.

Bounded in memory and in time: the kernel sends no more than its rules let it, and old flows make room for new ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping

import msgspec

from fairlead.agent.cni.service import Reply
from fairlead.drivers.telemetry.flowlog import FlowLog
from fairlead.engine.reconcile import Engine
from fairlead.observe.flows import Flow, FlowPage, Namer

log = logging.getLogger(__name__)

_KEPT = 4096
_MOST_IN_REPLY = 1024
# An agent that ends waits for its answers.
_MOST_WAIT_S = 1.0
_RETRY_S = 10.0


class FlowKeeper:
    """Keeps the last flows of one node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._namer = Namer()
        self._log: FlowLog | None = None
        self._kept: deque[Flow] = deque(maxlen=_KEPT)
        self._count = 0
        self._error = "not started yet"
        self._news = asyncio.Event()
        self._failed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<FlowKeeper kept={len(self._kept)} of {self._count} error={self._error or None}>"

    async def run(self) -> None:
        """Read forever; without a log, try again now and then."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                opened = FlowLog()
            except OSError as error:
                if self._error != str(error):
                    log.warning("no flows", extra={"error": str(error)})
                self._error = str(error)
                await asyncio.sleep(_RETRY_S)
                continue
            self._log, self._error = opened, ""
            self._failed.clear()
            loop.add_reader(opened.fileno(), self._read)
            try:
                await self._failed.wait()
            finally:
                loop.remove_reader(opened.fileno())
                opened.close()
                self._log = None

    async def answer(self, arguments: Mapping[str, str], _: bytes) -> Reply:
        """Answer one request: `after` is a place of an earlier answer (-N: the last N), `wait_s` how long to wait for the first."""
        try:
            after = int(arguments.get("after", f"-{_MOST_IN_REPLY}"))
            wait_s = min(float(arguments.get("wait_s", "0")), _MOST_WAIT_S)
        except ValueError as error:
            return Reply(2, f"flows: {error}; give numbers".encode())
        if after < 0:
            after = max(0, self._count + after)
        # Of an agent that has started anew since: all there is.
        after = after if after <= self._count else 0
        if after == self._count and wait_s > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                pass
        return Reply(0, msgspec.json.encode(self._page(after)))

    def _page(self, after: int) -> FlowPage:
        oldest = self._count - len(self._kept)
        start = max(after, oldest)
        flows = tuple(self._kept)[start - oldest :][:_MOST_IN_REPLY]
        return FlowPage(
            node=self._engine.snapshot.settings.node,
            place=start + len(flows),
            missed=start - after,
            lost=self._log.lost if self._log is not None else 0,
            error=self._error,
            flows=flows,
        )

    def _read(self) -> None:
        assert self._log is not None
        try:
            found = self._log.read()
        except OSError as error:
            log.warning("packet log unusable", extra={"error": str(error)})
            self._error = str(error)
            self._failed.set()
            return
        now_s = time.time()
        for each in found:
            self._kept.append(self._namer.flow(each, self._engine.snapshot, self._engine.plan, now_s))
            self._count += 1
        if found:
            self._news.set()
