"""Asks other resolvers what this cluster does not know: which of them, how long, and what to do when none answers.

Slow servers are raced by the next one; what is asked already is not asked twice; a server that does not answer is passed over until
a probe finds it well again; and while nobody answers, what was known last is better than nothing (RFC 8767). Nothing here waits
without end.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.cache import Cache, Hit, Question, Response
from fairlead.drivers.dns.exchange import Upstream, ask
from fairlead.drivers.dns.join import join
from fairlead.drivers.dns.meters import Meters
from fairlead.drivers.dns.protocol import Forward, failure

__all__ = ["Policy", "Resolver", "Routes", "Upstream"]

Policy: TypeAlias = Literal["sequential", "parallel", "random"]
"""`sequential`: the first server that is well; `parallel`: all at once, the first answer counts; `random`: any that is well."""

_DEADLINE_S = 4.0
"""Less than the five seconds after which resolvers ask again."""
# When none of them answered lately, a client is better served by a quick failure than by a late one.
_HOPELESS_DEADLINE_S = 1.0
_NEXT_AFTER_S = 0.5
_STALE_AFTER_S = 1.8
"""How long a client waits for a fresh answer when there is a stale one (RFC 8767 §5)."""
_SHUN_S = 5.0
_PROBE_EVERY_S = 1.0
_FAILED_S = 2.0
"""How long a question that nobody could answer is not asked again (RFC 9520)."""
_MOST_FAILED = 1024
_MOST_OUTSTANDING = 1024
_MOST_PARALLEL = 3
_FINAL = (wire.NOERROR, wire.NXDOMAIN)
_PROBE: Question = (b"\0", wire.NS, False, False)


class Routes(msgspec.Struct, frozen=True):
    """Which servers are asked about which names."""

    servers: tuple[Upstream, ...] = ()
    policy: Policy = "sequential"
    stubs: Mapping[bytes, tuple[Upstream, ...]] = {}
    """Domain → servers for it and all below, the longest match first."""

    def servers_for(self, name: bytes) -> tuple[Upstream, ...]:
        """Return the servers to ask about `name`."""
        if self.stubs:
            for suffix in wire.suffixes(name):
                if suffix in self.stubs:
                    return self.stubs[suffix]
        return self.servers


class Resolver:
    """Forwards questions by its routes."""

    def __init__(
        self,
        servers: Sequence[Upstream] | Routes,
        *,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.monotonic,
        meters: Meters | None = None,
    ) -> None:
        self._routes = servers if isinstance(servers, Routes) else Routes(tuple(servers))
        self._clock = clock
        self._shunned: dict[Upstream, float] = {}
        self._probes: dict[Upstream, asyncio.Task[None]] = {}
        self._running: dict[Question, asyncio.Task[Response | None]] = {}
        self._failed: dict[Question, float] = {}
        self._chance = random.SystemRandom()
        self._meters = meters or Meters()
        self.cache = cache if cache is not None else Cache()

    def __repr__(self) -> str:
        return f"<Resolver {self._routes} outstanding={len(self._running)} cached={len(self.cache)}>"

    @property
    def available(self) -> bool:
        """Return whether there is anybody to ask."""
        return bool(self._routes.servers or self._routes.stubs)

    def reroute(self, routes: Routes) -> None:
        """Ask by other routes from now on; what is under way goes on, what other servers said is forgotten."""
        if routes != self._routes:
            self._routes = routes
            self.cache.clear()
            self._failed.clear()

    def quick(self, forward: Forward, *, limit: int) -> bytes | Forward:
        """Return the response if it needs nobody (from the cache, or a refusal), else what `answer` must be awaited for."""
        while True:
            reply = self._quick(forward, limit=limit)
            if not isinstance(reply, Forward) or reply is forward:
                return reply
            forward = reply

    def _quick(self, forward: Forward, *, limit: int) -> bytes | Forward:
        query = forward.query
        servers = self._routes.servers_for(forward.name)
        if not servers:
            return self._refusal(forward, limit=limit)
        if not query.flags & wire.RD:
            why = (wire.EDE_NOT_AUTHORITATIVE, "recursion not desired")
            return failure(query, limit=limit, recursion=True, why=why, rcode=wire.REFUSED)
        question = _question(forward)
        now = self._clock()
        hit = self.cache.look(question, now)
        if hit is not None and (hit.fresh or self._hopeless(servers) or self._failed.get(question, 0.0) > now):
            self.cache.hits += 1
            if hit.due:
                self._fetch(question)
                self._meters.prefetches += 1
            elif not hit.fresh:
                self._meters.stale += 1
            return self._settle(hit, forward, limit=limit)
        self.cache.misses += 1
        if self._failed.get(question, 0.0) > now:
            return self._failure(forward, limit=limit)
        if len(self._running) >= _MOST_OUTSTANDING and question not in self._running:
            return failure(query, limit=limit, recursion=True, why=(0, "too many questions outstanding"))
        return forward

    async def answer(self, forward: Forward, *, limit: int) -> bytes:
        """Return the response; SERVFAIL when no server answers within four seconds."""
        while True:
            reply = await self._answer(forward, limit=limit)
            if isinstance(reply, Forward):
                reply = self.quick(reply, limit=limit)
            if not isinstance(reply, Forward):
                return reply
            forward = reply

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._running.values(), *self._probes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, forward: Forward, *, limit: int) -> bytes | Forward:
        question = _question(forward)
        task = self._fetch(question)
        hit = self.cache.look(question, self._clock())
        if hit is None:
            response = await asyncio.shield(task)
        else:
            await asyncio.wait([task], timeout=_STALE_AFTER_S)
            response = task.result() if task.done() and not task.cancelled() else None
        if response is not None and response.flags & 0xF in _FINAL:
            return self._settle(Hit(response, 0, True, False), forward, limit=limit)
        if hit is not None:
            self._meters.stale += 1
            return self._settle(Hit(hit.response, hit.age_s, False, False), forward, limit=limit)
        if response is None or forward.otherwise is not None:
            return self._failure(forward, limit=limit)
        return join(Hit(response, 0, True, False), forward, limit=limit)

    def _settle(self, hit: Hit, forward: Forward, *, limit: int) -> bytes | Forward:
        """Return the response that follows from an answer: itself, or the next name of a search."""
        if forward.otherwise is not None:
            flags = hit.response.flags
            if flags & 0xF == wire.NXDOMAIN:
                return forward.then or forward.otherwise
            if not forward.last and not wire.HEADER.unpack_from(hit.response.packet)[3]:
                return forward.otherwise
        return join(hit, forward, limit=limit)

    def _refusal(self, forward: Forward, *, limit: int) -> bytes:
        if forward.otherwise is not None:
            return forward.otherwise
        outside = f"{wire.text(forward.name)} is outside of the cluster and there is no upstream resolver"
        why = (wire.EDE_NOT_AUTHORITATIVE, outside)
        if forward.chain:
            return wire.answer(forward.query, wire.SERVFAIL, answers=forward.chain, limit=limit, why=why)
        return failure(forward.query, limit=limit, recursion=False, why=why, rcode=wire.REFUSED)

    def _failure(self, forward: Forward, *, limit: int) -> bytes:
        if forward.otherwise is not None:
            return forward.otherwise
        why = (wire.EDE_NO_REACHABLE, "no upstream resolver answers")
        return failure(forward.query, limit=limit, recursion=True, why=why)

    def _fetch(self, question: Question) -> asyncio.Task[Response | None]:
        task = self._running.get(question)
        if task is None:
            task = self._running[question] = asyncio.create_task(self._resolve(question))
            task.add_done_callback(lambda _: self._running.pop(question, None))
        return task

    async def _resolve(self, question: Question) -> Response | None:
        servers = self._routes.servers_for(question[0])
        last: Response | None = None
        try:
            async with asyncio.timeout(_HOPELESS_DEADLINE_S if self._hopeless(servers) else _DEADLINE_S):
                last = await self._race(question, servers)
        except TimeoutError:
            pass
        if last is not None and last.flags & 0xF in _FINAL:
            # A server that was taken away meanwhile has nothing more to say.
            if servers == self._routes.servers_for(question[0]):
                self.cache.put(question, last, self._clock())
            self._failed.pop(question, None)
        else:
            if len(self._failed) >= _MOST_FAILED:
                self._failed.clear()
            self._failed[question] = self._clock() + _FAILED_S
        return last

    def _hopeless(self, servers: Iterable[Upstream]) -> bool:
        if not self._shunned:
            return False
        now = self._clock()
        return all(self._shunned.get(server, 0.0) > now for server in servers)

    async def _race(self, question: Question, servers: Sequence[Upstream]) -> Response | None:
        """Ask the first server, and each next one when that fails or is slow; the first final answer wins."""
        waiting = list(servers)
        if self._routes.policy == "random":
            self._chance.shuffle(waiting)
        waiting.sort(key=lambda server: self._shunned.get(server, 0.0) > self._clock())
        at_once = min(_MOST_PARALLEL, len(waiting)) if self._routes.policy == "parallel" else 1
        waiting += waiting
        tries: dict[asyncio.Task[Response | None], tuple[Upstream, float]] = {}
        spare: Response | None = None
        try:
            while waiting or tries:
                for server in waiting[:at_once]:
                    tries[asyncio.create_task(self._try(server, question))] = server, time.monotonic()
                del waiting[:at_once]
                at_once = 1
                done, _ = await asyncio.wait(
                    tries, timeout=_NEXT_AFTER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del tries[task]
                    response = task.result()
                    if response is not None and response.flags & 0xF in _FINAL:
                        self._pass_over(tries.values())
                        return response
                    spare = response or spare
            return spare
        finally:
            for task in tries:
                task.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    def _pass_over(self, late: Iterable[tuple[Upstream, float]]) -> None:
        """Shun servers that have not answered for so long that another one did: nobody shall wait for them again."""
        before = time.monotonic() - _NEXT_AFTER_S
        for server, since in late:
            if since <= before:
                self._shun(server)

    async def _try(self, server: Upstream, question: Question) -> Response | None:
        begin = time.monotonic()
        try:
            async with asyncio.timeout(_DEADLINE_S / 2):
                response = await ask(server, question)
        except (TimeoutError, OSError, IndexError, struct.error, EOFError):
            self._shun(server)
            return None
        self._shunned.pop(server, None)
        self._meters.forwarded(server, response.flags & 0xF, time.monotonic() - begin)
        return response

    def _shun(self, server: Upstream) -> None:
        self._shunned[server] = self._clock() + _SHUN_S
        if server not in self._probes:
            task = self._probes[server] = asyncio.create_task(self._probe(server))
            task.add_done_callback(lambda _: self._probes.pop(server, None))

    async def _probe(self, server: Upstream) -> None:
        """Ask a sick server about the root until it answers anything at all or somebody else finds it well."""
        while server in self._shunned:
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                async with asyncio.timeout(_PROBE_EVERY_S):
                    await ask(server, _PROBE)
            except (TimeoutError, OSError, IndexError, struct.error, EOFError):
                self._meters.unwell(server)
                if server in self._shunned:
                    self._shunned[server] = self._clock() + _SHUN_S
            else:
                self._shunned.pop(server, None)


def _question(forward: Forward) -> Question:
    return forward.name, forward.query.type, forward.query.dnssec, bool(forward.query.flags & wire.CD)
