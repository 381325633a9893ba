"""The wires of a lab: namespaces, bridges and links of the VPC, its router, and the internet beyond.

    internet ── igw ── vpc (router) ──┬── br-a ──┬── control
                                      │          └── node-1
                                      └── br-b ───── node-2

The whole fabric is computed first as the commands that a person would type (`script`), then run. It must never name an
interface of the host: every link is born inside the lab's own namespaces.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator

from fairlead.lab.home import LabHome
from fairlead.lab.topology import (
    INTERNET_CIDRS,
    INTERNET_HOST,
    INTERNET_ROUTER,
    PUBLIC_CIDRS,
    PUBLIC_NAT,
    VPC_CIDRS,
    VPC_MTU_BYTES,
    Topology,
    Zone,
)

_SYSCTLS = (
    "net.ipv6.conf.all.disable_ipv6=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv6.conf.all.accept_ra=0",
)
_ROUTER_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.bridge.bridge-nf-call-iptables=0",
    "net.bridge.bridge-nf-call-ip6tables=0",
    "net.bridge.bridge-nf-call-arptables=0",
)


def namespaces(topology: Topology, home: LabHome) -> list[str]:
    """Return the names of the fabric's namespaces, router first."""
    fixed = [home.namespace(part) for part in ("vpc", "internet", "control")]
    return fixed + [home.namespace(node.name) for node in topology.nodes]


def script(topology: Topology, home: LabHome) -> dict[str, list[str]]:
    """Return namespace → arguments of `ip` that build the fabric there, one per line, in order."""
    vpc = home.namespace("vpc")
    internet = home.namespace("internet")
    commands: dict[str, list[str]] = {name: ["link set lo up"] for name in namespaces(topology, home)}
    for zone in topology.zones:
        commands[vpc] += _bridge(zone)
    first = topology.zones[0]
    commands[vpc] += _port("control", home.namespace("control"), first)
    commands[home.namespace("control")] += _host(topology.control, first)
    for node in topology.nodes:
        zone = topology.zone_of(node)
        commands[vpc] += _port(node.name, home.namespace(node.name), zone)
        commands[home.namespace(node.name)] += _host(node.addresses, zone)
    commands[vpc] += [
        f"link add igw mtu {VPC_MTU_BYTES} type veth peer name eth0 mtu {VPC_MTU_BYTES} netns {internet}",
        f"address add {PUBLIC_NAT}/32 dev lo",
        *(f"address add {_with_length(a, c)} dev igw" for a, c in zip(INTERNET_ROUTER, INTERNET_CIDRS, strict=True)),
        "link set igw up",
    ]
    commands[internet] += [
        *(f"address add {_with_length(a, c)} dev eth0" for a, c in zip(INTERNET_HOST, INTERNET_CIDRS, strict=True)),
        "link set eth0 up",
        f"route add {PUBLIC_CIDRS[0]} via {INTERNET_ROUTER[0]}",
        f"route add {PUBLIC_CIDRS[1]} via {INTERNET_ROUTER[1]}",
        # IPv6 knows no NAT: the VPC's own addresses are public.
        f"route add {VPC_CIDRS[1]} via {INTERNET_ROUTER[1]}",
    ]
    return commands


def rules() -> str:
    """Return the nftables rules of the VPC's router: what leaves over IPv4 gets the NAT gateway's address."""
    return f"""table ip vpc {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "igw" ip saddr {VPC_CIDRS[0]} snat to {PUBLIC_NAT}
    }}
}}
"""


def build(topology: Topology, home: LabHome) -> None:
    """Create the fabric. Namespaces that are complete are left as they are; a half-built fabric is built anew.

    Raises subprocess.CalledProcessError with the tool's own words in `stderr`.
    """
    wanted = namespaces(topology, home)
    if set(wanted) <= existing(home) and _complete(home):
        return
    for name in wanted:
        if name in existing(home):
            _run(["ip", "netns", "delete", name])
        _run(["ip", "netns", "add", name])
        settings = _SYSCTLS + (_ROUTER_SYSCTLS if name == home.namespace("vpc") else ())
        _run(["ip", "netns", "exec", name, "sysctl", "-q", "-e", "-w", *settings])
    for name, lines in script(topology, home).items():
        _run(["ip", "-n", name, "-batch", "-"], given="\n".join(lines) + "\n")
    _run(["nsenter", f"--net=/run/netns/{home.namespace('vpc')}", "nft", "-f", "-"], given=rules())


def existing(home: LabHome) -> set[str]:
    """Return the names of all network namespaces of the lab, also those of pods and of a lab that crashed."""
    listed = _run(["ip", "netns", "list"]).split("\n")
    names = (line.split()[0] for line in listed if line.strip())
    return {name for name in names if name.startswith(home.namespace_prefix)}


def _complete(home: LabHome) -> bool:
    # The router's rules are the last step of building.
    check = ["nsenter", f"--net=/run/netns/{home.namespace('vpc')}", "nft", "list", "table", "ip", "vpc"]
    return subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _bridge(zone: Zone) -> Iterator[str]:
    name = f"br-{zone.letter}"
    # Without learning delays: forwarding begins with the first frame.
    yield f"link add {name} mtu {VPC_MTU_BYTES} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
    for gateway, subnet in zip(zone.gateways, zone.subnets, strict=True):
        yield f"address add {_with_length(gateway, subnet)} dev {name}"
    yield f"link set {name} up"


def _port(name: str, namespace: str, zone: Zone) -> Iterator[str]:
    yield f"link add {name} mtu {VPC_MTU_BYTES} type veth peer name eth0 mtu {VPC_MTU_BYTES} netns {namespace}"
    yield f"link set {name} master br-{zone.letter} up"


def _host(addresses: tuple[str, str], zone: Zone) -> Iterator[str]:
    for address, subnet in zip(addresses, zone.subnets, strict=True):
        yield f"address add {_with_length(address, subnet)} dev eth0"
    yield "link set eth0 up"
    for gateway in zone.gateways:
        yield f"route add default via {gateway}"


def _with_length(address: str, subnet: str) -> str:
    return f"{address}/{ipaddress.ip_network(subnet).prefixlen}"


def _run(command: list[str], *, given: str = "") -> str:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
