"""A node with two pods and what lies outside of it, for tests of the nftables driver with real packets.

`outside` is the node's gateway, an external host and the home of a remote pod at once. Sockets are opened inside a namespace by a
thread of their own and used from the test's thread; no process runs in the namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fairlead.drivers.nft.driver import NftDriver
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import (
    ClusterAddress,
    Endpoint,
    LocalRange,
    NatExemption,
    PodSource,
    Row,
    ServicePort,
)

T = TypeVar("T")
PREFIX = f"flt-nft-{os.getpid()}"
TIMEOUT_S = 5.0
PODS = {"pod-a": ("fl00000000000a", "5"), "pod-b": ("fl00000000000b", "6")}
NODE = {4: "10.10.0.11", 6: "fd10:10::b"}
EXTERNAL = {4: "198.51.100.10", 6: "fd10:198::10"}
REMOTE_POD = {4: "10.244.2.5", 6: "fd10:244:0:2::5"}
VIP = {4: "10.96.0.10", 6: "fd10:96::a"}
OTHER_VIP = {4: "10.96.0.11", 6: "fd10:96::b"}
HOST_MAC, POD_MAC = "ee:ee:ee:ee:ee:ee", "0a:00:00:00:00:0{}"
_libc = ctypes.CDLL(None, use_errno=True)


def pod_ip(pod: str, version: int) -> str:
    number = PODS[pod][1]
    return f"10.244.1.{number}" if version == 4 else f"fd10:244:0:1::{number}"


def base_rows() -> dict[str, list[Row]]:
    """The tables of a plan without any Service."""
    sources: list[Row] = [
        PodSource(host_ifname=ifname, address=pod_ip(pod, v)) for pod, (ifname, _) in PODS.items() for v in (4, 6)
    ]
    exempt = ("10.244.0.0/16", "10.10.0.0/20", "fd10:244::/48", "fd10:10::/64")
    return {
        "pod_sources": sources,
        "local_ranges": [LocalRange(prefix="10.244.1.0/24"), LocalRange(prefix="fd10:244:0:1::/64")],
        "nat_exemptions": [NatExemption(prefix=each) for each in exempt],
    }


def service(
    version: int, port: int, *pods: str, protocol: str = "tcp", target: int = 8080, other: bool = False
) -> ServicePort:
    vip = (OTHER_VIP if other else VIP)[version]
    endpoints = tuple(sorted(Endpoint(pod_ip(pod, version), target) for pod in pods))
    return ServicePort(address=vip, protocol=protocol, port=port, endpoints=endpoints)


def plan_of(*services: ServicePort, rows: Mapping[str, list[Row]] | None = None) -> Plan:
    """A plan with the base rows and these services, each address of which refuses all other ports."""
    tables = dict(base_rows() if rows is None else rows)
    tables["service_ports"] = list(services)
    tables["cluster_addresses"] = [ClusterAddress(address=each) for each in sorted({row.address for row in services})]
    return Plan(node="node", revision="1", tables={name: index(each) for name, each in tables.items()})


def run(*argv: str, check: bool = True, stdin: str | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, input=stdin)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def inside(namespace: Path, action: Callable[[], T]) -> T:
    """Return what `action` returns in a thread inside `namespace`."""
    result: list[T | BaseException] = []

    def work() -> None:
        try:
            with namespace.open() as file:
                if _libc.setns(file.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns", str(namespace))
            result.append(action())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def sctp_init(source_port: int, port: int) -> bytes:
    """An SCTP packet that opens an association (RFC 9260 section 3.3.2), with the checksum that conntrack demands."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 0x1234, 65535, 1, 1, 7)
    packet = struct.pack(">HHII", source_port, port, 0, 0) + chunk
    crc = 0xFFFFFFFF
    for byte in packet:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return packet[:8] + struct.pack("<I", crc ^ 0xFFFFFFFF) + packet[12:]


