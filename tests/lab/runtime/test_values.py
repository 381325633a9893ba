"""The runtime's pure parts: logs, messages, values, mounts, programs and the seccomp filter."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.lab.runtime import codec, layers, seccomp, wire
from fairlead.lab.runtime.crilog import CriLog, LineFramer, timestamp
from fairlead.lab.runtime.programs import command_exists
from fairlead.lab.runtime.spec import ContainerSpec, Identity, Mount, SandboxSpec

NOW = 1_700_000_000_123_456_789
STAMP = b"2023-11-14T22:13:20.123456789Z"


def container(**changes: object) -> ContainerSpec:
    fields: dict[str, object] = {
        "name": "a", "attempt": 0, "argv": ("sh",), "log_path": Path("/tmp/log"),
        "identity": Identity(pod="p", namespace="n", node="o", zone="z"),
    }  # fmt: skip
    return ContainerSpec(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pieces", "records"),
    [
        ([b"one\ntwo\n"], [b"stdout F one", b"stdout F two"]),
        ([b"o", b"ne\nt", b"wo"], [b"stdout F one", b"stdout F two"]),
        ([b"\n\n"], [b"stdout F ", b"stdout F "]),
        ([b"x" * 20000 + b"\n"], [b"stdout P " + b"x" * 16384, b"stdout F " + b"x" * 3616]),
        ([b"x" * 20000], [b"stdout P " + b"x" * 16384, b"stdout F " + b"x" * 3616]),
    ],
    ids=["lines", "pieces", "empty lines", "long line", "long end"],
)
def test_log_records(pieces: list[bytes], records: list[bytes]) -> None:
    framer = LineFramer("stdout")
    text = b"".join(framer.frame(piece, NOW) for piece in pieces) + framer.flush(NOW)
    assert text.splitlines() == [STAMP + b" " + record for record in records]


def test_times_have_nine_digits() -> None:
    assert timestamp(NOW) == STAMP
    assert timestamp(0) == b"1970-01-01T00:00:00.000000000Z"


def test_a_log_is_bounded(tmp_path: Path) -> None:
    log = CriLog(str(tmp_path / "0.log"), 100)
    for number in range(50):
        log.write(b"%029d\n" % number)
    log.close()
    assert (tmp_path / "0.log").stat().st_size <= 100
    assert (tmp_path / "0.log.1").stat().st_size <= 100
    assert (tmp_path / "0.log").read_bytes().endswith(b"49\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_values_survive_the_wire() -> None:
    sandbox = SandboxSpec(
        uid="u", namespace="n", name="p", hostname="h", netns=Path("/run/netns/x"), resolv_conf="r", hosts="h",
        sysctls=(("a.b", "1"),), share_pids=True,
    )  # fmt: skip
    assert codec.decode(codec.encode(sandbox), SandboxSpec) == sandbox
    spec = container(mounts=(Mount(source=Path("/a"), destination="/b"),), ports=(("http", 80, "TCP"),), env={"A": "ü"})
    assert codec.decode(codec.encode(spec), ContainerSpec) == spec
    with pytest.raises(TypeError, match="has no JSON form"):
        codec.encode(object())


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=50), max_size=3), max_size=5), st.integers(1, 40))
def test_messages_arrive_whole_however_they_are_cut(messages: list[dict[str, str]], size: int) -> None:
    messages = [{key: value for key, value in message.items() if key != "fds"} for message in messages]
    data = b"".join(wire.encode(message) for message in messages)
    decoder = wire.Decoder()
    got = [message for start in range(0, len(data), size) for message in decoder.feed(data[start : start + size], [])]
    assert got == [{**message, "fds": []} for message in messages]


def test_descriptors_travel_with_their_message() -> None:
    left, right = socket.socketpair()
    with left, right:
        first, second = os.pipe()
        wire.send(left, {"n": 1})
        wire.send(left, {"n": 2, "big": "x" * 100_000}, (first, second))
        decoder, got = wire.Decoder(), []
        while len(got) < 2:
            got += wire.receive(right, decoder)
        assert [message["n"] for message in got] == [1, 2] and got[0]["fds"] == []
        os.write(second, b"through")
        assert os.read(got[1]["fds"][0], 10) == b"through"
        for fd in (first, second, *got[1]["fds"]):
            os.close(fd)
        left.close()
        with pytest.raises(wire.Closed):
            wire.receive(right, decoder)


MOUNTINFO = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw - proc proc rw
24 22 0:6 / /dev rw - devtmpfs dev rw
25 24 0:7 / /dev/shm rw - tmpfs tmpfs rw
26 22 8:2 / /usr rw - xfs /dev/sda2 rw
27 22 8:3 / /media/my\\040stick rw - ext4 /dev/sdb1 rw
28 22 0:8 / /run rw - tmpfs tmpfs rw
29 28 0:4 net:[4026532000] /run/netns/a rw - nsfs nsfs rw
30 22 0:9 / /home/me rw shared:1 - tmpfs tmpfs rw
31 22 0:10 / /opt/scratch rw - tmpfs tmpfs rw
"""


