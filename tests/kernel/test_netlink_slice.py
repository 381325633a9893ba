"""The netlink driver on the real kernel, from plans written by hand: two nodes, two pods."""

from __future__ import annotations

import asyncio

import pytest
from tests.kernel.netlab import NetLab, inside, netns, node_ips

from fairlead.drivers.netlink.driver import NetlinkDriver
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import ForwardingEntry, Neighbor, PodLink, Route, Row, Sysctl, Tunnel

pytestmark = pytest.mark.kernel


def plan_of(node: str, *, pod: str, remote: str, tunnel: bool) -> Plan:
    """The plan of a node with one pod; node and remote are numbers of pod ranges."""
    mine, other = node[1], remote[1]
    host = f"fl00000000000{mine}"
    addresses = (f"10.244.{mine}.5", f"fd10:244:0:{mine}::5")
    ranges = (f"10.244.{other}.0/24", f"fd10:244:0:{other}::/64")
    rows: dict[str, list[Row]] = {
        "sysctls": [
            Sysctl(path="net/ipv4/ip_forward", value="1"),
            Sysctl(path="net/ipv6/conf/all/forwarding", value="1"),
            Sysctl(path=f"net/ipv4/conf/{host}/rp_filter", value="1"),
        ],
        "pod_links": [
            PodLink(
                host_ifname=host,
                netns=str(netns(pod)),
                ifname="eth0",
                mac=f"0a:00:00:00:00:0{mine}",
                addresses=addresses,
                mtu=1450,
            )  # fmt: skip
        ],
        "neighbors": [Neighbor(device=host, address=each, mac=f"0a:00:00:00:00:0{mine}") for each in addresses],
        "routes": [Route(destination=f"{each}/{128 if ':' in each else 32}", device=host) for each in addresses]
        + [
            Route(destination=f"10.244.{mine}.0/24", kind="blackhole"),
            Route(destination=f"fd10:244:0:{mine}::/64", kind="blackhole"),
        ],
    }
    if tunnel:
        gateways = (f"10.244.{other}.0", f"fd10:244:0:{other}::")
        mac = f"66:6c:00:00:00:0{other}"
        rows["tunnels"] = [
            Tunnel(
                name="fl-vxlan",
                vni=7937,
                port=4789,
                local=node_ips(node)[0],
                mac=f"66:6c:00:00:00:0{mine}",
                mtu=1450,
                addresses=(f"10.244.{mine}.0", f"fd10:244:0:{mine}::"),
            )  # fmt: skip
        ]
        rows["neighbors"] += [Neighbor(device="fl-vxlan", address=each, mac=mac) for each in gateways]
        rows["forwarding"] = [ForwardingEntry(device="fl-vxlan", mac=mac, remote=node_ips(remote)[0])]
        rows["routes"] += [
            Route(destination=each, device="fl-vxlan", via=gateway, onlink=True, source=source)
            for each, gateway, source in zip(ranges, gateways, rows["tunnels"][0].addresses, strict=True)
        ]
    else:
        rows["routes"] += [Route(destination=each, via=via) for each, via in zip(ranges, node_ips(remote), strict=True)]
    return Plan(node=node, revision="1", tables={table: index(each) for table, each in rows.items()})


@pytest.mark.parametrize(("remote", "tunnel"), [("n2", False), ("n3", True)], ids=["direct", "vxlan"])
async def test_two_pods_on_two_nodes(remote: str, tunnel: bool) -> None:
    with NetLab("n1", remote) as lab:
        drivers = {}
        try:
            for node, other in (("n1", remote), (remote, "n1")):
                lab.add_namespace(f"pod-{node}")
                drivers[node] = NetlinkDriver(namespace=netns(node))
                await drivers[node].start()
                plan = plan_of(node, pod=f"pod-{node}", remote=other, tunnel=tunnel)
                outcome = await drivers[node].apply(plan)
                assert outcome.failed == ()
                assert outcome.applied > 8
                assert (await drivers[node].apply(plan)).applied == 0
                again = await drivers[node].resync(plan)
                assert (again.applied, again.failed) == (0, ())
            number = remote[1]
            for target in (f"10.244.{number}.5", f"fd10:244:0:{number}::5"):
                await asyncio.to_thread(inside, "pod-n1", "ping", "-c1", "-W2", "-M", "do", "-s", "1400", target)
                await asyncio.to_thread(inside, "n1", "ping", "-c1", "-W2", target)
            for node in drivers:
                before = inside(node, "ip", "-o", "route", "show", "table", "all")
                outcome = await drivers[node].apply(Plan.empty(node))
                assert outcome.failed == ()
                assert "proto 79" in before
                assert "proto 79" not in inside(node, "ip", "-o", "route", "show", "table", "all")
                assert "fl" not in inside(node, "ip", "-br", "link", "show", "group", "79")
        finally:
            for driver in drivers.values():
                await driver.close()
