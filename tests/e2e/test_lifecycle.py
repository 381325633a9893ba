"""A lab comes, stays, survives the death of any of its processes, and goes without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab, wait_for
from tests.e2e.leaks import machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that the test may break."""
    lab = Lab(name=f"l{os.getpid() % 100000}", home=tmp_path / "home")
    yield lab
    lab.fairlead("down", ok=False)


POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  containers:
  - name: main
    image: any
    ports: [{containerPort: 8080}]
"""


def test_up_and_down_leave_nothing(own_lab: Lab) -> None:
    before = machine(own_lab)
    own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
    own_lab.apply(POD % ("web", "node-1"))
    own_lab.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    own_lab.fairlead("down")
    assert machine(own_lab) == before


def test_down_after_a_crash_leaves_nothing(own_lab: Lab) -> None:
    before = machine(own_lab)
    own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
    own_lab.apply(POD % ("web", "node-1"))
    own_lab.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    for component in ("supervisor", "apiserver", "agent-node-1", "kubelet-node-2"):
        os.kill(own_lab.record(component)["pid"], signal.SIGKILL)
    for record in (own_lab.folder / "run").iterdir():
        record.unlink()
    own_lab.fairlead("down")
    assert machine(own_lab) == before


def test_a_second_up_changes_nothing_and_another_size_is_refused(own_lab: Lab) -> None:
    own_lab.fairlead("up", "--nodes", "1", "--zones", "1")
    pids = {record.name: record.read_text() for record in (own_lab.folder / "run").iterdir()}
    own_lab.fairlead("up")
    assert pids == {record.name: record.read_text() for record in (own_lab.folder / "run").iterdir()}
    refused = own_lab.fairlead("up", "--nodes", "2", ok=False)
    assert refused.returncode == 1
    assert "runs with 1 nodes" in refused.stderr and "fix:" in refused.stderr and "Traceback" not in refused.stderr


def test_every_process_may_be_killed(own_lab: Lab) -> None:
    """kill -9 of each component: objects stay, an established connection between pods goes on, all is healthy again."""
    own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
    own_lab.apply(POD % ("server", "node-1"))
    own_lab.apply(POD % ("client", "node-2"))
    own_lab.kubectl("wait", "--for=condition=Ready", "pod/server", "pod/client", "--timeout=30s")
    started = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0] for pod in own_lab.get("pods")["items"]}
    own_lab.kubectl("create", "configmap", "kept", "--from-literal=a=b")

    with Conversation(own_lab) as conversation:
        for component in ("apiserver", "controller", "agent-node-1", "kubelet-node-1", "agent-node-2", "supervisor"):
            old = own_lab.record(component)
            os.kill(old["pid"], signal.SIGKILL)
            if component == "supervisor":
                own_lab.fairlead("up")
            wait_for(lambda c=component, o=old: own_lab.record(c) != o, f"{component} is started again")
            wait_for(lambda: own_lab.fairlead("status", ok=False).returncode == 0, f"healthy after {component} died")
            conversation.expect_progress(component)

    assert own_lab.get("configmap", "kept")["data"] == {"a": "b"}
    ended = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0] for pod in own_lab.get("pods")["items"]}
    assert ended == started


class Conversation:
    """One TCP connection from pod client to pod server, opened once, over which echoes go all the time."""

    SCRIPT = (
        "import socket, sys, time\n"
        "s = socket.create_connection((sys.argv[1], 8080), 5)\n"
        "s.settimeout(20)\n"
        "s.sendall(b'hello\\n'); s.recv(4096)\n"
        "n = 0\n"
        "while True:\n"
        "    s.sendall(b'%d\\n' % n)\n"
        "    if not s.recv(4096): sys.exit('closed')\n"
        "    n += 1; print(n, flush=True); time.sleep(0.02)\n"
    )

    def __init__(self, lab: Lab) -> None:
        address = lab.get("pod", "server")["status"]["podIP"]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fairlead", "exec", "--name", lab.name, "pod/default/client", "--"),
                *("python3", "-c", self.SCRIPT, address),
            ],
            env=lab.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._count = 0
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Conversation:
        self._reader.start()
        wait_for(lambda: self._count > 0 or self._process.poll() is not None, "the conversation begins")
        self.expect_progress("the beginning")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def expect_progress(self, after: str) -> None:
        seen = self._count
        wait_for(lambda: self._count > seen + 3 or self._process.poll() is not None, f"echoes after {after}")
        assert self._process.poll() is None, f"the connection broke after {after}: {self._process.stderr.read()}"  # type: ignore[union-attr]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._count = int(line)


def test_two_labs_side_by_side(own_lab: Lab) -> None:
    other = Lab(name=f"m{os.getpid() % 100000}", home=own_lab.home)
    try:
        own_lab.fairlead("up", "--nodes", "1", "--zones", "1")
        other.fairlead("up", "--nodes", "1", "--zones", "1")
        own_lab.kubectl("create", "namespace", "mine")
        assert "mine" not in other.kubectl("get", "namespaces")
    finally:
        other.fairlead("down")
    assert json.loads(own_lab.fairlead("status", "-o", "json").stdout)["healthy"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--nodes", "0"], "--nodes 0 is out of range"),
        (["status"], "there is no lab named"),
        (["kubeconfig"], "there is no lab named"),
        (["exec", "internet", "--", "true"], "there is no lab named"),
        (["check"], "there is no lab named"),
    ],
)
def test_mistakes_get_one_message(own_lab: Lab, arguments: list[str], words: str) -> None:
    result = own_lab.fairlead(*arguments, ok=False)
    assert result.returncode == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr
