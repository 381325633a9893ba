"""Asks a DNS server as fast as it answers: a program of its own, `python -m fairlead.lab.bench.dns_load ADDRESS NAMES SECONDS`.

All questions are made before the first is sent, and 64 go into one system call, so that the asking side costs less than any answering
side. It prints how many were answered, in how many seconds. It counts answers and reads none: one is checked before.
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import struct
import sys
import time

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.batch import Buffer, Header, Message, recvmmsg, sendmmsg

_SOCKETS = 4
_BATCH = 64
_WINDOW = 192
"""Questions under way on each socket."""
_LOST_AFTER_MS = 200
_ANSWER_BYTES = 512
_MSG_DONTWAIT = 0x40
_PORT = 53


def names(count: int) -> list[tuple[str, str]]:
    """Return (name, address) of as many services."""
    return [
        (f"svc-{number}.ns-{number % 50}.svc.cluster.local", f"10.96.{number >> 8}.{number & 255}")
        for number in range(count)
    ]


class _Lane:
    """One socket with its own questions, in an order of its own."""

    def __init__(self, address: str, questions: list[bytes]) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.connect((address, _PORT))
        self._descriptor = self.sock.fileno()
        self._data = [ctypes.create_string_buffer(each, len(each)) for each in questions]
        self._buffers = (Buffer * len(questions))(*(Buffer(ctypes.addressof(data), len(data)) for data in self._data))
        self._messages = (Message * len(questions))(*_messages(self._buffers))
        self._space = ctypes.create_string_buffer(_ANSWER_BYTES)
        # Answers are counted, not read: all may lie in the same place.
        self._into = (Buffer * _BATCH)(*([Buffer(ctypes.addressof(self._space), _ANSWER_BYTES)] * _BATCH))
        self._answers = (Message * _BATCH)(*_messages(self._into))
        self._next = 0
        self.outstanding = 0

    def ask(self) -> None:
        """Send questions up to the window."""
        size = ctypes.sizeof(Message)
        while self.outstanding <= _WINDOW - _BATCH:
            start = ctypes.addressof(self._messages) + self._next * size
            count = min(_BATCH, len(self._messages) - self._next)
            sent = sendmmsg(self._descriptor, start, count, _MSG_DONTWAIT)
            if sent <= 0:
                return
            self.outstanding += sent
            self._next = (self._next + sent) % len(self._messages)

    def count(self) -> int:
        """Return how many answers came."""
        count: int = recvmmsg(self._descriptor, ctypes.addressof(self._answers), _BATCH, _MSG_DONTWAIT, None)
        got = max(0, count)
        self.outstanding = max(0, self.outstanding - got)
        return got


def _messages(buffers: ctypes.Array[Buffer]) -> list[Message]:
    base, size = ctypes.addressof(buffers), ctypes.sizeof(Buffer)
    return [Message(Header(None, 0, base + place * size, 1, None, 0, 0), 0) for place in range(len(buffers))]


def question(name: str, number: int) -> bytes:
    """Return a question for the A records of `name`, as a stub resolver asks."""
    return (
        wire.HEADER.pack(number & 0xFFFF, wire.RD, 1, 0, 0, 0) + wire.name(name) + struct.pack(">HH", wire.A, wire.IN)
    )


def load(address: str, count: int, seconds: float) -> tuple[int, float]:
    """Ask for that many seconds; return the number of answers and the seconds that it took."""
    questions = [question(name, number) for number, (name, _) in enumerate(names(count))]
    lanes = [_Lane(address, questions[start:] + questions[:start]) for start in range(0, count, -(-count // _SOCKETS))]
    poll = select.poll()
    for lane in lanes:
        poll.register(lane.sock, select.POLLIN)
    answered = 0
    begin = time.monotonic()
    while (now := time.monotonic()) - begin < seconds:
        got = 0
        for lane in lanes:
            got += lane.count()
            lane.ask()
        answered += got
        if not got and not poll.poll(_LOST_AFTER_MS):
            for lane in lanes:
                lane.outstanding = 0
    return answered, now - begin


if __name__ == "__main__":
    answered, took_s = load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps({"answered": answered, "seconds": took_s}))
