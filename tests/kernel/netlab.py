"""Node namespaces joined by a router, and pod namespaces, for tests on the real kernel.

Zone a holds n1 and n2 in one subnet, zone b holds n3; the router forwards between the zones and knows nothing of pods.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PREFIX = f"flt-net-{os.getpid()}"
SUBNETS = {"a": ("10.10.0.1/20", "fd10:10:0:0::1/64"), "b": ("10.10.16.1/20", "fd10:10:0:1::1/64")}
NODES = {"n1": ("a", 11), "n2": ("a", 12), "n3": ("b", 13)}


def run(*argv: str, check: bool = True) -> str:
    """Run a command and return its output; an error shows what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def netns(name: str) -> Path:
    return Path("/run/netns") / f"{PREFIX}-{name}"


def inside(name: str, *argv: str, check: bool = True) -> str:
    return run("nsenter", f"--net={netns(name)}", *argv, check=check)


def node_ips(name: str) -> tuple[str, str]:
    zone, number = NODES[name]
    third, v6_zone = {"a": (0, 0), "b": (16, 1)}[zone]
    return f"10.10.{third}.{number}", f"fd10:10::{number:x}" if not v6_zone else f"fd10:10:0:{v6_zone}::{number:x}"


class NetLab:
    """A context manager that makes the namespaces and removes them, also after failure."""

    def __init__(self, *nodes: str, mtu: int = 1500) -> None:
        self._nodes = nodes
        self._mtu = mtu
        self._made: list[str] = []

    def add_namespace(self, name: str) -> Path:
        run("ip", "netns", "add", netns(name).name)
        self._made.append(name)
        inside(name, "ip", "link", "set", "lo", "up")
        # Link-local addresses would be tentative for a second, and neighbors not be found from them.
        self.sysctl(name, "net/ipv6/conf/default/accept_dad", "0")
        return netns(name)

    def __enter__(self) -> NetLab:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._made):
            run("ip", "netns", "delete", netns(name).name, check=False)

    def _build(self) -> None:
        self.add_namespace("router")
        for path in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.sysctl("router", path, "1")
        for zone, addresses in SUBNETS.items():
            inside("router", "ip", "link", "add", f"br-{zone}", "type", "bridge")
            inside("router", "ip", "link", "set", f"br-{zone}", "up", "mtu", str(self._mtu))
            for address in addresses:
                inside("router", "ip", "address", "add", address, "dev", f"br-{zone}", *_nodad(address))
        for name in self._nodes:
            zone, _ = NODES[name]
            self.add_namespace(name)
            mtu = str(self._mtu)
            inside(
                "router", "ip", "link", "add", f"to-{name}", "mtu", mtu, "type", "veth",
                "peer", "name", "eth0", "mtu", mtu, "netns", netns(name).name,
            )  # fmt: skip
            inside("router", "ip", "link", "set", f"to-{name}", "up", "master", f"br-{zone}")
            inside(name, "ip", "link", "set", "eth0", "up")
            for address, length, gateway in zip(node_ips(name), (20, 64), SUBNETS[zone], strict=True):
                inside(name, "ip", "address", "add", f"{address}/{length}", "dev", "eth0", *_nodad(address))
                inside(name, "ip", "route", "add", "default", "via", gateway.partition("/")[0])

    def sysctl(self, name: str, path: str, value: str) -> None:
        inside(name, "sh", "-c", f"echo {value} > /proc/sys/{path}")


def _nodad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()
