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


ADDRESSES = "fairlead.dev/load-balancer-ips"
"""Annotation of Services: the addresses, by commas, that one should have, and no others; it goes before `spec.loadBalancerIP`."""
LACKING = "fairlead.dev/AddressesLacking"
"""Type of the condition of Services that says which addresses they cannot have, and why."""


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
    if wishes := [_canonical(each) for each in _annotation(service).split(",") if each]:
        return _exactly(wishes, families, pools, others)
    wish = spec.get("loadBalancerIP") or ""
    addresses: list[str] = []
    problems: list[str] = []
    for family in families:
        mine = [pool for pool in pools if pool.family == family]
        wanted = _canonical(wish) if wish and _family(wish) == family else ""
        current = [each for each in held(service) if _family(each) == family and each not in others]
        if wanted:
            problem = _hindrance(wanted, families, mine, others)
            if problem:
                problems.append(f"loadBalancerIP {wish} {problem}")
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


def _annotation(service: Json) -> str:
    text = (service["metadata"].get("annotations") or {}).get(ADDRESSES) or ""
    return "".join(text.split())


def _exactly(
    wishes: Sequence[str], families: Collection[str], pools: Sequence[Pool], others: Mapping[str, str]
) -> Decision:
    problems = {each: _hindrance(each, families, pools, others) for each in dict.fromkeys(wishes)}
    return Decision(
        tuple(each for each, problem in problems.items() if not problem),
        tuple(f"address {each} {problem}" for each, problem in problems.items() if problem),
    )


def _hindrance(address: str, families: Collection[str], pools: Sequence[Pool], others: Mapping[str, str]) -> str:
    """Return why a Service cannot have an address, empty when it can."""
    if not any(address in pool for pool in pools):
        return "is in none of this cluster's ranges"
    if _family(address) not in families:
        return f"is of a family that the Service does not have: it has {', '.join(families)}"
    return f"belongs to Service {others[address]} already" if address in others else ""


def status(service: Json, addresses: Sequence[str], problems: Sequence[str] = (), now: str = "") -> Json:
    """Return the Service's status with these addresses and what it lacks; `now` is the time of a condition that is new."""
    ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    known = service.get("status") or {}
    found = {**known, "loadBalancer": {"ingress": ingress} if ingress else {}}
    others = [each for each in known.get("conditions") or () if each["type"] != LACKING]
    former = next((each for each in known.get("conditions") or () if each["type"] == LACKING), None)
    if problems:
        condition = {"type": LACKING, "status": "True", "reason": "NotUsable", "message": "; ".join(problems)}
        others.append(condition | {"lastTransitionTime": former["lastTransitionTime"] if former is not None else now})
    if others or former is not None:
        found["conditions"] = others
    return found


def lacking(service: Json) -> str:
    """Return which addresses a Service cannot have, and why; empty when it has all."""
    conditions = (service.get("status") or {}).get("conditions") or ()
    return next((each.get("message", "") for each in conditions if each["type"] == LACKING), "")


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
