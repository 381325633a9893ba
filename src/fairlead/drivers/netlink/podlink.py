"""A pod's interface: both sides of the veth pair, made so that a crash at any moment can be repaired.

The host side's alias is written last and says what the pod's side was given, so a restarted agent knows without entering the pod
which pairs are complete. The pod's side needs no ARP and no NDP: its gateway and its neighbors are permanent entries.
"""

from __future__ import annotations

import os

from fairlead.drivers.netlink import inet, link
from fairlead.drivers.netlink.socket import NetlinkError, Request, RouteSocket, inside
from fairlead.plan.tables import PodLink

GATEWAYS = {False: "169.254.1.1", True: "fe80::1"}
"""The pod's next hop by `is IPv6`: link-local, held by no interface, resolved by a permanent entry."""
_STATIC = 4
_ALIAS = "fairlead"


def alias_of(row: PodLink) -> str:
    """Return the alias that says what the pod's side of `row` was given."""
    return " ".join((_ALIAS, row.ifname, row.mac, *row.addresses))


def observed(found: link.Link) -> PodLink:
    """Return the row that a host-side interface stands for; one that is down or incomplete equals no wanted row."""
    words = found.alias.split(" ")
    complete = len(words) >= 3 and words[0] == _ALIAS
    return PodLink(
        host_ifname=found.name,
        netns="",
        ifname=words[1] if complete else "",
        mac=words[2] if complete else "",
        addresses=tuple(words[3:]) if complete else (),
        mtu=found.mtu if found.up else 0,
    )


def create(node: RouteSocket, home: int, row: PodLink, *, exists: bool) -> None:
    """Make or repair the pair; raises OSError, after which a pair that did not exist before does not exist either.

    `node` is a socket of the node's namespace, `home` an open file of it: the calling thread visits the pod and returns.
    """
    descriptor = os.open(row.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if exists:
            node.run(link.set_link(row.host_ifname, mtu=row.mtu), link.set_up(row.host_ifname))
        else:
            _add(node, row, descriptor)
        try:
            inside(descriptor, home, lambda: _configure(row))
            node.run(link.set_link(row.host_ifname, alias=alias_of(row)))
        except OSError:
            if not exists:
                node.execute([link.delete(row.host_ifname)])
            raise
    finally:
        os.close(descriptor)


def _add(node: RouteSocket, row: PodLink, descriptor: int) -> None:
    problems = node.execute(
        [
            link.add_veth(row.host_ifname, peer=row.ifname, peer_mac=row.mac, peer_namespace=descriptor, mtu=row.mtu),
            link.without_link_local(row.host_ifname),
            link.set_up(row.host_ifname),
        ]
    )
    if problems[0] is not None:
        raise problems[0]
    for problem in problems:
        if problem is not None:
            node.execute([link.delete(row.host_ifname)])
            raise problem


def _configure(row: PodLink) -> None:
    pod = RouteSocket()
    try:
        index = link.decode(pod.get(link.lookup(row.ifname))).index
        requests = [
            link.set_link(row.ifname, mtu=row.mtu, mac=row.mac),
            link.without_link_local(row.ifname),
            link.set_up(row.ifname),
            *(inet.add_address(index, address, row.ifname) for address in row.addresses),
        ]
        for is_ipv6 in sorted({":" in address for address in row.addresses}):
            requests += _default(index, row.ifname, is_ipv6=is_ipv6)
        pod.run(*requests)
    except NetlinkError as error:
        raise NetlinkError(error.errno, f"in {row.netns}: {error.strerror}") from error
    finally:
        pod.close()


def _default(index: int, ifname: str, *, is_ipv6: bool) -> list[Request]:
    gateway = GATEWAYS[is_ipv6]
    return [
        inet.set_neighbor(index, gateway, link.HOST_MAC, ifname),
        inet.add_route(
            "::/0" if is_ipv6 else "0.0.0.0/0",
            index=index,
            via=gateway,
            onlink=not is_ipv6,
            protocol=_STATIC,
            replace=True,
        ),
    ]
