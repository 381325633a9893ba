"""IP addresses and prefixes as canonical text: both families, RFC 5952 for IPv6.

Text, because rows, logs and wire formats hold text; parsing happens once, where a value enters. Functions that take text from
outside raise ValueError naming it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache


def is_ipv6(address: str) -> bool:
    """Tell the family of an address or prefix that is known to be valid."""
    return ":" in address


@lru_cache(maxsize=65536)
def canonical(address: str) -> str:
    """Return an address in canonical form; raises ValueError."""
    return str(ipaddress.ip_address(address))


def canonical_prefix(prefix: str) -> str:
    """Return a prefix in canonical form, host bits cleared; raises ValueError."""
    return str(ipaddress.ip_network(prefix, strict=False))


def host_prefix(address: str) -> str:
    """Return the prefix that holds this one address."""
    return f"{address}/128" if is_ipv6(address) else f"{address}/32"


def network_address(prefix: str) -> str:
    """Return the first address of a canonical prefix."""
    return prefix.partition("/")[0]


def contains(interface: str, address: str) -> bool:
    """Tell whether `address` is in the prefix of `interface` (`address/length` with host bits)."""
    if is_ipv6(interface) != is_ipv6(address):
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(interface, strict=False)


def outermost(prefixes: Iterable[str]) -> frozenset[str]:
    """Return the canonical prefixes that lie in no other one of them: together they cover the same, without overlap."""
    networks = {ipaddress.ip_network(prefix) for prefix in prefixes}
    lengths = {version: sorted({each.prefixlen for each in networks if each.version == version}) for version in (4, 6)}
    return frozenset(
        str(network)
        for network in networks
        if not any(
            network.supernet(new_prefix=length) in networks
            for length in lengths[network.version]
            if length < network.prefixlen
        )
    )


def reverse_name(address: str) -> str:
    """Return the absolute name below in-addr.arpa. or ip6.arpa. (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ipaddress.ip_address(address).reverse_pointer + "."


@lru_cache(maxsize=65536)
def sort_key(address: str) -> tuple[int, int]:
    """Return a key that sorts IPv4 before IPv6 and each by number."""
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)