class Server:
    """Answers each TCP connection's lines, and each UDP datagram, with `NAME CLIENT-ADDRESS`."""

    def __init__(self, lab: NftLab, where: str, address: str, port: int, protocol: str = "tcp", name: str = "") -> None:
        self._name = name or where
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        self._socket = lab.socket(where, address, kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        self._socket.settimeout(None)
        self._clients: list[socket.socket] = []
        if protocol == "tcp":
            self._socket.listen(64)
        self._thread = threading.Thread(target=self._accept if protocol == "tcp" else self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        for each in (self._socket, *self._clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, peer = self._socket.accept()
                client.settimeout(None)
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client, peer), daemon=True).start()

    def _serve(self, client: socket.socket, peer: Sequence[str]) -> None:
        with contextlib.suppress(OSError):
            while client.recv(1024):
                client.sendall(f"{self._name} {peer[0]}".encode())

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while (received := self._socket.recvfrom(1024))[1]:
                peer = received[1]
                # An answer that the kernel refuses to send is lost, and the server lives on for the next.
                with contextlib.suppress(PermissionError, ConnectionError):
                    self._socket.sendto(f"{self._name} {peer[0]}".encode(), peer)


class NftLab:
    """A context manager that makes the namespaces and a started driver, and removes them, also after failure."""

    driver: NftDriver

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> NftLab:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def path(self, where: str) -> Path:
        return Path("/run/netns") / f"{PREFIX}-{where}"

    def run(self, where: str, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        return run("nsenter", f"--net={self.path(where)}", *argv, stdin=stdin, check=check)

    def nft(self, commands: str) -> str:
        return self.run("node", "nft", "-f", "-", stdin=commands)

    def listing(self) -> str:
        """The static part, without elements and counters."""
        return self.run("node", "nft", "-t", "-s", "list", "ruleset")

    def apply(self, plan: Plan) -> Outcome:
        return asyncio.run(self.driver.apply(plan))

    def resync(self, plan: Plan) -> Outcome:
        return asyncio.run(self.driver.resync(plan))

    def observe(self) -> dict[str, dict[tuple[str | int, ...], Row]]:
        return {name: dict(rows) for name, rows in asyncio.run(self.driver.observe()).items()}

    def counters(self) -> Mapping[str, tuple[int, int]]:
        return asyncio.run(self.driver.counters())

    def start(self) -> NftDriver:
        """Another driver of the node's namespace, started."""
        driver = NftDriver(self.path("node"))
        asyncio.run(driver.start())
        self._stack.callback(lambda: asyncio.run(driver.close()))
        return driver

    def socket(self, where: str, address: str, kind: int, protocol: int = 0) -> socket.socket:
        """A socket inside a namespace, of the family of `address`."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.adopt(inside(self.path(where), lambda: socket.socket(family, kind, protocol)))

    def adopt(self, opened: socket.socket) -> socket.socket:
        opened.settimeout(TIMEOUT_S)
        self._stack.callback(opened.close)
        return opened

    @contextlib.contextmanager
    def serve(self, *servers: tuple[str, str, int, str]) -> Iterator[None]:
        """Run servers (where, address, port, protocol)."""
        with contextlib.ExitStack() as stack:
            for where, address, port, protocol in servers:
                stack.callback(Server(self, where, address, port, protocol).close)
            yield

    def ask(self, where: str, address: str, port: int, protocol: str = "tcp", *, source: str = "") -> list[str]:
        """[server, client's address as the server saw it]; raises ConnectionRefusedError, TimeoutError."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with self.socket(where, address, kind) as client:
            if source:
                client.bind((source, 0))
            client.connect((address, port))
            # A refused datagram of the node's own is also an error of its sending: the refusal itself comes on receiving.
            with contextlib.suppress(PermissionError):
                client.send(b"?")
            return client.recv(1024).decode().split()

    def _build(self) -> None:
        for where in ("node", "outside", *PODS):
            run("ip", "netns", "add", self.path(where).name)
            self._stack.callback(run, "ip", "netns", "delete", self.path(where).name, check=False)
        for where in ("node", "outside"):
            # A packet translated back to its sender must not make the node tell the pod a shorter way: such messages also use
            # up what the kernel grants the pod in ICMP errors.
            switches = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
            switches |= {f"ipv4/conf/{each}/send_redirects": 0 for each in ("all", "default")}
            # Link-local addresses would be tentative for a second, and neighbors not be found from them.
            switches |= {f"ipv6/conf/{each}/accept_dad": 0 for each in ("all", "default")}
            # Refusals are awaited, so none may be held back by the kernel's limits on ICMP errors, for each host and for all.
            switches = {"ipv4/icmp_msgs_per_sec": 1_000_000, "ipv4/icmp_msgs_burst": 1_000_000} | switches
            switches |= {"ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0}
            commands = (f"echo {value} > /proc/sys/net/{path}" for path, value in switches.items())
            self.run(where, "sh", "-c", "; ".join(commands))
        up = "link set lo up\n"
        node = up + f"link add eth0 type veth peer name eth0 netns {self.path('outside').name}\nlink set eth0 up\n"
        node += "address add 10.10.0.11/20 dev eth0\naddress add fd10:10::b/64 dev eth0 nodad\n"
        node += "route add default via 10.10.0.1\nroute add default via fd10:10::1\n"
        for pod, (ifname, number) in PODS.items():
            mac = POD_MAC.format(number)
            node += f"link add {ifname} address {HOST_MAC} type veth peer name eth0 address {mac} netns {self.path(pod).name}\n"
            node += f"link set {ifname} addrgenmode none\nlink set {ifname} up\n"
            node += "".join(
                f"neighbor add {pod_ip(pod, v)} lladdr {mac} dev {ifname} nud permanent\nroute add {pod_ip(pod, v)} dev {ifname}\n"
                for v in (4, 6)
            )
        outside = up + "link set eth0 up\naddress add 10.10.0.1/20 dev eth0\naddress add fd10:10::1/64 dev eth0 nodad\n"
        outside += "".join(f"address add {each[v]} dev lo\n" for each in (EXTERNAL, REMOTE_POD) for v in (4, 6))
        outside += "".join(
            f"route add {prefix} via {NODE[v]}\n"
            for v, prefixes in ((4, ("10.244.1.0/24", "10.96.0.0/16")), (6, ("fd10:244:0:1::/64", "fd10:96::/108")))
            for prefix in prefixes
        )
        run("ip", "-n", self.path("node").name, "-batch", "-", stdin=node)
        run("ip", "-n", self.path("outside").name, "-batch", "-", stdin=outside)
        for pod in PODS:
            text = up + "link set eth0 addrgenmode none\nlink set eth0 up\n"
            text += f"address add {pod_ip(pod, 4)}/32 dev eth0\naddress add {pod_ip(pod, 6)}/128 dev eth0 nodad\n"
            text += f"neighbor add 169.254.1.1 lladdr {HOST_MAC} dev eth0 nud permanent\n"
            text += f"neighbor add fe80::1 lladdr {HOST_MAC} dev eth0 nud permanent\n"
            text += "route add default via 169.254.1.1 dev eth0 onlink\nroute add default via fe80::1 dev eth0\n"
            run("ip", "-n", self.path(pod).name, "-batch", "-", stdin=text)
        self.driver = self.start()
