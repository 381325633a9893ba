"""Rows of the plan as elements of sets and maps, and back.

Keys are concatenations of parts padded to four bytes: addresses and ports in network order, numbers of endpoints and indexes in
host order, because the kernel itself makes those. It must do no I/O and keep no state.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TypeAlias

import msgspec

from fairlead.drivers.nft.expressions import interface_name
from fairlead.drivers.nft.structure import DROPPED, LOCAL_INDEX, UNTRACKED_PORT, pick_of, pick_parts
from fairlead.plan.tables import (
    ClusterAddress,
    Endpoint,
    Key,
    LocalPort,
    LocalRange,
    NatExemption,
    PodSource,
    RestrictedPort,
    Row,
    ServiceAddress,
    ServiceMasquerade,
    ServicePort,
    SourceRange,
    UntrackedPort,
    key_of,
)

Interval: TypeAlias = tuple[bytes, bytes | None]
"""First address, first address beyond; None beyond: up to the last address of the family."""

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_PORT_PART = struct.Struct(">B3xH2x")
"""Protocol and port, each padded."""
_PORT = struct.Struct(">H2x")
_NUMBER = struct.Struct("=I")
_IFNAME_BYTES = 16
_V6_SERVICE_KEY_BYTES = 24
_INDEXED = ("endpoints", "identities")
_USUAL = 64
"""Number of endpoints up to which indexes are packed once for all."""
_FIRST_INDEXES = {first: tuple(_NUMBER.pack(first + number) for number in range(_USUAL)) for first in (0, LOCAL_INDEX)}


def address(text: str) -> bytes:
    """Return 4 or 16 bytes in network order; raises ValueError."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 address") from None


def address_text(data: bytes) -> str:
    """Return the canonical text of 4 or 16 bytes."""
    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data)


def suffix(address_bytes: int) -> str:
    """Return the suffix of the sets that hold addresses of this length in bytes."""
    return "4" if address_bytes == 4 else "6"


def number(value: int) -> bytes:
    """Return a number of endpoints or an index as the kernel's registers hold it."""
    return _NUMBER.pack(value)


def as_number(data: bytes) -> int:
    """Return the number that `number` packed."""
    value: int = _NUMBER.unpack(data)[0]
    return value


def pod_source(row: PodSource) -> tuple[str, bytes]:
    """Return (set, key) of a row; raises ValueError."""
    if not 0 < len(row.host_ifname.encode()) < _IFNAME_BYTES:
        raise ValueError(f"{row.host_ifname!r} is not the name of an interface: 1 to 15 bytes")
    source = address(row.address)
    return f"pod_sources{suffix(len(source))}", interface_name(row.host_ifname) + source


def virtual_address(row: ClusterAddress | ServiceAddress) -> tuple[str, bytes]:
    """Return (set, key) of a row; raises ValueError."""
    key = address(row.address)
    name = "cluster_addresses" if isinstance(row, ClusterAddress) else "service_addresses"
    return f"{name}{suffix(len(key))}", key


def port_member(table: str, row: ServiceMasquerade | RestrictedPort | UntrackedPort) -> tuple[str, bytes]:
    """Return (set, key) of a row; raises ValueError."""
    key = service_key(row)
    if isinstance(row, UntrackedPort) and row.port != UNTRACKED_PORT:
        raise ValueError(f"port {row.port} cannot be untracked: only port {UNTRACKED_PORT} can")
    return f"{table}{version_of(key)}", key


def source_range(row: SourceRange) -> tuple[str, bytes]:
    """Return (set, first and last key) of a row; raises ValueError, also when families differ."""
    key = service_key(row)
    network = ipaddress.ip_network(row.prefix)
    first, last = network.network_address.packed, network.broadcast_address.packed
    if len(first) + 8 != len(key):
        raise ValueError(f"sources {row.prefix} are not of the same family as service address {row.address}")
    return f"source_ranges{version_of(key)}", key + first + key + last


def version_of(key: bytes) -> str:
    """Return the suffix of the sets that hold a service key."""
    return "6" if len(key) == _V6_SERVICE_KEY_BYTES else "4"


def service_key(
    row: ServicePort | LocalPort | ServiceMasquerade | RestrictedPort | SourceRange | UntrackedPort,
) -> bytes:
    """Return the key of a service port: 12 bytes for IPv4, 24 for IPv6; raises ValueError."""
    protocol = PROTOCOLS.get(row.protocol)
    if protocol is None:
        raise ValueError(f"protocol {row.protocol!r} is none of {', '.join(PROTOCOLS)}")
    _check_port(row.port)
    return address(row.address) + _PORT_PART.pack(protocol, row.port)


