"""CHECK's eyes: what the kernel holds of an attachment, in the node and inside the pod. It never changes anything.

It asks the kernel anew each time and trusts no record of ours, because the question is whether the records are true.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from fairlead.agent.cni.protocol import GATEWAYS
from fairlead.drivers.netlink import inet, link, wire
from fairlead.drivers.netlink.socket import NetlinkError, RouteSocket, enter, inside
from fairlead.world.attachment import Attachment

_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_ROUTE_HEADER_BYTES = 12
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5


class _Seen(msgspec.Struct, frozen=True):
    """What one namespace holds: its links by name, (interface, address) pairs, (interface, gateway) of default routes."""

    links: dict[str, link.Link]
    addresses: frozenset[tuple[int, str]]
    defaults: frozenset[tuple[int, str]]


class KernelInspector:
    """Implements `fairlead.agent.cni.ports.Inspector` on rtnetlink, in a thread of its own."""

    def __init__(self, namespace: Path | None = None) -> None:
        """Look at the node in the network namespace at `namespace`; by default the one of the process."""
        self._node = namespace
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="inspect")

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False)

    def namespace_problem(self, netns: str) -> str | None:
        """Return why `netns` is not another network namespace than the node's, or None."""
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return error.strerror or str(error)
        try:
            if fcntl.ioctl(descriptor, _NS_GET_NSTYPE) != _CLONE_NEWNET:
                return "not a network namespace"
            own, other = Path(self._node or _OWN_NAMESPACE).stat(), os.fstat(descriptor)
        except OSError:
            return "not a network namespace"
        finally:
            os.close(descriptor)
        same = (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
        return "it is the node's own network namespace" if same else None

    async def problems(self, attachment: Attachment) -> list[str]:
        """Return each way in which the kernel differs from `attachment`."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._problems, attachment)

    def _problems(self, attachment: Attachment) -> list[str]:
        if self._node is not None:
            enter(self._node)
        try:
            home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _node_problems(attachment) + _pod_problems(attachment, home)
            finally:
                os.close(home)
        except OSError as error:
            return [f"the kernel cannot be asked: {error.strerror or error}"]


def _node_problems(attachment: Attachment) -> list[str]:
    node = RouteSocket()
    try:
        found = link.decode(node.get(link.lookup(attachment.host_ifname)))
        routes = [
            inet.decode_route(payload)
            for family in (socket.AF_INET, socket.AF_INET6)
            for payload in node.dump(*inet.route_listing(family))
        ]
    except NetlinkError as error:
        return [f"on the node: {error.strerror}"]
    finally:
        node.close()
    problems = [] if found.up else [f"on the node: link {found.name} is down"]
    led = {route.destination.partition("/")[0] for route in routes if route and route.index == found.index}
    return problems + [
        f"on the node: no route to {address} over {found.name}"
        for address in attachment.addresses
        if address not in led
    ]


def _pod_problems(attachment: Attachment, home: int) -> list[str]:
    where = f"in {attachment.netns}"
    try:
        pod = inside(Path(attachment.netns), home, RouteSocket)
    except OSError as error:
        return [f"{where}: {error.strerror}"]
    try:
        seen = _look(pod)
    finally:
        pod.close()
    found = seen.links.get(attachment.ifname)
    if found is None:
        return [f"{where}: no link {attachment.ifname}"]
    problems = [] if found.up else [f"{where}: link {found.name} is down"]
    if found.mtu != attachment.mtu:
        problems.append(f"{where}: MTU of {found.name} is {found.mtu}, not {attachment.mtu}")
    for address in attachment.addresses:
        if (found.index, address) not in seen.addresses:
            problems.append(f"{where}: {found.name} has no address {address}")
        gateway = GATEWAYS[6 if ":" in address else 4]
        if (found.index, gateway) not in seen.defaults:
            problems.append(f"{where}: no default route via {gateway} dev {found.name}")
    return problems


def _look(pod: RouteSocket) -> _Seen:
    links = {found.name: found for found in map(link.decode, pod.dump(*link.listing()))}
    addresses = [found for found in map(inet.decode_address, pod.dump(*inet.address_listing())) if found]
    defaults = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        body = bytes((family,)).ljust(_ROUTE_HEADER_BYTES, b"\0")
        for payload in pod.dump(inet.RTM_GETROUTE, body):
            attributes = wire.attributes(payload, _ROUTE_HEADER_BYTES)
            if _RTA_DST not in attributes and _RTA_OIF in attributes and _RTA_GATEWAY in attributes:
                gateway = socket.inet_ntop(family, attributes[_RTA_GATEWAY])
                defaults.add((wire.as_u32(attributes[_RTA_OIF]), gateway))
    return _Seen(links, frozenset((each.index, each.address) for each in addresses), frozenset(defaults))
