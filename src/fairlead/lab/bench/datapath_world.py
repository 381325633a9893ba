"""Two pods in namespaces of their own, and what is between them: a link, or nodes with nobody's rules, ours, or the peer's.

Every world has a server and a client with the same programs; only the way differs. It must never measure.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from fairlead.base.errors import UserError
from fairlead.drivers.nft.kernel import Kernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.lab.bench.peers import OneChainPerService
from fairlead.lab.bench.places import attach, configure, forward, join, namespace, nft
from fairlead.lab.bench.processes import on
from fairlead.lab.bench.sync import services
from fairlead.lab.netns import within
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

CLIENT, SERVER = "10.244.1.5", "10.244.2.5"
CLIENT_DEVICE, SERVER_DEVICE = "fl00000000000a", "fl00000000000b"
VIP = "10.96.255.1"
RESPONSE_PORT, STREAM_PORT, CONNECT_PORT = 11111, 5201, 8080
PORTS = (RESPONSE_PORT, STREAM_PORT, CONNECT_PORT)
_OTHERS = 1000
"""Services beside the one that is measured."""
_START_S = 20.0

Rules = Callable[[Sequence[Path]], None]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two ends are, and the address at which the client reaches the server."""

    client: Path
    server: Path
    target: str


def no_rules(nodes: Sequence[Path]) -> None:
    """Leave the nodes as they are."""


def our_rules(nodes: Sequence[Path]) -> None:
    """Program the nodes as an agent does."""
    for node, device, address in _ends(nodes):
        found = services(_OTHERS) + _measured()
        tables: dict[str, list[Row]] = {
            "service_ports": list(found),
            "cluster_addresses": [ClusterAddress(address=each) for each in sorted({row.address for row in found})],
            "pod_sources": [PodSource(host_ifname=device, address=address)],
            "local_ranges": [LocalRange(prefix=f"{address}/32")],
            "nat_exemptions": [NatExemption(prefix="10.244.0.0/16")],
        }
        if len(nodes) == 1:
            tables["pod_sources"].append(PodSource(host_ifname=SERVER_DEVICE, address=SERVER))
        kernel = Kernel(NftSocket(node))
        try:
            kernel.probe()
            outcome = kernel.apply(
                Plan(node="bench", revision="", tables={name: index(r) for name, r in tables.items()})
            )
        finally:
            kernel.close()
        if outcome.failed:
            raise UserError(f"the kernel refused our own rules: {outcome.failed[0].error}")


def peer_rules(nodes: Sequence[Path]) -> None:
    """Load the peer's ruleset into the nodes."""
    text = OneChainPerService().load(services(_OTHERS) + _measured())
    for node in nodes:
        nft(node, text)


@contextlib.contextmanager
def direct(name: str) -> Iterator[World]:
    """Make two pods joined by one link."""
    with namespace(f"{name}-client") as client, namespace(f"{name}-server") as server:
        join(client, server, f"{CLIENT}/16", f"{SERVER}/16")
        with _serving(server):
            yield World(client=client, server=server, target=SERVER)


@contextlib.contextmanager
def routed(name: str, nodes: int, rules: Rules, target: str) -> Iterator[World]:
    """Make two pods on one node, or on two that are neighbors; the client reaches the server at `target`."""
    with contextlib.ExitStack() as stack:
        client, server = (stack.enter_context(namespace(f"{name}-{end}")) for end in ("client", "server"))
        places = [stack.enter_context(namespace(f"{name}-node{number}")) for number in range(nodes)]
        attach(places[0], client, CLIENT_DEVICE, CLIENT)
        attach(places[-1], server, SERVER_DEVICE, SERVER)
        if nodes == 2:
            join(places[0], places[1], "10.10.0.11/24", "10.10.0.12/24")
            configure(places[0], f"route add {SERVER} via 10.10.0.12")
            configure(places[1], f"route add {CLIENT} via 10.10.0.11")
        for place in places:
            forward(place)
        rules(places)
        stack.enter_context(_serving(server))
        yield World(client=client, server=server, target=target)


def _ends(nodes: Sequence[Path]) -> list[tuple[Path, str, str]]:
    """Return each node with the device and the address of a pod that it has."""
    return list(zip(nodes, (CLIENT_DEVICE, SERVER_DEVICE), (CLIENT, SERVER), strict=False))


def _measured() -> list[ServicePort]:
    return [ServicePort(address=VIP, protocol="tcp", port=port, endpoints=(Endpoint(SERVER, port),)) for port in PORTS]


@contextlib.contextmanager
def _serving(server: Path) -> Iterator[None]:
    """Run the servers, all on the first processor."""
    commands = {
        RESPONSE_PORT: ("sockperf", "server", "--tcp", "-i", SERVER, "-p", str(RESPONSE_PORT)),
        STREAM_PORT: ("iperf3", "-s", "-B", SERVER, "-p", str(STREAM_PORT)),
    }
    with contextlib.ExitStack() as stack:
        for command in commands.values():
            with on(0):
                process = subprocess.Popen(
                    ["nsenter", f"--net={server}", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
        deadline = time.monotonic() + _START_S
        while not commands.keys() <= within(server, _listening):
            if time.monotonic() > deadline:
                raise UserError(f"{' or '.join(each[0] for each in commands.values())} does not start")
            time.sleep(0.02)
        yield


def _listening() -> set[int]:
    """Return the TCP ports on which somebody listens in the namespace of this thread."""
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(each[1].partition(":")[2], 16) for each in fields if each[3] == "0A"}
