"""The responder as a process on loopback: every protocol on one port, both IP families, and a graceful end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import sys
from fairlead.lab.responder.main import run
from fairlead.lab.runtime.spec import Identity
port = int(sys.argv[1])
sys.exit(run(Identity(pod="p", namespace="n", node="o", zone="z"),
    [("a", port, "TCP"), ("again", port, "TCP"), ("b", port, "UDP")], lambda: print("ready", flush=True)))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def responder() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            yield port, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with responder() as (number, _process):
        yield number


def talk(address: str, port: int, *pieces: bytes) -> bytes:
    """Send pieces, end the input, and return everything answered."""
    with socket.create_connection((address, port), timeout=5) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


BOTH = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


@BOTH
def test_http_with_keep_alive(port: int, address: str) -> None:
    request = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = talk(
        address,
        port,
        request,
        request.replace(b"one", b"two"),
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    body = json.loads(answer.split(b"\r\n\r\n")[1].split(b"\n")[0])
    assert body["path"] == "/one"
    assert body["client"].startswith("127.0.0.1:" if address == "127.0.0.1" else "[::1]:")


@BOTH
def test_plain_tcp_names_the_pod_and_echoes(port: int, address: str) -> None:
    assert talk(address, port, b"hello\n", b"again\n") == b"p n o z\nhello\nagain\n"


@BOTH
def test_udp_is_answered_by_name(port: int, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((address, port))
        sock.send(b"hello")
        assert sock.recv(100) == b"p hello"


def test_http2_preface_in_pieces(port: int) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    answer = talk("127.0.0.1", port, preface[:10], preface[10:], b"\0\0\0\x04\0\0\0\0\0")
    assert answer[3] == 4, "a SETTINGS frame comes first"


def test_a_websocket_echoes(port: int) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    )
    answer = talk("127.0.0.1", port, upgrade + b"\x81\x82\0\0\0\0hi")
    assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\x81\x02hi")


def test_a_large_answer_to_a_slow_client(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(b"GET /?size=30000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        # While this one is stuck, others are served.
        assert b"200 OK" in talk("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        total = 0
        while data := sock.recv(65536):
            total += len(data)
    assert total > 30_000_000


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/9\r\n\r\n", b"\0" * 5000])
def test_bad_input_does_not_end_the_server(port: int, noise: bytes) -> None:
    assert talk("127.0.0.1", port, noise)
    assert b"200 OK" in talk("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")


def test_sigterm_finishes_requests_and_closes_the_rest() -> None:
    with responder() as (port, process):
        idle = socket.create_connection(("127.0.0.1", port), timeout=5)
        busy = socket.create_connection(("127.0.0.1", port), timeout=5)
        with idle, busy:
            busy.sendall(b"GET /?delay_ms=300 HTTP/1.1\r\nHost: a\r\n\r\n")
            # The idle connection is accepted after the busy one's request was read or before: both orders end well.
            busy_seen = select.select([busy], [], [], 0.05)
            assert busy_seen == ([], [], [])
            os.kill(process.pid, signal.SIGTERM)
            assert idle.recv(10) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            assert b"200 OK" in busy.recv(65536)
            assert process.wait(5) == 0
