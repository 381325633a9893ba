"""Several resolvers, some of them ill: fail-over, health, parallel asking, stub domains, prefetch and stale answers."""

from __future__ import annotations

import asyncio

import pytest
from tests.drivers.dns.test_upstream import Behavior, ask, failing, polite, said, serving, silent

from fairlead.drivers.dns import upstream, wire
from fairlead.drivers.dns.cache import Cache
from fairlead.drivers.dns.meters import Meters
from fairlead.drivers.dns.upstream import Resolver, Routes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_NEXT_AFTER_S", 0.1)
    monkeypatch.setattr(upstream, "_DEADLINE_S", 1.0)
    monkeypatch.setattr(upstream, "_STALE_AFTER_S", 0.2)
    monkeypatch.setattr(upstream, "_PROBE_EVERY_S", 0.05)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_parallel_asks_all_at_once() -> None:
    async with serving(silent) as (slow, bad), serving(polite) as (fast, good):
        resolver = Resolver(Routes((bad, good), "parallel"))
        async with asyncio.timeout(0.09):
            assert said(await ask(resolver)) == "NOERROR 192.0.2.1"
        assert (len(slow.asked), len(fast.asked)) == (1, 1)
        await resolver.close()


async def test_a_silent_server_is_waited_for_only_once_and_comes_back_when_well() -> None:
    behavior: list[Behavior] = [silent]
    async with (
        serving(lambda question, how: behavior[0](question, how)) as (ill, first),
        serving(polite) as (_, second),
    ):
        resolver = Resolver([first, second])
        assert said(await ask(resolver, "a.example")) == "NOERROR 192.0.2.1"
        assert first in resolver._shunned
        async with asyncio.timeout(0.09):
            assert said(await ask(resolver, "b.example")) == "NOERROR 192.0.2.1"
        assert "udp b.example." not in ill.asked
        behavior[0] = polite
        async with asyncio.timeout(2):
            await resolver._probes[first]
        assert said(await ask(resolver, "c.example")) == "NOERROR 192.0.2.1"
        assert "udp c.example." in ill.asked
        await resolver.close()


async def test_stub_domains_have_servers_of_their_own() -> None:
    async with serving(polite) as (inside, stub), serving(polite) as (outside, world):
        resolver = Resolver(Routes((world,), stubs={wire.name("corp.example"): (stub,)}))
        for name in ("corp.example", "db.corp.example", "notcorp.example"):
            assert said(await ask(resolver, name)) == "NOERROR 192.0.2.1"
        assert inside.asked == ["udp corp.example.", "udp db.corp.example."]
        assert outside.asked == ["udp notcorp.example."]


@pytest.mark.parametrize("illness", [silent, failing])
async def test_what_was_known_last_is_better_than_nothing(illness: Behavior) -> None:
    behavior: list[Behavior] = [polite]
    async with serving(lambda question, how: behavior[0](question, how)) as (_, where):
        clock = Clock()
        meters = Meters()
        resolver = Resolver([where], clock=clock, meters=meters)
        assert said(await ask(resolver)) == "NOERROR 192.0.2.1"
        behavior[0] = illness
        clock.now += 120
        async with asyncio.timeout(0.9):
            reply = await ask(resolver)
        assert said(reply) == "NOERROR 192.0.2.1"
        assert reply.answer[0].ttl == 30
        assert meters.stale == 1
        async with asyncio.timeout(0.9):
            assert said(await ask(resolver)) == "NOERROR 192.0.2.1"
        clock.now += 3600
        assert said(await ask(resolver)) == "SERVFAIL"
        await resolver.close()


async def test_without_stale_answers_a_failure_is_told() -> None:
    behavior: list[Behavior] = [polite]
    async with serving(lambda question, how: behavior[0](question, how)) as (_, where):
        clock = Clock()
        resolver = Resolver([where], clock=clock, cache=Cache(stale_s=0))
        assert said(await ask(resolver)) == "NOERROR 192.0.2.1"
        behavior[0] = failing
        clock.now += 120
        assert said(await ask(resolver)) == "SERVFAIL"
        await resolver.close()


async def test_what_is_popular_is_fetched_before_it_ends() -> None:
    async with serving(polite) as (server, where):
        clock = Clock()
        resolver = Resolver([where], clock=clock)
        await ask(resolver)
        await ask(resolver)
        clock.now += 58
        assert said(await ask(resolver)) == "NOERROR 192.0.2.1"
        async with asyncio.timeout(2):
            await asyncio.gather(*resolver._running.values())
        clock.now += 30
        reply = await ask(resolver)
        assert reply.answer[0].ttl == 30
        assert len(server.asked) == 2


async def test_a_question_that_nobody_can_answer_is_not_asked_again_at_once() -> None:
    async with serving(failing) as (server, where):
        clock = Clock()
        resolver = Resolver([where], clock=clock)
        assert said(await ask(resolver)) == "SERVFAIL"
        asked = len(server.asked)
        assert said(await ask(resolver)) == "SERVFAIL"
        assert len(server.asked) == asked
        clock.now += 3
        assert said(await ask(resolver)) == "SERVFAIL"
        assert len(server.asked) > asked


async def test_other_routes_forget_what_other_servers_said() -> None:
    async with serving(polite) as (first, one), serving(polite) as (second, two):
        resolver = Resolver([one])
        await ask(resolver)
        resolver.reroute(Routes((two,)))
        await ask(resolver)
        resolver.reroute(Routes((two,)))
        await ask(resolver)
        assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_metrics_are_those_of_dashboards() -> None:
    async with serving(polite) as (_, where):
        meters = Meters()
        resolver = Resolver([where], meters=meters)
        await ask(resolver)
        await ask(resolver)
        meters.asked(1, "udp", wire.A, 0)
        meters.tally(wire.A, 0)[1] += 3
        text = meters.text(cache_entries=1, cache_hits=1, cache_misses=1, failures={"x_total": 2})
        assert f'coredns_forward_requests_total{{to="127.0.0.1:{where.port}"}} 1' in text
        assert (
            'coredns_dns_requests_total{family="2",proto="udp",server="dns://:53",type="A",view="",zone="."} 3' in text
        )
        assert 'rcode="NOERROR",server="dns://:53",view="",zone="."} 4' in text
        assert "x_total 2\n" in text
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(families) == len(set(families))
        # Every sample follows the declaration of its own family: what the text format asks for.
        current = ""
        for line in text.splitlines():
            if line.startswith("#"):
                current = line.split()[2]
            else:
                assert line.startswith(current)
