"""The work queue loses no key, never handles one twice at once, and backs off."""

from __future__ import annotations

import asyncio
import contextlib

from fairlead.aio.workqueue import WorkQueue


async def test_equal_keys_coalesce() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_a_key_added_in_work_is_handled_once_more() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0, "must not be handed out while it is in work"
    queue.done(key)
    assert len(queue) == 1


async def test_the_earliest_of_several_delays_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.001)
    queue.add_after("a", 60)
    async with asyncio.timeout(5):
        assert await queue.get() == "a"
    assert "delayed=0" in repr(queue)


async def test_failed_work_is_tried_again_until_it_succeeds() -> None:
    queue: WorkQueue[str] = WorkQueue(first_delay_s=0.001)
    attempts: list[str] = []
    done = asyncio.Event()

    async def handle(key: str) -> None:
        attempts.append(key)
        if len(attempts) < 4:
            raise RuntimeError("not yet")
        done.set()

    queue.add("a")
    task = asyncio.create_task(queue.run(handle, workers=2))
    async with asyncio.timeout(5):
        await done.wait()
    await asyncio.sleep(0)
    assert queue.failures("a") == 0
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_one_key_is_never_in_two_hands() -> None:
    queue: WorkQueue[int] = WorkQueue()
    busy: set[int] = set()
    handled = 0
    finished = asyncio.Event()

    async def handle(key: int) -> None:
        nonlocal handled
        assert key not in busy
        busy.add(key)
        await asyncio.sleep(0)
        busy.discard(key)
        handled += 1
        if handled < 200:
            queue.add(key)
            queue.add((key + 1) % 3)
        else:
            finished.set()

    queue.add(0)
    task = asyncio.create_task(queue.run(handle, workers=8))
    async with asyncio.timeout(10):
        await finished.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_delays_of_any_length_on_uvloop() -> None:
    import uvloop

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for delay_s in (1e-9, 1e-4, 0.01, 1e-9):
            queue.add_after("a", delay_s)
        assert await queue.get() == "a"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
