"""The event loop of forked programs: order of timers, work from other threads, signals and children. In a process of its own: it owns signals."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMS = {
    "timers in the order of their time": (
        """
        loop.later(0.02, lambda: (print("second"), loop.stop(0)))
        loop.later(0.0, lambda: print("first"))
        """,
        "first second",
        0,
    ),
    "work of another thread": (
        """
        import threading
        threading.Timer(0.01, lambda: loop.post(lambda: (print(threading.current_thread().name), loop.stop(4)))).start()
        """,
        "MainThread",
        4,
    ),
    "a signal": (
        """
        loop.on_signal(signal.SIGUSR1, lambda: (print("heard"), loop.stop(0)))
        os.kill(os.getpid(), signal.SIGUSR1)
        """,
        "heard",
        0,
    ),
    "every child's end, however many at once": (
        """
        ends = []
        def ended(pid, code):
            ends.append(code)
            if len(ends) == 21:
                print(sorted(ends)[0], sorted(ends)[-1], len(ends))
                loop.stop(0)
        loop.on_child(ended)
        for number in range(20):
            if os.fork() == 0:
                os._exit(number)
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        """,
        "-15 19 21",
        0,
    ),
    "a descriptor until it is removed": (
        """
        read, write = os.pipe()
        def ready(events):
            print(os.read(read, 1).decode())
            loop.remove(read)
            os.write(write, b"y")
            loop.later(0.02, lambda: loop.stop(0))
        loop.add(read, READ, ready)
        os.write(write, b"x")
        """,
        "x",
        0,
    ),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_it_calls_back(case: str) -> None:
    body, said, code = PROGRAMS[case]
    lines = [line.removeprefix(" " * 8) for line in body.splitlines()]
    head = "import os, signal\nfrom fairlead.lab.loop import Loop, READ\nloop = Loop()\n"
    program = head + "\n".join(lines) + "\ncode = loop.run()\nloop.close()\nraise SystemExit(code)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.returncode, done.stderr) == (said.split(), code, "")
