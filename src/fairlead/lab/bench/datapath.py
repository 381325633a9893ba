"""What a Service costs packets: a pod that reaches another through a cluster address, against a plain link and the peer's rules.

Three loads: a byte there and back (sockperf), a connection opened and closed (our own loop, whose few microseconds of Python are the same
for all), and a stream (iperf3). Client and server share one processor, so that a number is what the path costs and not how soon another
processor wakes. Rounds of all worlds alternate and medians are reported. It must never touch the namespace that it was started in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from fairlead.base.errors import UserError
from fairlead.lab.bench import datapath_world as world
from fairlead.lab.bench.datapath_world import World
from fairlead.lab.bench.processes import on
from fairlead.lab.bench.report import Measurement, Report, machine
from fairlead.lab.netns import make_socket, within

OURS, DIRECT, ROUTED, PEER = "fairlead", "direct veth", "routed without rules", "kube-proxy 1.36 shape"
_PROGRAMS = ("sockperf", "iperf3")
_BYTES = "14"
_TIMEOUT_S = 10.0
_ROUND_TRIP = re.compile(r"percentile 50\.000 =\s+([0-9.]+)")

Step = Callable[[str], contextlib.AbstractContextManager[None]]


def run(*, rounds: int, seconds: int, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError when a program is missing or a world does not work."""
    missing = [each for each in _PROGRAMS if shutil.which(each) is None]
    if missing:
        raise UserError(
            f"there is no {' and no '.join(missing)} to make the load", fix=f"apt-get install {' '.join(missing)}"
        )
    rows: list[Measurement] = []
    for case, nodes in (("same node", 1), ("cross-node", 2)):
        with contextlib.ExitStack() as stack:
            with step(f"{case}: making the worlds"):
                worlds = {
                    DIRECT: stack.enter_context(world.direct("direct")),
                    ROUTED: stack.enter_context(world.routed("routed", nodes, world.no_rules, world.SERVER)),
                    PEER: stack.enter_context(world.routed("peer", nodes, world.peer_rules, world.VIP)),
                    OURS: stack.enter_context(world.routed("ours", nodes, world.our_rules, world.VIP)),
                }
            rows += _measure(case, worlds, rounds=rounds, seconds=seconds, step=step)
    return Report(name="datapath", machine=machine(), rows=tuple(rows))


def _measure(case: str, worlds: Mapping[str, World], *, rounds: int, seconds: int, step: Step) -> Iterator[Measurement]:
    for metric, unit, measure, larger_is_better in (
        ("request/response, p50", "us", _request_response, False),
        ("connect/close, p50", "us", _connect_close, False),
        ("stream", "Gbit/s", _stream, True),
    ):
        found: dict[str, list[float]] = {name: [] for name in worlds}
        for number in range(1, rounds + 1):
            with step(f"{case}, {metric}, round {number} of {rounds}"):
                for name, each in worlds.items():
                    found[name].append(measure(each, seconds))
        medians = {name: median(values) for name, values in found.items()}
        ours = medians.pop(OURS)
        yield Measurement(case=case, metric=metric, value=ours, unit=unit)
        for name, theirs in medians.items():
            ratio = ours / theirs if larger_is_better else theirs / ours
            yield Measurement(case=case, metric=metric, value=theirs, unit=unit, against=name, ratio=ratio)


def _request_response(place: World, seconds: int) -> float:
    """Return the microseconds of one byte there and one back, p50."""
    command = ["sockperf", "ping-pong", "--tcp", "-i", place.target, "-p", str(world.RESPONSE_PORT), "-m", _BYTES]
    text = _asked(place, [*command, "--full-rtt", "-t", str(seconds)])
    found = _ROUND_TRIP.search(text)
    if found is None:
        raise UserError(f"sockperf says no round-trip time: {text.strip()[-300:]}")
    return float(found[1])


def _stream(place: World, seconds: int) -> float:
    """Return the gigabits a second that arrive."""
    command = ["iperf3", "-c", place.target, "-p", str(world.STREAM_PORT), "-t", str(seconds), "-J"]
    found = json.loads(_asked(place, command))
    return float(found["end"]["sum_received"]["bits_per_second"]) / 1e9


def _connect_close(place: World, seconds: int) -> float:
    """Return the microseconds of a connection that is opened, ended by the server and closed, p50."""
    with make_socket(place.server, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((world.SERVER, world.CONNECT_PORT))
        listener.listen(16)
        taken = within(place.client, lambda: _connections(listener, place.target, seconds))
    return median(taken) * 1e6


def _connections(listener: socket.socket, target: str, seconds: float) -> list[float]:
    """Open and close connections one after the other, both ends in this thread, and return the seconds of each."""
    taken: list[float] = []
    with on(0):
        end = time.perf_counter() + seconds
        begun = time.perf_counter()
        while begun < end:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.settimeout(_TIMEOUT_S)
                client.connect((target, world.CONNECT_PORT))
                listener.accept()[0].close()
                client.recv(1)
            now = time.perf_counter()
            taken.append(now - begun)
            begun = now
    return taken


def _asked(place: World, command: list[str]) -> str:
    with on(0):
        done = subprocess.run(
            ["nsenter", f"--net={place.client}", *command],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    if done.returncode:
        raise UserError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
