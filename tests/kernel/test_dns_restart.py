"""The resolver is killed and restarted while pods ask, and no question is lost: not one that waits, is read, or is asked outside."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.handover import Keeper
from fairlead.lab.netns import make_socket

pytestmark = pytest.mark.kernel

PREFIX = f"flt-dnsr-{os.getpid()}"
NODE, POD = (Path("/run/netns", f"{PREFIX}-{name}") for name in ("node", "pod"))
UPSTREAM_PORT = 5300
SLOW_S = 0.25
PATIENCE_S = 20.0


def ip(*argv: str, check: bool = True) -> None:
    subprocess.run(["ip", *argv], check=check, capture_output=True, timeout=30)


@pytest.fixture
def namespaces() -> Iterator[None]:
    try:
        for place in (NODE, POD):
            ip("netns", "add", place.name)
            ip("-n", place.name, "link", "set", "lo", "up")
        ip(*f"-n {POD.name} link add eth0 type veth peer name veth netns {NODE.name}".split())
        for place, device, number in ((POD, "eth0", 2), (NODE, "veth", 1)):
            ip(*f"-n {place.name} link set {device} up".split())
            ip(*f"-n {place.name} address add 10.244.1.{number}/24 dev {device}".split())
            ip(*f"-n {place.name} address add fd10:244:0:1::{number}/64 dev {device} nodad".split())
        ip(*f"-n {POD.name} route add default via 10.244.1.1".split())
        ip(*f"-n {POD.name} route add default via fd10:244:0:1::1".split())
        yield
    finally:
        for place in (NODE, POD):
            ip("netns", "delete", place.name, check=False)


@contextlib.contextmanager
def upstream() -> Iterator[None]:
    """A resolver outside that takes its time."""
    sock = make_socket(POD, socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("10.244.1.2", UPSTREAM_PORT))
    ended = threading.Event()

    def serve() -> None:
        waiting: list[tuple[float, bytes, object]] = []
        while not ended.is_set():
            if select.select([sock], [], [], 0.01)[0]:
                packet, client = sock.recvfrom(2048)
                waiting.append((time.monotonic() + SLOW_S, packet, client))
            while waiting and waiting[0][0] <= time.monotonic():
                _, packet, client = waiting.pop(0)
                query = wire.parse_query(packet)
                record = wire.record(wire.OWNER_OF_QUESTION, wire.A, 60, bytes((192, 0, 2, 1)))
                sock.sendto(wire.answer(query, 0, answers=[record], limit=1232, recursion=True), client)  # type: ignore[arg-type]

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sock.close()


class Node:
    """The resolver's process, ended and started again."""

    def __init__(self, keeper: Path) -> None:
        self._keeper = keeper
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("dnsnode.py")
        argv = [
            "nsenter",
            f"--net={NODE}",
            sys.executable,
            str(script),
            str(self._keeper),
            f"10.244.1.2:{UPSTREAM_PORT}",
        ]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"answering\n"

    def end(self, number: int) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.send_signal(number)
        self._process.wait(20)
        self._process.stdout.close()


class Asker:
    """Asks each question once and never again; collects what comes back."""

    def __init__(self, server: str, names: Callable[[int], str]) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.sock = make_socket(POD, family, socket.SOCK_DGRAM)
        self.sock.connect((server, 53))
        self.sock.setblocking(False)
        self._names = names
        self.asked = 0
        self.answered: dict[int, bytes] = {}
        self.refused = 0

    def ask(self) -> None:
        question = wire.name(self._names(self.asked)) + struct.pack(">HH", wire.A, wire.IN)
        packet = wire.HEADER.pack(self.asked, wire.RD, 1, 0, 0, 0) + question
        self.asked += 1
        try:
            self.sock.send(packet)
        except ConnectionRefusedError:
            self.refused += 1

    def collect(self) -> None:
        while True:
            try:
                reply = self.sock.recv(2048)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self.refused += 1
                continue
            self.answered[int.from_bytes(reply[:2], "big")] = reply


def rcode_and_answers(reply: bytes) -> tuple[int, int]:
    header = wire.HEADER.unpack_from(reply)
    return header[1] & 0xF, header[3]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_no_question_is_lost(namespaces: None, tmp_path: Path, number: signal.Signals) -> None:
    keeper = tmp_path / "dns.sock"
    node = Node(keeper)
    askers = [
        Asker(server, names)
        for server in ("10.96.0.10", "fd10:96::a")
        for names in (
            lambda each: "web.default.svc.cluster.local",
            lambda each: f"n{each}.example.com",
            lambda each: f"s{each}.example.com.default.svc.cluster.local",
        )
    ]
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            for asker in askers:
                asker.ask()
                asker.collect()
            # The pace of questions, not a wait for something.
            time.sleep(0.015)

    try:
        with upstream():
            node.start()
            thread = threading.Thread(target=ask)
            thread.start()
            try:
                for _ in range(4):
                    before = askers[0].asked
                    while askers[0].asked < before + 40:
                        time.sleep(0.01)
                    node.end(number)
                    node.start()
            finally:
                ended.set()
                thread.join()
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline and any(len(each.answered) < each.asked for each in askers):
                select.select([each.sock for each in askers], [], [], 0.2)
                for each in askers:
                    each.collect()
            node.end(signal.SIGKILL)
    finally:
        Keeper(keeper).end()
        for each in askers:
            each.sock.close()
    lost = {index: sorted(set(range(each.asked)) - each.answered.keys())[:10] for index, each in enumerate(askers)}
    assert lost == {index: [] for index in range(len(askers))}
    assert [each.refused for each in askers] == [0] * len(askers)
    assert min(each.asked for each in askers) > 160
    found = {rcode_and_answers(reply) for each in askers for reply in each.answered.values()}
    assert found == {(wire.NOERROR, 1), (wire.NOERROR, 2)}


def test_a_keeper_that_was_killed_is_replaced(namespaces: None, tmp_path: Path) -> None:
    keeper = tmp_path / "dns.sock"
    keeper.touch()
    node = Node(keeper)
    try:
        node.start()
        asker = Asker("10.96.0.10", lambda each: "web.default.svc.cluster.local")
        asker.ask()
        assert select.select([asker.sock], [], [], 5)[0]
        asker.collect()
        assert len(asker.answered) == 1
        asker.sock.close()
    finally:
        node.end(signal.SIGKILL)
        Keeper(keeper).end()
