"""Which addresses a Service of type LoadBalancer gets. Pure.

Source: core/v1 Service (`loadBalancerClass`, `loadBalancerIP`, `status.loadBalancer`), KEP-1959, KEP-1860.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.base.errors import UserError

Json = dict[str, Any]

CLASS = "fairlead.dev/load-balancer"
"""`spec.loadBalancerClass` of Services that are ours; those without a class are ours too."""


class Pool:
    """The addresses of one range. The first nine of it are the network's own (its router, its NAT gateway), the last of IPv4 too."""

    _OWN = 10

    def __init__(self, cidr: str) -> None:
        """Raises UserError for a text that is no range."""
        try:
            self._network = ipaddress.ip_network(cidr)
        except ValueError as error:
            raise UserError(f"--load-balancer-cidr: {error}", fix="give a range such as 203.0.113.0/24") from error
        self.family = f"IPv{self._network.version}"
        own = self._OWN if self._network.num_addresses > 2 * self._OWN else 0
        self._first = int(self._network.network_address) + own
        self._last = int(self._network.broadcast_address) - int(own > 0 and self._network.version == 4)

    def __repr__(self) -> str:
        return f"<Pool {self._network}>"

    def __contains__(self, address: object) -> bool:
        try:
            parsed = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        return parsed.version == self._network.version and self._first <= int(parsed) <= self._last

    def first_free(self, taken: Collection[str]) -> str | None:
        """Return the lowest address that is not in `taken`, None when all are."""
        kind = type(self._network.network_address)
        return next((text for n in range(self._first, self._last + 1) if (text := str(kind(n))) not in taken), None)


class Decision(msgspec.Struct, frozen=True):
    """The addresses of a Service, and why it lacks some (for people)."""

    addresses: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def is_ours(service: Json) -> bool:
    """Tell whether this controller gives the Service its addresses."""
    spec = service.get("spec", {})
    return (
        spec.get("type") == "LoadBalancer"
        and spec.get("loadBalancerClass") in (None, CLASS)
        and "deletionTimestamp" not in service["metadata"]
    )


def held(service: Json) -> tuple[str, ...]:
    """Return the addresses in the Service's status."""
    ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    return tuple(each["ip"] for each in ingress if each.get("ip"))


def decide(service: Json, pools: Sequence[Pool], others: Mapping[str, str]) -> Decision:
    """Return the addresses that a Service of ours should have: what it has, as far as that is right, else new ones.

    `others` maps the addresses that other Services have to their names. Costs time proportional to the pool when that is nearly full.
    """
    spec = service["spec"]
    families = spec.get("ipFamilies") or [_family(spec["clusterIP"])] if spec.get("clusterIP") else ()
    wish = spec.get("loadBalancerIP") or ""
    addresses: list[str] = []
    problems: list[str] = []
    for family in families:
        mine = [pool for pool in pools if pool.family == family]
        wanted = _canonical(wish) if wish and _family(wish) == family else ""
        current = [each for each in held(service) if _family(each) == family and each not in others]
        if wanted:
            if not any(wanted in pool for pool in mine):
                problems.append(f"loadBalancerIP {wish} is in none of this cluster's ranges")
            elif wanted in others:
                problems.append(f"loadBalancerIP {wish} belongs to Service {others[wanted]} already")
            else:
                addresses.append(wanted)
            continue
        kept = next((each for each in current if any(each in pool for pool in mine)), None)
        found = kept or next((free for pool in mine if (free := pool.first_free(others)) is not None), None)
        if found is not None:
            addresses.append(found)
        elif mine:
            problems.append(f"all {family} addresses for load balancers are taken")
    if not addresses and not problems:
        problems.append("this cluster has no addresses for load balancers of its families")
    return Decision(tuple(addresses), tuple(problems))


def status(service: Json, addresses: Sequence[str]) -> Json:
    """Return the Service's status with these addresses."""
    ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    return {**(service.get("status") or {}), "loadBalancer": {"ingress": ingress} if ingress else {}}


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
