"""Who is well and who is not, as answers come and stay away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest

from fairlead.sources import health
from fairlead.sources.health import Check, Health, lives, serves

A, B = ("192.0.2.1", 1), ("192.0.2.2", 1)


class World:
    """Answers as a test says, and counts what it was told."""

    def __init__(self) -> None:
        self.well: set[Check] = {A, B}
        self.rounds = 0

    async def ask(self, check: Check) -> bool:
        return check in self.well

    def changed(self) -> None:
        self.rounds += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PERIOD_S", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def test_one_silence_is_forgiven_and_two_are_not() -> None:
    world = World()
    silences: list[Check] = []

    async def ask(check: Check) -> bool:
        if silences and check == silences[0]:
            silences.pop(0)
            return False
        return await world.ask(check)

    found = Health(world.changed, ask)
    found.watch([A, B])
    task = asyncio.create_task(found.run())
    try:
        await until(lambda: found.healthy == {A, B})
        silences.append(A)
        await until(lambda: not silences)
        assert found.failing == frozenset()
        world.well.discard(B)
        await until(lambda: found.failing == {B} and found.healthy == {A})
        world.well.add(B)
        await until(lambda: found.healthy == {A, B} and not found.failing)
        found.watch([A])
        await until(lambda: found.healthy == {A})
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert world.rounds >= 4


async def test_a_refusal_is_a_sign_of_life_and_no_service() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing: Check = closed.getsockname()
        assert await lives(refusing)
        assert not await serves(refusing)


@pytest.mark.parametrize(("status", "expected"), [(b"200 OK", True), (b"503 No", False)])
async def test_only_a_good_answer_is_service(status: bytes, expected: bool) -> None:
    ended = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        with contextlib.suppress(ConnectionError):
            await reader.readline()
            writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
            await writer.drain()
        writer.transport.abort()
        ended += 1

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        where: Check = server.sockets[0].getsockname()
        assert await serves(where) is expected
        assert await lives(where)
        await until(lambda: ended == 2)