def endpoints(row: ServicePort | LocalPort) -> list[bytes]:
    """Return the data of the row's endpoints, without duplicates; raises ValueError, also when families differ."""
    family = AF_INET6 if ":" in row.address else AF_INET
    try:
        # Through a dictionary, which keeps the order.
        return list(dict.fromkeys([inet_pton(family, each.address) + _PORTS[each.port] for each in row.endpoints]))
    except (OSError, ValueError):
        for target in row.endpoints:
            _check_endpoint(row, target)
        raise


def _check_endpoint(row: ServicePort | LocalPort, target: Endpoint) -> None:
    address(target.address)
    _check_port(target.port)
    if (":" in target.address) != (":" in row.address):
        raise ValueError(f"endpoint {target.address} is not of the same family as service address {row.address}")


class PortMaps(msgspec.Struct, frozen=True):
    """Where the rows of a table of service ports are held: map of picks, map of endpoints that clients may keep, first index."""

    table: str
    picks: str
    sticky: str
    first: int
    local: bool

    def index(self, number: int) -> bytes:
        """Return the index of the nth endpoint as part of a key."""
        return _NUMBER.pack(self.first + number)

    def indexes(self, count: int) -> Sequence[bytes]:
        """Return the indexes of `count` endpoints as parts of keys."""
        if count <= _USUAL:
            return _FIRST_INDEXES[self.first][:count]
        return [_NUMBER.pack(self.first + number) for number in range(count)]


PORTS = {
    "service_ports": PortMaps("service_ports", "services", "sticky", 0, False),
    "local_ports": PortMaps("local_ports", "local_services", "local_sticky", LOCAL_INDEX, True),
}


def identity(packed: bytes) -> bytes:
    """Return by which number a client's endpoint is remembered. Where two of a service share one, a client of one may get the other."""
    return _NUMBER.pack(zlib.crc32(packed))


def endpoint_bytes(key: bytes) -> int:
    """Return the size of an endpoint of a service key."""
    return 20 if len(key) == _V6_SERVICE_KEY_BYTES else 8


def pick(row: ServicePort | LocalPort) -> int:
    """Return how the row's endpoint is picked; raises ValueError."""
    if isinstance(row, LocalPort):
        return pick_of(len(row.endpoints), row.affinity_s or 0, local=True)
    if row.drop and not row.endpoints:
        return DROPPED
    return pick_of(len(row.endpoints), row.affinity_s or 0)


def split(packed: bytes, size: int) -> list[bytes]:
    """Return the endpoints that were packed one after another."""
    return [packed[start : start + size] for start in range(0, len(packed), size)]


def arrange(known: Sequence[bytes], wanted: Sequence[bytes]) -> list[bytes]:
    """Return `wanted` (without duplicates) in the order that leaves as many of `known` as possible at their index.

    What stays keeps its index unless that lies beyond the new end; newcomers and those take the places of what goes.
    """
    if not known:
        return list(wanted)
    length = len(wanted)
    moving = dict.fromkeys(wanted)
    places: list[bytes | None] = [None] * length
    for place, each in enumerate(known[:length]):
        # A value that stands twice, which only another program's hand can have done, keeps its first place.
        if each in moving:
            del moving[each]
            places[place] = each
    rest = iter(moving)
    return [next(rest) if place is None else place for place in places]


def intervals(prefixes: Iterable[str]) -> tuple[dict[str, set[Interval]], list[tuple[str, str]]]:
    """Return the disjoint intervals that cover `prefixes` by suffix of the set, and (prefix, error) of what is no prefix."""
    networks: dict[str, list[tuple[int, int]]] = {"4": [], "6": []}
    problems: list[tuple[str, str]] = []
    for prefix in prefixes:
        try:
            network = ipaddress.ip_network(prefix)
        except ValueError as error:
            problems.append((prefix, str(error)))
            continue
        first = int(network.network_address)
        networks[str(network.version)].append((first, first + network.num_addresses))
    return {family: _merged(found, 4 if family == "4" else 16) for family, found in networks.items()}, problems


def paired(found: Iterable[tuple[bytes, bool]]) -> set[Interval] | None:
    """Return the intervals that (key, is an end) of a listed set mean, None when they make no sense."""
    result: set[Interval] = set()
    first: bytes | None = None
    # Where one interval ends and the next begins, the end comes first.
    for key, is_end in sorted(found, key=lambda each: (each[0], not each[1])):
        if is_end:
            if first is None:
                return None
            result.add((first, key))
            first = None
        elif first is not None:
            return None
        else:
            first = key
    if first is not None:
        result.add((first, None))
    return result


