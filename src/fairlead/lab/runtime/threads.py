"""Work that a thread must do because it changes the thread: entering a namespace.

Entering cannot be undone safely when undoing fails, so each piece of work gets a thread that ends afterwards.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fairlead.lab.netns import enter

T = TypeVar("T")


async def inside(path: Path, work: Callable[[], T]) -> T:
    """Run `work` in a thread inside the namespace `path`."""

    def entered() -> T:
        enter(path)
        return work()

    return await in_thread(entered)


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a new thread that no other work will ever share."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=body, name="netns", daemon=True).start()
    return await asyncio.shield(done)
