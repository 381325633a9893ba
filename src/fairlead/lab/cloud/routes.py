"""The router's way to load balancers: for each address a group of next hops, over which the kernel spreads new connections by their ports.

Groups are resilient (nexthop(8)): when a node goes, what was sent to it alone moves; when it comes back, it gets what has been idle, and after
a minute its part. No packet passes through this process.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairlead.lab.cloud.tools import device_to, ip

log = logging.getLogger(__name__)

_GROUP = "type resilient buckets 128 idle_timer 60 unbalanced_timer 60"
_FIRST_GROUP = 0x100000
_FAMILY_STEP = 0x1000000
_HASH_BY_PORTS = ("net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy")


def group_id(address: str) -> int:
    """Return the number of the group for an address; the same in every run."""
    parsed = ipaddress.ip_address(address)
    return _FIRST_GROUP + (parsed.version == 6) * _FAMILY_STEP + int(parsed) % 0x100000


def hop_id(address: str) -> int:
    """Return the number of a node's next hop, below those of groups."""
    parsed = ipaddress.ip_address(address)
    host = int(parsed) % 0x10000 | (int(parsed) >> 64) % 8 << 16 if parsed.version == 6 else int(parsed) % 0x10000
    return 1 + host + (0x80000 if parsed.version == 6 else 0)


def script(
    before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]], devices: Mapping[str, str]
) -> list[str]:
    """Return the arguments of `ip` that lead from one state to the next; what is no longer used goes last.

    States map addresses to nodes, `devices` nodes to the interfaces that lead to them.
    """
    made = {hop for hops in before.values() for hop in hops}
    used = {hop for hops in after.values() for hop in hops}
    commands = [f"nexthop replace id {hop_id(hop)} via {hop} dev {devices[hop]}" for hop in sorted(used - made)]
    for address, hops in sorted(after.items()):
        if not hops or tuple(before.get(address, ())) == tuple(hops):
            continue
        members = "/".join(str(hop_id(hop)) for hop in hops)
        commands.append(f"nexthop replace id {group_id(address)} group {members} {_GROUP}")
        if not before.get(address):
            commands.append(f"route replace {address} nhid {group_id(address)}")
    for address, hops in sorted(before.items()):
        if hops and not after.get(address):
            # The route goes with its group.
            commands.append(f"nexthop del id {group_id(address)}")
    return commands + [f"nexthop del id {hop_id(hop)}" for hop in sorted(made - used)]


class Routes:
    """The routes of the network namespace of this process."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[str, ...]] = {}
        self._devices: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Routes {self._state}>"

    async def start(self) -> None:
        """Adopt the groups that an earlier run left; raises OSError."""
        for path in _HASH_BY_PORTS:
            (Path("/proc/sys") / path).write_text("1")
        names: dict[int, str] = {}
        groups: dict[int, list[int]] = {}
        for each in json.loads(await ip("-j", "nexthop") or "[]"):
            if "gateway" in each:
                names[each["id"]] = each["gateway"]
                self._devices[each["gateway"]] = each["dev"]
            elif "group" in each:
                groups[each["id"]] = [member["id"] for member in each["group"]]
        for family in ("-4", "-6"):
            for route in json.loads(await ip("-j", family, "route") or "[]"):
                hops = [names.get(member, "") for member in groups.get(route.get("nhid", 0), ())]
                if hops and all(hops):
                    self._state[route["dst"].partition("/")[0]] = tuple(sorted(hops))

    async def apply(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Make the routes those of `wanted` (address → nodes); raises OSError, after which nothing is known to be in force."""
        for hop in {hop for hops in wanted.values() for hop in hops} - self._devices.keys():
            self._devices[hop] = await device_to(hop)
        lines = script(self._state, wanted, self._devices)
        if not lines:
            return
        self._state, before = {}, self._state
        await ip("-batch", "-", given="\n".join(lines) + "\n")
        self._state = dict(wanted)
        for address in sorted(before.keys() | wanted.keys()):
            if before.get(address, ()) != wanted.get(address, ()):
                log.info("spread", extra={"address": address, "nodes": ",".join(wanted.get(address, ()))})
