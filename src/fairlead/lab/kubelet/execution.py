"""Running a small program to its end from within an event loop, at the price of the program alone.

A node executes three plugins per pod. asyncio's subprocesses cost as much as such a plugin does: three pipes, their transports,
and a wakeup for each. Here the streams are files in memory and the only thing to wait for is the process. It must never be used for
programs that talk while they run.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_RESET = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that the interpreter ignores; a program expects their defaults."""
_MOST_BYTES = 1 << 20


class Ended(NamedTuple):
    """How a program ended: its exit code, negative for a signal, and the first MiB of what it wrote."""

    code: int
    output: bytes
    errors: bytes


async def execute(program: Path, *, environment: Mapping[str, str], stdin: bytes, timeout_s: float) -> Ended:
    """Run `program` without arguments; raises OSError when it cannot be started and TimeoutError after killing it."""
    streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        os.pwrite(streams[0], stdin, 0)
        code = await _end_of(_start(program, environment, streams), timeout_s)
        return Ended(code, *(os.pread(fd, _MOST_BYTES, 0) for fd in streams[1:]))
    finally:
        for fd in streams:
            os.close(fd)


def _start(program: Path, environment: Mapping[str, str], streams: list[int]) -> int:
    """Return the process id of `program` with `streams` as its first descriptors; everything else of ours closes on exec."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    return os.posix_spawn(program, [str(program)], dict(environment), file_actions=actions, setsigdef=_RESET)


async def _end_of(pid: int, timeout_s: float) -> int:
    """Return the exit code of our child; however this ends, the child has ended too."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(pid)
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except BaseException:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        code = _reap(pid)
    return code


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