def test_only_mounts_that_pods_can_need_are_kept() -> None:
    points = layers.mount_points(MOUNTINFO)
    assert points[5].path == "/media/my stick" and points[5].kind == "ext4"
    assert layers.kept(points, ("/home/me/.fairlead/lab/pods",)) == {"/", "/proc", "/dev", "/usr", "/home/me"}


def test_overlay_options_are_escaped() -> None:
    assert layers.overlay_escape("/a:b,c\\d") == "/a\\:b\\,c\\\\d"


def test_programs_are_looked_up_as_the_container_sees_them(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text, mode in (
        ("run", "#!/bin/sh\n", 0o755),
        ("lost", "#!/no/such/interpreter -x\n", 0o755),
        ("plain", "text", 0o644),
        ("private", "#!/bin/sh\n", 0o700),
    ):
        (tools / name).write_text(text)
        (tools / name).chmod(mode)
    mounted = container(mounts=(Mount(source=tools, destination="/tools"),), env={"PATH": "/usr/bin:/bin:/tools"})
    exists = {
        name: command_exists((name,), mounted)
        for name in ("sh", "run", "lost", "plain", "private", "/tools/run", "/bin/sh", "none", "/agnhost", "")
    }
    assert exists == {
        "sh": True, "run": True, "lost": False, "plain": False, "private": False, "/tools/run": True,
        "/bin/sh": True, "none": False, "/agnhost": True, "": False,
    }  # fmt: skip
    assert command_exists(("./run",), container(mounts=mounted.mounts, working_dir="/tools"))
    assert not command_exists((str(tools / "run"),), container()), "the host's /tmp is hidden"
    assert not command_exists((), container())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("call", "argument", "verdict"),
    [
        ("read", 0, "allow"),
        ("mount", 0, "EPERM"),
        ("setns", 0, "EPERM"),
        ("clone", 0x11, "allow"),
        ("clone", 0x01200011, "allow"),
        ("clone", 0x10000011, "EPERM"),
        ("clone", 0x20000, "EPERM"),
        ("clone3", 0, "ENOSYS"),
        ("socket", 2, "allow"),
        ("socket", 40, "EPERM"),
        ("io_uring_setup", 0, "EPERM"),
    ],
)
def test_the_seccomp_filter(machine: str, call: str, argument: int, verdict: str) -> None:
    x86 = machine == "x86_64"
    numbers = {
        "read": 0 if x86 else 63, "mount": 165 if x86 else 40, "setns": 308 if x86 else 268, "clone": 56 if x86 else 220,
        "clone3": 435, "socket": 41 if x86 else 198, "io_uring_setup": 425,
    }  # fmt: skip
    arch = 0xC000003E if x86 else 0xC00000B7
    data = struct.pack("<IIQQ", numbers[call], arch, 0, argument)
    names = {0x7FFF0000: "allow", 0x50001: "EPERM", 0x50026: "ENOSYS", 0x80000000: "kill"}
    assert names[run_bpf(seccomp.program(machine), data)] == verdict
    assert names[run_bpf(seccomp.program(machine), struct.pack("<IIQQ", 0, 0x40000003, 0, 0))] == "kill"


def run_bpf(program: bytes, data: bytes) -> int:
    """Interpret a classic BPF program over a seccomp_data."""
    lines = list(struct.iter_unpack("<HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, yes, no, k = lines[place]
        place += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, k)[0]
            case 0x15:
                place += yes if accumulator == k else no
            case 0x35:
                place += yes if accumulator >= k else no
            case 0x45:
                place += yes if accumulator & k else no
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"unexpected instruction {code:#x}")
