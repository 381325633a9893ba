"""Network namespaces of a benchmark's own, and the links between them. It must never touch the namespace that it was started in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fairlead.base.errors import UserError

_NODE_MAC, _END_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_GATEWAY = "169.254.1.1"


@contextlib.contextmanager
def namespace(purpose: str) -> Iterator[Path]:
    """Make a network namespace and remove it, with all that is in it, at the end; raises UserError."""
    name = f"fl-bench-{os.getpid()}-{purpose}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        raise UserError(f"making a network namespace: {made.stderr.strip()}; run as root")
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def configure(place: Path, *lines: str) -> None:
    """Let ip(8) do `lines` inside a namespace; raises UserError."""
    text = "\n".join(lines) + "\n"
    done = subprocess.run(["ip", "-n", place.name, "-batch", "-"], input=text, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"ip in {place.name}: {done.stderr.strip()}", fix="run as root")


def forward(node: Path) -> None:
    """Let a namespace forward IPv4 packets, as a node does; raises UserError."""
    argv = ["nsenter", f"--net={node}", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"forwarding in {node.name}: {done.stderr.strip()}", fix="run as root")


def attach(node: Path, end: Path, device: str, address: str) -> None:
    """Connect a namespace to the node by a link, as a pod is: one address, no neighbor discovery, a route to everywhere."""
    configure(
        node,
        f"link add {device} address {_NODE_MAC} type veth peer name eth0 address {_END_MAC} netns {end.name}",
        f"link set {device} up",
        f"neighbor add {address} lladdr {_END_MAC} dev {device} nud permanent",
        f"route add {address} dev {device}",
    )
    configure(
        end,
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"neighbor add {_GATEWAY} lladdr {_NODE_MAC} dev eth0 nud permanent",
        f"route add default via {_GATEWAY} dev eth0 onlink",
    )


def join(one: Path, other: Path, first: str, second: str, device: str = "eth0") -> None:
    """Connect two namespaces by a link of their own, with addresses in one subnet given as `address/length`."""
    configure(one, f"link add {device} type veth peer name {device} netns {other.name}")
    for place, address in ((one, first), (other, second)):
        configure(place, "link set lo up", f"link set {device} up", f"address add {address} dev {device}")


def pod_address(number: int) -> str:
    """Return an address that no other number gets."""
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def nft(path: Path, text: str) -> float:
    """Return how many seconds it takes to load a ruleset into the namespace at `path`; raises UserError when it is refused."""
    # Entering the namespace is no part of it: the time is that of nft alone, from its start to its end.
    with tempfile.NamedTemporaryFile("w", prefix="fairlead-bench-", suffix=".nft") as file:
        file.write(text)
        file.flush()
        argv = ["nsenter", f"--net={path}", "sh", "-c", 'read -r _; exec nft -f "$0"', file.name]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = time.perf_counter()
        _, errors = process.communicate("\n")
        taken = time.perf_counter() - begun
    if process.returncode:
        raise UserError(f"nft refused the peer's rules: {errors.strip()[:300]}")
    return taken
