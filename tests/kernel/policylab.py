"""Two nodes with as many pods as are asked for, an outside, and probes by real packets between all of them.

Servers and clients are sockets of the test's own process, each opened inside its namespace; nothing runs in the namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.kernel.nftlab import inside, run
from tests.model.policy.interpreter import Tables, host_ifname, snapshot_of

from fairlead.base import domainnames
from fairlead.drivers.nft.policy.driver import PolicyDriver
from fairlead.drivers.protocol import Outcome
from fairlead.model.policy.stage import PolicyStage
from fairlead.plan.plan import Plan
from fairlead.verify.oracle.cluster import Cluster, Place, place
from fairlead.world.snapshot import Snapshot

NODES = {"node-1": ("10.10.0.11", "fd10:10::b", "fd10:10::11"), "node-2": ("10.10.0.12", "fd10:10::c", "fd10:10::12")}
EXTERNAL = ("198.51.100.10", "198.51.100.20", "fd10:198::10", "fd10:198::20")
PATIENCE_S = 10.0
GRACE_S = 0.05
"""How long a forbidden packet is given to arrive after all permitted ones have."""
_NUMBERS = itertools.count()
_HOST_MAC = "ee:ee:ee:ee:ee:ee"


class Probe(msgspec.Struct, frozen=True):
    """A question to the network and the answer that is expected."""

    source: str
    target: str
    protocol: str
    port: int
    family: int
    expected: bool


class PolicyLab:
    """A context manager that makes the namespaces and one started driver for each node, and removes them, also after failure."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._prefix = f"flt-policy-{os.getpid()}-{next(_NUMBERS)}"
        self._pods: set[str] = set()
        self._servers: dict[tuple[str, str, str, int], socket.socket] = {}
        self._udp: dict[int, socket.socket] = {}
        self.stages = {node: PolicyStage() for node in NODES}
        self._snapshots: dict[str, Any] = {}
        self._resolved: Mapping[str, Sequence[str]] = {}
        self.drivers: dict[str, PolicyDriver] = {}

    def __enter__(self) -> PolicyLab:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def path(self, where: str) -> Path:
        return Path("/run/netns") / f"{self._prefix}-{where}"

    def run(self, where: str, *argv: str, stdin: str | None = None) -> str:
        return run("nsenter", f"--net={self.path(where)}", *argv, stdin=stdin)

    def enforce(self, cluster: Cluster) -> dict[str, Tables]:
        """Make pods and bring the policies into force on both nodes; return the rows."""
        for pod in cluster.pods:
            self._attach(pod)
        found: dict[str, Tables] = {}
        for node, stage in self.stages.items():
            if cluster.resolved != self._resolved:
                self.apply(node, {})
            self._snapshots[node] = snapshot_of(cluster, node, self._snapshots.get(node))
            found[node] = stage.update(self._snapshots[node]).tables
            outcome = self.apply(node, found[node])
            assert outcome.failed == (), outcome
            for name, addresses in cluster.resolved.items():
                self.permit(node, name, *addresses)
        self._resolved = cluster.resolved
        return found

    def permit(self, node: str, name: str, *addresses: str, ttl: int = 5) -> None:
        """Do what the resolver does before it tells a pod these addresses."""
        packed = {ipaddress.ip_address(each).packed: ttl for each in addresses}
        asyncio.run(self.drivers[node].permit([domainnames.name(name)], packed))

    def apply(self, node: str, tables: Tables) -> Outcome:
        return asyncio.run(self.drivers[node].apply(Plan(node=node, revision="1", tables=tables)))

    def snapshot(self, node: str) -> Snapshot:
        """The world that was enforced last."""
        found: Snapshot = self._snapshots[node]
        return found

    def client(self, cluster: Cluster, probe: Probe) -> socket.socket:
        """A socket that has sent the first packet of a probe, and is free to send more."""
        ends = {name: self._end(cluster, name) for name in (probe.source, probe.target)}
        opened = self._client(ends, probe)
        self._stack.callback(opened.close)
        return opened

    def counters(self, node: str) -> Mapping[str, tuple[int, int]]:
        return asyncio.run(self.drivers[node].counters())

    def start(self, node: str) -> PolicyDriver:
        driver = PolicyDriver(self.path(node))
        asyncio.run(driver.start())
        self._stack.callback(lambda: asyncio.run(driver.close()))
        self.drivers[node] = driver
        return driver

    def ask(self, cluster: Cluster, probes: Sequence[Probe]) -> list[Probe]:
        """Send the first packets of all probes; return those whose answer was not as expected.

        Forbidden ones are sent first and have lost when the permitted ones are all answered, and a moment more has passed.
        """
        ends = {name: self._end(cluster, name) for each in probes for name in (each.source, each.target)}
        for each in probes:
            self._serve(ends[each.target], each)
        clients: dict[int, tuple[Probe, socket.socket]] = {}
        with contextlib.ExitStack() as stack:
            for each in sorted(probes, key=lambda probe: probe.expected):
                opened = self._client(ends, each)
                stack.callback(opened.close)
                clients[opened.fileno()] = (each, opened)
            answered = self._collect(clients)
        return [each for number, (each, _) in clients.items() if (number in answered) != each.expected]

    def connect(self, cluster: Cluster, probe: Probe) -> socket.socket:
        """A connection or an association that is established, with the server's end in `accept`."""
        ends = {name: self._end(cluster, name) for name in (probe.source, probe.target)}
        self._serve(ends[probe.target], probe)
        client = self._client(ends, probe)
        self._stack.callback(client.close)
        assert self._collect({client.fileno(): (probe, client)}), "not permitted"
        return client

    def accept(self, cluster: Cluster, probe: Probe) -> socket.socket:
        end = self._end(cluster, probe.target)
        server = self._servers[self._where(end), end.address(probe.family) or "", "TCP", probe.port]
        # Of several, the latest: those of earlier probes are closed.
        accepted = None
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = server.accept()
        assert accepted is not None
        self._stack.callback(accepted.close)
        return accepted

    def socket(self, where: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        version = socket.AF_INET6 if family == 6 else socket.AF_INET
        opened = inside(self.path(where), lambda: socket.socket(version, kind, protocol))
        self._stack.callback(opened.close)
        return opened

    def _collect(self, clients: Mapping[int, tuple[Probe, socket.socket]]) -> set[int]:
        waiting = {number for number, (probe, _) in clients.items() if probe.expected}
        answered: set[int] = set()
        poll = select.poll()
        for number, (probe, _) in clients.items():
            poll.register(number, select.POLLIN if probe.protocol == "UDP" else select.POLLOUT)
        for number in self._udp:
            poll.register(number, select.POLLIN)
        until = time.monotonic() + PATIENCE_S
        while (left := until - time.monotonic()) > 0:
            if not waiting - answered:
                left = min(left, GRACE_S)
            events = poll.poll(left * 1000)
            if not events and not waiting - answered:
                break
            for number, _ in events:
                if number in self._udp:
                    with contextlib.suppress(OSError):
                        data, peer = self._udp[number].recvfrom(100)
                        self._udp[number].sendto(data, peer)
                    continue
                poll.unregister(number)
                if self._is_good(*clients[number]):
                    answered.add(number)
        return answered

    def _is_good(self, probe: Probe, client: socket.socket) -> bool:
        if probe.protocol == "TCP":
            return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        try:
            return client.recv(100) == b"?"
        except OSError:
            return False

    def _client(self, ends: Mapping[str, Place], probe: Probe) -> socket.socket:
        source, target = ends[probe.source].address(probe.family), ends[probe.target].address(probe.family)
        assert source is not None and target is not None
        version = socket.AF_INET6 if probe.family == 6 else socket.AF_INET
        kind = socket.SOCK_DGRAM if probe.protocol == "UDP" else socket.SOCK_STREAM
        where = self._where(ends[probe.source])
        opened = inside(self.path(where), lambda: socket.socket(version, kind | socket.SOCK_NONBLOCK))
        opened.bind((source, 0))
        code = opened.connect_ex((target, probe.port))
        assert code in (0, errno.EINPROGRESS), os.strerror(code)
        if probe.protocol == "UDP":
            opened.send(b"?")
        return opened

    def _serve(self, end: Place, probe: Probe) -> None:
        where, address = self._where(end), end.address(probe.family)
        assert address is not None
        at = (where, address, probe.protocol, probe.port)
        if at in self._servers:
            return
        version = socket.AF_INET6 if probe.family == 6 else socket.AF_INET
        kind = socket.SOCK_DGRAM if probe.protocol == "UDP" else socket.SOCK_STREAM
        opened = inside(self.path(where), lambda: socket.socket(version, kind | socket.SOCK_NONBLOCK))
        self._stack.callback(opened.close)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, probe.port))
        if probe.protocol == "TCP":
            opened.listen(4096)
        else:
            self._udp[opened.fileno()] = opened
        self._servers[at] = opened

    def _end(self, cluster: Cluster, name: str) -> Place:
        found = place(cluster, name)
        assert found is not None, name
        return found

    def _where(self, end: Place) -> str:
        if end.pod is not None:
            return f"pod-{end.addresses[0]}"
        return end.host or "outside"

    def _attach(self, pod: Mapping[str, Any]) -> None:
        ips = [each["ip"] for each in pod["status"].get("podIPs") or ()]
        if not ips or pod["spec"].get("hostNetwork") or ips[0] in self._pods:
            return
        self._pods.add(ips[0])
        where, node, device = f"pod-{ips[0]}", pod["spec"]["nodeName"], host_ifname(ips[0])
        mac = "0a:00:" + ":".join(f"{int(part):02x}" for part in ips[0].split("."))
        run("ip", "netns", "add", self.path(where).name)
        self._stack.callback(run, "ip", "netns", "delete", self.path(where).name, check=False)
        text = f"link add {device} address {_HOST_MAC} type veth peer name eth0 address {mac} netns {self.path(where).name}\n"
        text += f"link set {device} addrgenmode none\nlink set {device} up\n"
        for ip in ips:
            text += f"neighbor add {ip} lladdr {mac} dev {device} nud permanent\nroute add {ip} dev {device}\n"
        run("ip", "-n", self.path(node).name, "-batch", "-", stdin=text)
        text = "link set lo up\nlink set eth0 addrgenmode none\nlink set eth0 up\n"
        text += "".join(f"address add {ip} dev eth0 {'nodad' if ':' in ip else ''}\n" for ip in ips)
        for gateway in ("169.254.1.1", "fe80::1"):
            text += f"neighbor add {gateway} lladdr {_HOST_MAC} dev eth0 nud permanent\n"
        text += "route add default via 169.254.1.1 dev eth0 onlink\nroute add default via fe80::1 dev eth0\n"
        run("ip", "-n", self.path(where).name, "-batch", "-", stdin=text)

    def _build(self) -> None:
        for where in ("outside", *NODES):
            run("ip", "netns", "add", self.path(where).name)
            self._stack.callback(run, "ip", "netns", "delete", self.path(where).name, check=False)
            switches = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
            switches |= {f"ipv4/conf/{each}/send_redirects": 0 for each in ("all", "default")}
            # Link-local addresses would be tentative for a second, and neighbors not be found from them.
            switches |= {f"ipv6/conf/{each}/accept_dad": 0 for each in ("all", "default")}
            self.run(where, "sh", "-c", "; ".join(f"echo {v} > /proc/sys/net/{path}" for path, v in switches.items()))
        outside = "link set lo up\nlink add br0 type bridge\nlink set br0 up\naddress add 10.10.0.1/20 dev br0\n"
        outside += "address add fd10:10::1/64 dev br0 nodad\n" + "".join(
            f"address add {each} dev lo\n" for each in EXTERNAL
        )
        for node, addresses in NODES.items():
            index = node[-1]
            outside += f"link add {node} type veth peer name eth0 netns {self.path(node).name}\n"
            outside += f"link set {node} master br0\nlink set {node} up\n"
            outside += f"route add 10.244.{index}.0/24 via {addresses[0]}\n"
            outside += f"route add fd10:244:0:{index}::/64 via {addresses[1]}\n"
        run("ip", "-n", self.path("outside").name, "-batch", "-", stdin=outside)
        for node, addresses in NODES.items():
            text = f"link set lo up\nlink set eth0 up\naddress add {addresses[0]}/20 dev eth0\n"
            text += "".join(f"address add {each}/64 dev eth0 nodad\n" for each in addresses[1:])
            text += "route add default via 10.10.0.1\nroute add default via fd10:10::1\n"
            for other, theirs in NODES.items():
                if other != node:
                    text += f"route add 10.244.{other[-1]}.0/24 via {theirs[0]}\n"
                    text += f"route add fd10:244:0:{other[-1]}::/64 via {theirs[1]}\n"
            run("ip", "-n", self.path(node).name, "-batch", "-", stdin=text)
            self.start(node)