def prefixes(found: Iterable[Interval]) -> list[str]:
    """Return the fewest prefixes that cover intervals, in order."""
    result: list[str] = []
    for first, beyond in sorted(found, key=lambda each: each[0]):
        bits = len(first) * 8
        start = int.from_bytes(first, "big")
        end = 1 << bits if beyond is None else int.from_bytes(beyond, "big")
        while start < end:
            # The largest block that starts here: as aligned as the start is, and not beyond the end.
            size = min(start & -start or 1 << bits, 1 << (end - start).bit_length() - 1)
            result.append(f"{address_text(start.to_bytes(len(first), 'big'))}/{bits - size.bit_length() + 1}")
            start += size
    return result


def row_of_member(name: str, key: bytes) -> tuple[str, Row]:
    """Return (plan table, row) that the member `key` of a set stands for."""
    table = name[:-1]
    if table == "pod_sources":
        ifname = key[:_IFNAME_BYTES].rstrip(b"\0").decode(errors="replace")
        return table, PodSource(host_ifname=ifname, address=address_text(key[_IFNAME_BYTES:]))
    if table == "cluster_addresses":
        return table, ClusterAddress(address=address_text(key))
    if table == "service_addresses":
        return table, ServiceAddress(address=address_text(key))
    size = 12 if name.endswith("4") else 24
    place, protocol, port = _parts(key[:size])
    if table == "service_masquerades":
        return table, ServiceMasquerade(address=place, protocol=protocol, port=port)
    if table == "untracked_ports":
        return table, UntrackedPort(address=place, protocol=protocol, port=port)
    if table == "restricted_ports":
        return table, RestrictedPort(address=place, protocol=protocol, port=port)
    half = len(key) // 2
    first, last = key[size:half], key[half + size :]
    beyond = int.from_bytes(last, "big") + 1
    end = None if beyond == 1 << len(last) * 8 else beyond.to_bytes(len(last), "big")
    return table, SourceRange(address=place, protocol=protocol, port=port, prefix=prefixes([(first, end)])[0])


def row_of_prefix(table: str, prefix: str) -> Row:
    """Return the row of `nat_exemptions` or `local_ranges` for a prefix."""
    return LocalRange(prefix=prefix) if table == "local_ranges" else NatExemption(prefix=prefix)


def row_of_service(maps: PortMaps, key: bytes, number_of_pick: int, packed: bytes) -> ServicePort | LocalPort:
    """Return the row that a service key, the number of its pick and its packed endpoints stand for."""
    place, protocol, port = _parts(key)
    found = [(each[:-4], _PORT.unpack(each[-4:])[0]) for each in split(packed, endpoint_bytes(key))]
    targets = tuple(sorted(Endpoint(address_text(target), number) for target, number in found))
    affinity_s = pick_parts(number_of_pick)[1] or None
    if maps.local:
        return LocalPort(address=place, protocol=protocol, port=port, endpoints=targets, affinity_s=affinity_s)
    return ServicePort(
        address=place,
        protocol=protocol,
        port=port,
        endpoints=targets,
        affinity_s=affinity_s,
        drop=number_of_pick == DROPPED,
    )


def plan_key(name: str, key: bytes) -> tuple[str, Key]:
    """Return (plan table, key of the row) that the element `key` of set `name` belongs to."""
    set_name = name[:-1]
    for maps in PORTS.values():
        local = set_name in _INDEXED and as_number(key[-4:]) >= LOCAL_INDEX
        if set_name in (maps.picks, maps.sticky) or (set_name in _INDEXED and local == maps.local):
            return maps.table, _parts(key[: 24 if name.endswith("6") else 12])
    if set_name in ("nat_exemptions", "local_ranges"):
        return set_name, (address_text(key),)
    table, row = row_of_member(name, key)
    return table, key_of(row)


def _parts(key: bytes) -> tuple[str, str, int]:
    protocol, port = _PORT_PART.unpack(key[-8:])
    return address_text(key[:-8]), _PROTOCOL_NAMES.get(protocol, str(protocol)), port


def _check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")


class _Ports(dict[int, bytes]):
    """Port → its bytes in a key, made when first asked for: clusters use few."""

    def __missing__(self, port: int) -> bytes:
        _check_port(port)
        return self.setdefault(port, _PORT.pack(port))


_PORTS = _Ports()


def _merged(found: list[tuple[int, int]], size: int) -> set[Interval]:
    result: list[list[int]] = []
    for first, beyond in sorted(found):
        if result and first <= result[-1][1]:
            result[-1][1] = max(result[-1][1], beyond)
        else:
            result.append([first, beyond])
    limit = 1 << size * 8
    return {
        (first.to_bytes(size, "big"), None if beyond == limit else beyond.to_bytes(size, "big"))
        for first, beyond in result
    }
