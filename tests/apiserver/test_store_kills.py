"""The store under kill -9 at random moments, again and again on one file: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Json, Op

KILLS = 200
WRITERS = 6
_NAMES = 5
_HISTORY = 300
"""Small, so that history is trimmed while writes go on."""


async def write_forever(path: Path, said: int, seed: int) -> None:
    """Write from several tasks, telling each answer in one line: `WRITER NAME NUMBER` of the object, or 0 for a deletion."""
    store = Store(path, history_changes=_HISTORY)
    store.open()

    async def one(writer: int) -> None:
        chance = random.Random(seed * WRITERS + writer)
        while True:
            number = chance.randrange(1, 1 << 40)
            name = f"w{writer}-{chance.randrange(_NAMES)}"
            expected = store.latest("things", "n", name)
            gone = expected is not None and chance.random() < 0.2
            obj: Json | None = (
                None if gone else {"metadata": {"name": name}, "number": number, "pad": "x" * chance.randrange(3000)}
            )
            ops = [Op("things", ("n", name), obj, expected)]
            # Both or neither: a pair is written in one transaction.
            twin = store.latest("twins", "n", name)
            twin_obj = None if gone else {"metadata": {"name": name}, "number": number}
            if twin_obj is not None or twin is not None:
                ops.append(Op("twins", ("n", name), twin_obj, twin))
            # What is asked for is told before, so that what was done without an answer can be known.
            os.write(said, f"? {name} {0 if gone else number}\n".encode())
            await store.write(*ops)
            os.write(said, f"! {name} {0 if gone else number}\n".encode())

    await asyncio.gather(*(one(writer) for writer in range(WRITERS)))


def killed_after(path: Path, answers: int, seed: int) -> Iterator[tuple[str, str, int]]:
    """Run writers in a process of their own, kill it after so many answers, and yield (mark, name, number) of all it told."""
    listening, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(listening)
            asyncio.run(write_forever(path, said, seed))
        finally:
            os._exit(3)
    os.close(said)
    heard = 0
    with os.fdopen(listening) as lines:
        for line in lines:
            mark, name, number = line.split()
            yield mark, name, int(number)
            heard += mark == "!"
            if heard == answers:
                os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the writers ended by themselves"


async def content(path: Path) -> tuple[dict[str, int], dict[str, int], int]:
    store = Store(path, history_changes=_HISTORY)
    store.open()
    try:
        things, twins = (
            {entry.key[1]: entry.obj["number"] for entry in store.entries(table)} for table in ("things", "twins")
        )
        return things, twins, store.revision
    finally:
        await store.close()


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    chance = random.Random()
    known: dict[str, int] = {}
    revision = 0
    for kill in range(KILLS):
        doubtful: dict[str, int] = {}
        for mark, name, number in killed_after(path, chance.randrange(1, 25), chance.randrange(1 << 30)):
            if mark == "?":
                doubtful[name] = number
            else:
                known[name] = number
                del doubtful[name]
        things, twins, found_revision = asyncio.run(content(path))
        for name in known.keys() | doubtful.keys():
            allowed = {known.get(name, 0)} | ({doubtful[name]} if name in doubtful else set())
            assert things.get(name, 0) in allowed, f"kill {kill}: {name} is {things.get(name)}, not one of {allowed}"
        assert things == twins, f"kill {kill}: half of a transaction is there"
        assert found_revision > revision
        known, revision = things, found_revision
