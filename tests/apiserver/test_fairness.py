"""Fairness: who asks without measure waits behind itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from apiserver_client import Http, config_map

from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.fairness import SEATS, Fairness, Flow, seats_of
from fairlead.apiserver.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize(
    ("verb", "subresource", "objects", "seats"),
    [
        ("get", "", 10_000, 1),
        ("create", "", 10_000, 1),
        ("list", "", 0, 1),
        ("list", "", 250, 3),
        ("list", "", 100_000, 10),
        ("deletecollection", "", 100_000, 10),
        ("watch", "", 100_000, 0),
        ("get", "log", 5, 0),
        ("create", "exec", 5, 0),
        ("get", "proxy", 5, 0),
    ],
)
def test_seats(verb: str, subresource: str, objects: int, seats: int) -> None:
    assert seats_of(verb, subresource, objects) == seats


async def turns(flow: Flow, *seats: int) -> list[asyncio.Task[None]]:
    """Return tasks that have tried to enter, in their order."""
    tasks = [asyncio.create_task(flow.enter(one)) for one in seats]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


def entered(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() and not task.cancelled() and task.exception() is None for task in tasks]


async def test_turns_are_taken_in_order_and_given_back() -> None:
    flow = Flow(seats=4)
    tasks = await turns(flow, 2, 2, 3, 1)
    assert entered(tasks) == [True, True, False, False], "the small one does not overtake the large one"
    flow.leave(2)
    await asyncio.sleep(0)
    assert entered(tasks) == [True, True, False, False]
    flow.leave(2)
    await asyncio.gather(*tasks)
    assert flow.inside == 2
    flow.leave(3)
    flow.leave(1)
    assert flow.is_idle
    assert repr(flow) == "<Flow free=4 inside=0 waiting=0>"


async def test_who_goes_away_holds_nothing() -> None:
    flow = Flow(seats=1)
    tasks = await turns(flow, 1, 1, 1)
    tasks[1].cancel()
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    flow.leave(1)
    tasks[2].cancel()  # in the moment in which it was its turn
    await asyncio.gather(tasks[2], return_exceptions=True)
    assert flow.is_idle
    await asyncio.wait_for(flow.enter(1), 1)


async def test_a_large_one_that_goes_away_lets_the_small_ones_in() -> None:
    flow = Flow(seats=2)
    tasks = await turns(flow, 1, 2, 1)
    assert entered(tasks) == [True, False, False]
    tasks[1].cancel()
    await asyncio.wait_for(tasks[2], 1)


async def test_the_queue_is_bounded() -> None:
    flow = Flow(seats=1, most_waiting=2)
    tasks = await turns(flow, 1, 1, 1, 1)
    with pytest.raises(StatusError) as caught:
        await tasks[3]
    assert caught.value.code == 429
    assert caught.value.headers == {"Retry-After": "1"}
    for task in tasks[:3]:
        task.cancel()
    await asyncio.gather(*tasks[:3], return_exceptions=True)


async def test_long_running_requests_never_wait() -> None:
    flow = Flow(seats=1)
    (_, waiting) = await turns(flow, 1, 1)
    await asyncio.wait_for(flow.enter(0), 1)
    flow.leave(1)
    await waiting


def test_idle_flows_are_forgotten() -> None:
    fairness = Fairness()
    for number in range(1000):
        fairness.flow(f"user-{number}")
    assert len(fairness._flows) == 1


async def test_a_greedy_client_does_not_starve_the_others(server: Server, http: Http, certificates: Path) -> None:
    """While one user has hundreds of requests under way, another one's is answered after no more than a few of them."""
    guest = Http(certificates, server.ports[0], "guest")
    try:
        await guest.ok("GET", f"{MAPS}/kube-root-ca.crt")
        finished = 0
        begun = asyncio.Event()

        async def greedy(number: int) -> None:
            nonlocal finished
            await http.ok("POST", MAPS, config_map(f"c{number}", a="b" * 2000))
            finished += 1
            begun.set()

        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(greedy(number))
            await begun.wait()
            overtaken = []
            while finished < 200:
                before = finished
                await guest.ok("GET", f"{MAPS}/kube-root-ca.crt")
                overtaken.append(finished - before)
        # Client and server share this thread, so answers of the greedy one are read in the meantime, too: whole batches of seats, not all.
        assert sorted(overtaken)[len(overtaken) // 2] <= 2 * SEATS
    finally:
        await guest.close()
