"""Pods as processes on the real kernel: life cycle, streams, adoption after crashes, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairlead.lab.runtime import codec
from fairlead.lab.runtime.runtime import Runtime
from fairlead.lab.runtime.session import ExecSession
from fairlead.lab.runtime.spec import (
    CommandMissing,
    ContainerMissing,
    ContainerSpec,
    ContainerState,
    Identity,
    Mount,
    RuntimeFault,
    SandboxMissing,
    SandboxSpec,
)

pytestmark = pytest.mark.kernel

PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
PREFIX = f"flt-runtime-{os.getpid()}-"
NODE = Identity(pod="web-1", namespace="shop", node="node-1", zone="zone-a")


class Bench:
    """A runtime with one pod and short ways to use it."""

    uid = "11111111-2222-3333-4444-555555555555"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runtime = Runtime(root, netns_prefix=PREFIX)
        self.netns: Path | None = None
        self.changed = asyncio.Event()

    def sandbox(self, **changes: object) -> SandboxSpec:
        fields: dict[str, object] = {
            "uid": self.uid, "namespace": "shop", "name": "web-1", "hostname": "web-1", "netns": self.netns,
            "resolv_conf": "nameserver 10.96.0.10\n", "hosts": "127.0.0.1\tlocalhost\n10.244.1.5\tweb-1\n",
        }  # fmt: skip
        return SandboxSpec(**{**fields, **changes})  # type: ignore[arg-type]

    def container(self, *argv: str, **changes: object) -> ContainerSpec:
        name = str(changes.get("name", "main"))
        folder = self.root / self.uid / "containers" / name
        folder.mkdir(parents=True, exist_ok=True)
        fields: dict[str, object] = {
            "name": name, "attempt": 0, "argv": argv or None, "identity": NODE,
            "log_path": folder / f"{changes.get('attempt', 0)}.log",
        }  # fmt: skip
        return ContainerSpec(**{**fields, **changes})  # type: ignore[arg-type]

    async def run(self, *argv: str, **changes: object) -> ContainerSpec:
        spec = self.container(*argv, **changes)
        await self.runtime.start_container(self.uid, spec)
        return spec

    async def until(self, wanted: Callable[[dict[str, ContainerState]], bool]) -> dict[str, ContainerState]:
        """The pod's states once they are as wanted."""
        while not wanted(states := dict(self.runtime.containers(self.uid))):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return states

    async def ended(self, name: str = "main") -> ContainerState:
        states = await self.until(lambda states: name in states and states[name].state == "exited")
        return states[name]

    async def output(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a program executed in the container."""
        return await self.output_of("main", *argv)

    async def output_of(self, container: str, *argv: str) -> tuple[int, str, str]:
        session = await self.runtime.exec(self.uid, container, argv, tty=False, stdin=False)
        return await finish(session)

    async def reborn(self) -> Runtime:
        """Throw the runtime away and make another, as when a kubelet starts again."""
        await self.runtime.close()
        self.runtime = Runtime(self.root, netns_prefix=PREFIX)
        self.runtime.on_change(lambda _uid: self.changed.set())
        await self.runtime.start()
        return self.runtime

    def log(self, spec: ContainerSpec) -> list[str]:
        """Lines of a log without their times."""
        return [line.split(" ", 1)[1] for line in spec.log_path.read_text().splitlines()]


async def finish(session: ExecSession) -> tuple[int, str, str]:
    out = {1: b"", 2: b""}
    while (chunk := await asyncio.wait_for(session.read(), 20)) is not None:
        out[chunk[0]] += chunk[1]
    code = await asyncio.wait_for(session.wait(), 10)
    session.release()
    return code, out[1].decode(), out[2].decode()


@asynccontextmanager
async def new_bench(root: Path, *, netns: bool = True) -> AsyncIterator[Bench]:
    bench = Bench(root)
    bench.runtime.on_change(lambda _uid: bench.changed.set())
    await bench.runtime.start()
    name = PREFIX + "pod"
    try:
        if netns:
            bench.netns = await bench.runtime.create_netns(name)
        yield bench
    finally:
        for uid in list(bench.runtime.sandboxes()):
            await bench.runtime.remove_sandbox(uid)
        await bench.runtime.delete_netns(name)
        await bench.runtime.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with new_bench(tmp_path / "pods") as bench:
        await bench.runtime.run_sandbox(bench.sandbox())
        yield bench


async def test_a_command_runs_with_its_environment_files_and_host_name(bench: Bench, tmp_path: Path) -> None:
    config, data = tmp_path / "config", tmp_path / "data"
    config.mkdir()
    (config / "key").write_text("value\n")
    data.mkdir()
    data.chmod(0o777)
    script = (
        "echo $GREETING $HOSTNAME; hostname; pwd; cat /etc/config/key /etc/resolv.conf; tail -1 /etc/hosts;"
        "echo kept >/srv/data/file; echo no >/etc/config/key; echo oops >&2; printf end"
    )
    spec = await bench.run(
        "sh", "-c", script, env={"GREETING": "hello"}, working_dir="/srv/app",
        mounts=(
            Mount(source=config, destination="/etc/config", read_only=True),
            Mount(source=data, destination="/srv/data"),
        ),
    )  # fmt: skip
    state = await bench.ended()
    assert (state.exit_code, state.reason, state.attempt) == (0, "Completed", 0)
    lines = bench.log(spec)
    assert [line for line in lines if line.startswith("stdout")] == [
        "stdout F hello web-1",
        "stdout F web-1",
        "stdout F /srv/app",
        "stdout F value",
        "stdout F nameserver 10.96.0.10",
        "stdout F 10.244.1.5\tweb-1",
        "stdout F end",
    ]
    errors = [line for line in lines if line.startswith("stderr")]
    assert "Read-only file system" in errors[0] and errors[1] == "stderr F oops"
    assert (data / "file").read_text() == "kept\n"
    assert (config / "key").read_text() == "value\n"


@pytest.mark.parametrize(
    ("argv", "code", "signal_number", "reason"),
    [
        (("sh", "-c", "exit 3"), 3, None, "Error"),
        (("true",), 0, None, "Completed"),
        (("sh", "-c", "kill -9 $$; sleep 9"), 137, 9, "Error"),
    ],
    ids=["exit 3", "success", "killed"],
)
async def test_ends_are_told(
    bench: Bench, argv: tuple[str, ...], code: int, signal_number: int | None, reason: str
) -> None:
    if code == 137:
        await bench.run("sleep", "60")
        await bench.runtime.signal_container(bench.uid, "main", signal.SIGKILL)
    else:
        await bench.run(*argv)
    state = await bench.ended()
    assert (state.exit_code, state.signal, state.reason, state.pid) == (code, signal_number, reason, None)
    assert state.started_at is not None and state.finished_at is not None and state.finished_at >= state.started_at


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("no-such-program",), 'exec: "no-such-program": executable file not found in $PATH'),
        (("/no/such",), 'exec: "/no/such": stat /no/such: no such file or directory'),
        (("/etc/passwd",), 'exec: "/etc/passwd": permission denied'),
    ],
)
async def test_a_command_that_is_absent_is_a_start_error(bench: Bench, argv: tuple[str, ...], message: str) -> None:
    spec = await bench.run(*argv)
    state = await bench.ended()
    assert (state.exit_code, state.reason, state.started_at) == (128, "StartError", None)
    assert state.message is not None and message in state.message
    assert not bench.runtime.command_exists(argv, spec)
    assert bench.runtime.command_exists(("sh",), spec)


async def test_restarts_count_attempts_and_keep_logs_apart(bench: Bench) -> None:
    first = await bench.run("echo", "one")
    await bench.ended()
    second = await bench.run("echo", "two", attempt=1)
    states = await bench.until(lambda states: states["main"].attempt == 1 and states["main"].state == "exited")
    assert states["main"].exit_code == 0
    assert bench.log(first) == ["stdout F one"]
    assert bench.log(second) == ["stdout F two"]


async def test_a_running_container_is_not_started_twice(bench: Bench) -> None:
    await bench.run("sleep", "60")
    with pytest.raises(RuntimeFault, match='container "main" is still running'):
        await bench.run("sleep", "60", attempt=1)


async def test_unknown_things_are_named(bench: Bench) -> None:
    with pytest.raises(SandboxMissing, match='sandbox "none" not found'):
        await bench.runtime.signal_container("none", "main", 15)
    with pytest.raises(ContainerMissing, match='container "main" not found in pod "web-1"'):
        await bench.runtime.signal_container(bench.uid, "main", 15)
    with pytest.raises(ValueError, match="must begin with"):
        await bench.runtime.create_netns("somebody-elses")
    await bench.runtime.remove_sandbox("none")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exec sleep 60", 143),
        ("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done", 7),
    ],
    ids=["default action", "handled"],
)
async def test_sigterm_ends_process_1(bench: Bench, script: str, code: int) -> None:
    spec = await bench.run("sh", "-c", script)
    if "ready" in script:
        await until_true(lambda: spec.log_path.read_text().count("ready") == 1)
    await bench.runtime.signal_container(bench.uid, "main", signal.SIGTERM)
    assert (await bench.ended()).exit_code == code


async def test_ending_the_main_process_ends_the_container(bench: Bench) -> None:
    spec = await bench.run("sh", "-c", "sleep 87 & echo $!")
    await bench.ended()
    assert bench.log(spec) == ["stdout F 2"]
    assert not [text for text in commands_of_lab(bench.root) if "sleep 87" in text]


async def test_a_shared_pid_namespace_shows_the_neighbors_and_still_cleans_up(tmp_path: Path) -> None:
    async with new_bench(tmp_path / "pods") as bench:
        await bench.runtime.run_sandbox(bench.sandbox(share_pids=True))
        await bench.run("sleep", "86", name="neighbor")
        spec = await bench.run("sh", "-c", "setsid sleep 85 & cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        await bench.ended()
        assert "sleep 86" in " ".join(bench.log(spec))
        await until_true(lambda: not [text for text in commands_of_lab(bench.root) if "sleep 85" in text])
        assert bench.runtime.containers(bench.uid)["neighbor"].state == "running"
        await bench.runtime.signal_container(bench.uid, "neighbor", signal.SIGTERM)
        assert (await bench.ended("neighbor")).exit_code == 143


async def test_exec_enters_the_container_and_gives_its_exit_code(bench: Bench) -> None:
    await bench.run("sleep", "60", env={"FROM": "container"}, uid=1234, gid=1234, groups=(77,))
    code, out, err = await bench.output(
        "sh", "-c", "id -u; id -G; echo $FROM; hostname; cat /proc/1/comm; echo e >&2; exit 5"
    )
    assert (code, out.split("\n"), err) == (5, ["1234", "1234 77", "container", "web-1", "sleep", ""], "e\n")
    with pytest.raises(CommandMissing, match='exec: "nothing": executable file not found in \\$PATH'):
        await bench.output("nothing")


async def test_exec_passes_stdin_and_large_output(bench: Bench) -> None:
    await bench.run("sleep", "60")
    session = await bench.runtime.exec(bench.uid, "main", ["cat"], tty=False, stdin=True)
    blob = os.urandom(3 << 20)

    async def feed() -> None:
        await session.write(blob)
        session.close_stdin()

    writer = asyncio.create_task(feed())
    got = b""
    while (chunk := await session.read()) is not None:
        got += chunk[1]
    await writer
    assert got == blob
    assert await session.wait() == 0


async def test_exec_on_a_terminal_has_a_size_and_takes_ctrl_d(bench: Bench) -> None:
    await bench.run("sleep", "60")
    session = await bench.runtime.exec(
        bench.uid, "main", ["sh", "-c", "read _; stty size; tty; cat"], tty=True, stdin=True
    )
    await session.resize(132, 43)
    await session.write(b"go\n")
    await session.write(b"typed\n")
    session.close_stdin()
    code, out, _err = await finish(session)
    assert code == 0
    lines = out.replace("\r", "").split("\n")
    assert "43 132" in lines and "/dev/pts/0" in lines and lines.count("typed") == 2


async def test_exec_can_be_killed_and_ends_although_a_child_holds_its_output(bench: Bench) -> None:
    await bench.run("sleep", "60")
    session = await bench.runtime.exec(bench.uid, "main", ["sleep", "60"], tty=False, stdin=False)
    await session.kill()
    assert await asyncio.wait_for(session.wait(), 5) == 137
    assert await asyncio.wait_for(bench.output("sh", "-c", "sleep 60 & echo started"), 5) == (0, "started\n", "")


async def test_attach_joins_the_container_streams(bench: Bench) -> None:
    await bench.run("cat", stdin=True, stdin_once=True)
    session = await bench.runtime.attach(bench.uid, "main", stdin=True)
    await session.write(b"hello\n")
    assert await session.read() == (1, b"hello\n")
    session.close_stdin()
    assert await session.read() is None
    assert await session.wait() == 0
    assert (await bench.ended()).exit_code == 0


async def test_attach_to_a_terminal_resizes_it(bench: Bench) -> None:
    await bench.run("sh", "-c", "read _; stty size", tty=True, stdin=True)
    session = await bench.runtime.attach(bench.uid, "main", stdin=True)
    await session.resize(90, 30)
    await session.write(b"\n")
    _code, out, _err = await finish(session)
    assert "30 90" in out


async def test_the_responder_answers_and_ends_on_sigterm(bench: Bench) -> None:
    await bench.run(ports=(("http", 80, "TCP"), ("dns", 53, "UDP")))
    code, out, _err = await bench.output("curl", "-s", "http://127.0.0.1/a?x=1", "http://[::1]/b")
    assert code == 0 and out.count('"pod": "web-1"') == 2 and '"zone": "zone-a"' in out
    reader, writer = await bench.runtime.dial(bench.uid, 80)
    writer.write(b"GET /dialed HTTP/1.0\r\n\r\n")
    assert b'"path": "/dialed"' in await reader.read()
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await bench.runtime.dial(bench.uid, 81)
    await bench.runtime.signal_container(bench.uid, "main", signal.SIGTERM)
    assert (await bench.ended()).exit_code == 0


async def test_a_port_in_use_is_told_in_the_log(bench: Bench) -> None:
    await bench.run(ports=(("http", 80, "TCP"),))
    spec = await bench.run(name="second", ports=(("http", 80, "TCP"),))
    assert (await bench.ended("second")).exit_code == 1
    assert bench.log(spec) == ["stderr F cannot listen on port 80/TCP: Address already in use"]


async def test_agnhost_runs_as_container_and_as_program(bench: Bench) -> None:
    await bench.run("/agnhost", "netexec", "--http-port=8080")
    assert await bench.output("/agnhost", "connect", "127.0.0.1:8080", "--timeout=3s") == (0, "", "")
    assert await bench.output("/agnhost", "connect", "[::1]:8081", "--protocol=udp", "--timeout=3s") == (0, "", "")
    assert await bench.output("/agnhost", "connect", "127.0.0.1:9", "--timeout=3s") == (1, "", "REFUSED\n")
    code, out, _err = await bench.output("curl", "-s", "http://127.0.0.1:8080/shell?cmd=id+-u")
    assert (code, out) == (0, '{"output": "65534\\n"}')


async def test_ping_and_low_ports_need_no_privileges(bench: Bench) -> None:
    await bench.run("sleep", "60")
    for address in ("127.0.0.1", "::1"):
        code, out, err = await bench.output("ping", "-c1", "-W2", address)
        assert code == 0, out + err


async def test_a_new_runtime_adopts_what_runs_and_learns_what_ended(bench: Bench, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    await bench.run("sleep", "60", name="stays")
    script = "echo before; while ! test -e /srv/go; do sleep 0.02; done; echo after; exit 4"
    await bench.run("sh", "-c", script, mounts=(Mount(source=shared, destination="/srv"),))
    before = bench.runtime.containers(bench.uid)["stays"]
    await bench.runtime.close()
    (shared / "go").touch()
    log = bench.root / bench.uid / "containers/main/0.log"
    await until_true(lambda: '"exit_code":4' in (log.parent / "status.json").read_text())
    runtime = await bench.reborn()
    assert runtime.sandboxes() == {bench.uid: bench.sandbox()}
    states = runtime.containers(bench.uid)
    assert states["stays"] == before
    assert (states["main"].state, states["main"].exit_code) == ("exited", 4)
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["before", "after"]
    assert await bench.output_of("stays", "echo", "hi") == (0, "hi\n", "")


DYING_KUBELET = """
import asyncio, os, signal, sys
from pathlib import Path
from fairlead.lab.runtime import codec
from fairlead.lab.runtime.runtime import Runtime
from fairlead.lab.runtime.spec import ContainerSpec, SandboxSpec

async def main():
    runtime = Runtime(Path(sys.argv[1]), netns_prefix="flt-")
    await runtime.start()
    sandbox = codec.decode(sys.argv[2].encode(), SandboxSpec)
    await runtime.run_sandbox(sandbox)
    await runtime.start_container(sandbox.uid, codec.decode(sys.argv[3].encode(), ContainerSpec))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_pod_survives_the_death_of_its_kubelet_and_carries_the_labs_mark(tmp_path: Path) -> None:
    async with new_bench(tmp_path / "pods") as bench:
        spec = bench.container(ports=(("http", 80, "TCP"),))
        values = [codec.encode(value).decode() for value in (bench.sandbox(), spec)]
        kubelet = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            DYING_KUBELET,
            str(bench.root),
            *values,
            env={**os.environ, "FAIRLEAD_LAB": str(tmp_path)},
        )
        assert await kubelet.wait() == -signal.SIGKILL
        runtime = await bench.reborn()
        state = runtime.containers(bench.uid)["main"]
        assert state.state == "running"
        reader, writer = await runtime.dial(bench.uid, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        for pid in (init_pid(bench), state.pid):
            assert f"FAIRLEAD_LAB={tmp_path}".encode() in Path(f"/proc/{pid}/environ").read_bytes()


async def test_killing_the_init_ends_its_containers_and_the_next_start_revives_it(bench: Bench) -> None:
    await bench.run("sleep", "84")
    os.kill(init_pid(bench), signal.SIGKILL)
    state = await bench.ended()
    assert (state.exit_code, state.reason, state.message) == (137, "Error", "the pod's init process was killed")
    assert not [text for text in commands_of_lab(bench.root) if "sleep 84" in text]
    await bench.run("sleep", "60", attempt=1)
    assert bench.runtime.containers(bench.uid)["main"].state == "running"


async def test_killing_the_init_while_no_runtime_watches_is_noticed(bench: Bench) -> None:
    await bench.run("sleep", "60")
    pid = init_pid(bench)
    await bench.runtime.close()
    os.kill(pid, signal.SIGKILL)
    await until_true(lambda: not running(pid))
    runtime = await bench.reborn()
    assert runtime.containers(bench.uid)["main"].exit_code == 137
    assert not runtime.is_running(bench.uid)


async def test_killing_the_fork_server_hurts_no_pod(bench: Bench) -> None:
    await bench.run("sleep", "60")
    server = bench.runtime.fork_server_pid()
    assert server is not None
    os.kill(server, signal.SIGKILL)
    assert await bench.output("echo", "alive") == (0, "alive\n", "")
    other = bench.sandbox(uid="other", name="other")
    await bench.runtime.run_sandbox(other)
    assert bench.runtime.fork_server_pid() != server
    assert bench.runtime.is_running("other") and bench.runtime.is_running(bench.uid)


async def test_host_network_shares_the_callers_namespace(tmp_path: Path) -> None:
    async with new_bench(tmp_path / "pods", netns=False) as bench:
        await bench.runtime.run_sandbox(bench.sandbox())
        spec = await bench.run("readlink", "/proc/self/ns/net")
        await bench.ended()
        assert bench.log(spec) == [f"stdout F {os.readlink('/proc/self/ns/net')}"]


async def test_sysctls_are_set_or_refused(tmp_path: Path) -> None:
    async with new_bench(tmp_path / "pods") as bench:
        with pytest.raises(RuntimeFault, match='sysctl "net.no.such" cannot be set to "1"'):
            await bench.runtime.run_sandbox(bench.sandbox(uid="bad", sysctls=(("net.no.such", "1"),)))
        await bench.runtime.run_sandbox(bench.sandbox(sysctls=(("net.ipv4.ip_local_port_range", "4000 5000"),)))
        spec = await bench.run("cat", "/proc/sys/net/ipv4/ip_local_port_range")
        await bench.ended()
        assert bench.log(spec) == ["stdout F 4000\t5000"]


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    root = tmp_path / "pods"
    before = snapshot(root)
    async with new_bench(root) as bench:
        await bench.runtime.run_sandbox(bench.sandbox())
        await bench.run(ports=(("http", 80, "TCP"),))
        await bench.run("sh", "-c", "(setsid sleep 83 &) ; sleep 82", name="second")
        assert snapshot(root) != before
        await bench.runtime.remove_sandbox(bench.uid)
        await bench.runtime.remove_sandbox(bench.uid)
        assert not (root / bench.uid).exists()
        assert bench.runtime.sandboxes() == {}
    assert snapshot(root) == before
    assert {path.name for path in root.iterdir()} == {".runtime", "forkserver.log"}
    assert (root / "forkserver.log").read_text() == ""


def snapshot(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Processes, mounts and namespaces that belong to pods below `root`."""
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line or PREFIX in line
    ]
    names = Path("/run/netns")
    namespaces = [entry.name for entry in names.iterdir() if entry.name.startswith(PREFIX)] if names.exists() else []
    return commands_of_lab(root), mounts, namespaces


def commands_of_lab(root: Path) -> list[str]:
    """Command lines of all processes that were forked for pods below `root`, zombies included by their parent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                inside = str(root) in text or str(root) in (entry / "mountinfo").read_text()
            except OSError:
                continue
            if inside and int(entry.name) != os.getpid():
                found.append(text)
    return sorted(found)


def init_pid(bench: Bench) -> int:
    """The pod's init: parent of its containers."""
    pid = next(state.pid for state in bench.runtime.containers(bench.uid).values() if state.pid)
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_true(condition: Callable[[], bool]) -> None:
    """Wait for something that only the kernel or a file tells."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 nothing in this process is told
            await asyncio.sleep(0.01)
