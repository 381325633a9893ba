"""Escape attempts from a pod, each refused by the kernel: the host's files, processes, namespaces and wires stay out of reach."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.lab.runtime.runtime import Runtime
from fairlead.lab.runtime.spec import ContainerSpec, Identity, SandboxSpec

pytestmark = pytest.mark.kernel

PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
PREFIX = f"flt-runtime-{os.getpid()}-"
UID = "confined"
CTYPES = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "
LAST = "; print('refused' if r < 0 else 'ALLOWED', ctypes.get_errno())"


async def start(root: Path, uid: int) -> Runtime:
    runtime = Runtime(root, netns_prefix=PREFIX)
    await runtime.start()
    netns = await runtime.create_netns(PREFIX + f"pod-{uid}")
    await runtime.run_sandbox(
        SandboxSpec(uid=UID, namespace="a", name="b", hostname="b", netns=netns, resolv_conf="", hosts="")
    )
    (root / UID / "log").mkdir()
    await runtime.start_container(
        UID,
        ContainerSpec(
            name="main", attempt=0, argv=("sleep", "600"), uid=uid, gid=uid, groups=(0,), log_path=root / UID / "log/0",
            identity=Identity(pod="b", namespace="a", node="n", zone="z"),
        ),
    )  # fmt: skip
    return runtime


@pytest.fixture(params=[65534, 0], ids=["nobody", "asks for root"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    (tmp_path / "secret").write_text("secret")
    runtime = await start(tmp_path / "pods", request.param)
    yield runtime
    await runtime.remove_sandbox(UID)
    await runtime.delete_netns(PREFIX + f"pod-{request.param}")
    await runtime.close()


async def attempt(runtime: Runtime, *argv: str) -> tuple[int, str]:
    session = await runtime.exec(UID, "main", argv, tty=False, stdin=False)
    output = b""
    while (chunk := await session.read()) is not None:
        output += chunk[1]
    return await session.wait(), output.decode(errors="replace")


SHELL = {
    "write below /usr": "echo x >/usr/bin/fairlead-was-here",
    "write below /etc": "echo x >>/etc/hosts",
    "write a kernel setting": "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "remount the root": "mount -o remount,rw,dev,suid /",
    "mount anything": "mount -t tmpfs none /tmp",
    "make a device": "mknod /tmp/disk b 254 0",
    "read a disk": "cat /dev/vda /dev/sda /dev/mem",
    "new user namespace": "unshare --user --map-root-user true",
    "new network namespace": "unshare --net true",
    "change the network": "ip link set lo down",
    "become root by a set-user-id program": "su -c id root </dev/null",
    "read root's home": "ls /root",
    "read the shadow file": "cat /etc/shadow",
    "read another's memory": "cat /proc/1/mem",
    "signal process 1 of the machine": "kill -9 $PPID",
    "change the time": "date -s 2001-01-01",
    "change the host name": "hostname evil",
    "capture packets": f"{PYTHON} -IS -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)'",
    "forge packets": f"{PYTHON} -IS -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)'",
    "reach the hypervisor": f"{PYTHON} -IS -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'",
}


async def test_a_shell_is_refused_everything(runtime: Runtime) -> None:
    results = {name: await attempt(runtime, "sh", "-c", script) for name, script in SHELL.items()}
    assert {name: output for name, (code, output) in results.items() if code == 0} == {}
    assert not Path("/usr/bin/fairlead-was-here").exists()


CALLS = {
    "unshare": "r = libc.unshare(0x20000)",
    "setns": "r = libc.setns(os.open('/proc/self/ns/net', os.O_RDONLY), 0)",
    "mount": "r = libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "r = libc.umount2(b'/proc', 2)",
    "chroot": "r = libc.chroot(b'/tmp')",
    "ptrace": "r = libc.ptrace(16, 1, 0, 0)",
    "bpf": "r = libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0)",
    "keyctl": "r = libc.syscall(250 if os.uname().machine == 'x86_64' else 219, 0, 0)",
    "io_uring": "r = libc.syscall(425, 1, 0)",
    "open_tree": "r = libc.syscall(428, -100, b'/', 1)",
    "clone into a user namespace": "r = libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000011, 0, 0, 0, 0)",
    "setuid": "r = libc.setuid(0)",
}


async def test_dangerous_system_calls_are_refused(runtime: Runtime) -> None:
    results = {name: await attempt(runtime, PYTHON, "-IS", "-c", CTYPES + call + LAST) for name, call in CALLS.items()}
    assert {name: output for name, (code, output) in results.items() if code or not output.startswith("refused")} == {}


async def test_privileges_are_gone_for_good(runtime: Runtime) -> None:
    _code, output = await attempt(runtime, "cat", "/proc/self/status")
    status = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert "0" not in status["Groups"].split()


async def test_nothing_of_the_host_shows_through(runtime: Runtime, tmp_path: Path) -> None:
    _code, mounts = await attempt(runtime, "cat", "/proc/mounts")
    writable = [line for line in mounts.splitlines() if " ro," not in line]
    assert {line.split()[2] for line in writable} == {"overlay", "proc", "devpts", "tmpfs"}
    assert all("nosuid" in line for line in mounts.splitlines())
    for hidden in (tmp_path / "secret", tmp_path / "pods", "/run/netns", Path.home() / ".fairlead"):
        assert (await attempt(runtime, "ls", str(hidden)))[0] != 0
    _code, processes = await attempt(runtime, "sh", "-c", "echo /proc/[0-9]*")
    assert "/proc/1 " in processes and len(processes.split()) <= 3
    _code, inherited = await attempt(runtime, "sh", "-c", "ls -l /proc/self/fd | wc -l")
    assert int(inherited) <= 5
    _code, environment = await attempt(runtime, "env")
    assert {line.partition("=")[0] for line in environment.splitlines()} == {"PATH", "HOSTNAME", "HOME"}


async def test_what_a_pod_writes_is_bounded_and_private(runtime: Runtime) -> None:
    code, output = await attempt(runtime, "sh", "-c", "head -c 400000000 /dev/zero >/tmp/big")
    assert code != 0 and "No space left" in output
    assert not Path("/tmp/big").exists()
