"""The commands on loopback, run as programs as `kubectl exec` runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).resolve().parents[3] / "src")
# A bare interpreter, as in a container: without site-packages.
AGNHOST = [
    sys.executable, "-IS", "-c",
    f"import sys; sys.path.insert(0, {SOURCE!r}); from fairlead.lab.agnhost.main import main; sys.exit(main(sys.argv[1:]))",
]  # fmt: skip


def agnhost(*args: str) -> tuple[int, str, str]:
    done = subprocess.run([*AGNHOST, *args], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(port: int, *args: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([*AGNHOST, *args], stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})}) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline and process.poll() is None
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def netexec() -> Iterator[tuple[int, int]]:
    http, udp = free_port(), free_port()
    with serving(http, "netexec", f"--http-port={http}", f"--udp-port={udp}"):
        yield http, udp


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


HOST = os.uname().nodename


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/hostname", 200, HOST),
        ("/hostName", 200, HOST),
        ("/healthz", 200, ""),
        ("/echo?msg=hi%20there", 200, "hi there"),
        ("/echo?msg=no&code=503", 503, "no"),
        ("/header?key=Host", 200, None),
        ("/shell?cmd=echo%20out%3B%20exit%203", 200, '{"output": "out\\n", "error": "exit status 3"}'),
        ("/redirect?location=/echo%3Fmsg%3Dback", 200, "back"),
        ("/dial?host=127.0.0.1&port=1", 400, "request parameter not specified.\n"),
        ("/dial?host=127.0.0.1&port=1&request=x&protocol=icmp", 400, "unsupported protocol. icmp\n"),
        ("/dial?host=127.0.0.1&port=1&request=x&tries=many", 400, "tries parameter is invalid. many\n"),
    ],
)
def test_netexec_endpoints(netexec: tuple[int, int], path: str, status: int, body: str | None) -> None:
    got = get(netexec[0], path)
    assert got[0] == status
    assert body is None or got[1] == body


def test_netexec_tells_the_time_and_the_client(netexec: tuple[int, int]) -> None:
    assert get(netexec[0], "/")[1].startswith("NOW: 20")
    assert get(netexec[0], "/clientip")[1].startswith("127.0.0.1:")


def test_netexec_dials_others(netexec: tuple[int, int]) -> None:
    http, udp = netexec
    _, text = get(http, f"/dial?host=127.0.0.1&port={http}&request=hostname&tries=2")
    assert json.loads(text) == {"responses": [HOST, HOST]}
    _, text = get(http, f"/dial?host=127.0.0.1&port={udp}&protocol=udp&request=echo%20you")
    assert json.loads(text) == {"responses": ["you"]}
    _, text = get(http, "/dial?host=127.0.0.1&port=1&request=hostname")
    assert "refused" in json.loads(text)["errors"][0]


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_connect_succeeds_silently(netexec: tuple[int, int], address: str) -> None:
    assert agnhost("connect", f"{address}:{netexec[0]}", "--timeout=3s") == (0, "", "")
    assert agnhost("connect", f"{address}:{netexec[1]}", "--timeout=3s", "--protocol=udp") == (0, "", "")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["127.0.0.1:1"], "REFUSED"),
        (["127.0.0.1:1", "--protocol=udp"], "REFUSED"),
        (["name.invalid:80"], "DNS"),
        (["127.0.0.1"], "UNKNOWN"),
        (["255.255.255.255:80"], "OTHER"),
        (["127.0.0.1:80", "--protocol=icmp"], "Error: Unsupported protocol icmp"),
        (["127.0.0.1:80", "--timeout=soon"], "Error: time: invalid duration"),
        ([], "Error: accepts 1 arg(s), received 0"),
    ],
)
def test_connect_failures_have_a_word(args: list[str], word: str) -> None:
    code, out, err = agnhost("connect", "--timeout=3s", *args)
    assert (code, out) == (1, "")
    assert err.startswith(word)


def test_connect_times_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            target = f"127.0.0.1:{full.getsockname()[1]}"
            assert agnhost("connect", target, "--timeout=300ms") == (1, "", "TIMEOUT\n")


def test_the_other_servers() -> None:
    port = free_port()
    with serving(port, "serve-hostname", f"--port={port}"):
        assert get(port, "/") == (200, HOST)
    with serving(port, "porter", env={f"SERVE_PORT_{port}": "ported", "SERVE_PORT_x": "ignored"}):
        assert get(port, "/any") == (200, "ported")
    with serving(port, "test-webserver", "--port", str(port)):
        assert get(port, "/etc/hostname")[1] == Path("/etc/hostname").read_text()
        assert 'href="hostname"' in get(port, "/etc")[1]
        assert get(port, "/no/such")[0] == 404


def test_exit_shutdown_and_signals_end_the_server() -> None:
    for path, code in (("/exit?code=7", 7), ("/exit?code=3&timeout=100ms&wait=10ms", 3)):
        port = free_port()
        with serving(port, "netexec", f"--http-port={port}", "--udp-port=-1") as process:
            assert get(port, path)[0] == 200
            assert process.wait(10) == code
    port = free_port()
    with serving(port, "netexec", f"--http-port={port}", "--udp-port=-1") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_an_unknown_command_is_named() -> None:
    code, _out, err = agnhost("liveness")
    assert code == 1 and 'unknown command "liveness"' in err
