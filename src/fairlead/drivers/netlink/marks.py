"""Rules from packets' marks to routing tables of the same number, and the default route in each: the rows `egress_routes`.

Ours are rules and routes of protocol 79 whose mark, and whose table, is one of `plan.egress.MARKS`. Source:
include/uapi/linux/{fib_rules,rtnetlink}.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping

from fairlead.drivers.netlink import inet, wire
from fairlead.drivers.netlink.link import OURS
from fairlead.drivers.netlink.socket import Request, RouteSocket
from fairlead.plan.egress import MARKS, EgressRoute

_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_HEADER = struct.Struct("=BBBBBBBBI")
_TO_TABLE = 1
_FRA_PRIORITY, _FRA_MARK, _FRA_TABLE, _FRA_MASK, _FRA_PROTOCOL = 6, 10, 15, 16, 21
_RTA_GATEWAY, _RTA_OIF, _RTA_TABLE = 5, 4, 15
_WHOLE = 0xFFFFFFFF
_PRIORITY = 7900
"""Before the main table (32766), after the local one (0)."""
_ENOENT, _ESRCH, _EEXIST = 2, 3, 17
_KINDS = {"unicast": 1, "blackhole": 6}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_FAMILIES = {False: socket.AF_INET, True: socket.AF_INET6}
_HALF = "half"
"""Kind of a row of which only the rule or only the route is there."""


def requests(row: EgressRoute, index: int | None) -> list[Request]:
    """Return what makes the row true, route first: while the rule is there, so is its route. `index` is that of its device."""
    what = f"default route of table {row.mark:#x}"
    return [
        Request(inet.RTM_NEWROUTE, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, _route(row, index), f"add {what}"),
        Request(_NEWRULE, wire.NLM_F_CREATE | wire.NLM_F_EXCL, _rule(row), f"add rule {row.mark:#x}", _EEXIST),
    ]


def removals(row: EgressRoute) -> list[Request]:
    """Return what removes the row, rule first."""
    body = _HEADER.pack(_FAMILIES[row.ipv6], 0, 0, 0, 0, OURS, 255, 0, 0) + wire.u32(_RTA_TABLE, row.mark)
    return [
        Request(_DELRULE, 0, _rule(row), f"delete rule {row.mark:#x}", _ENOENT),
        Request(inet.RTM_DELROUTE, 0, body, f"delete default route of table {row.mark:#x}", _ESRCH),
    ]


def observe(netlink: RouteSocket, names: Mapping[int, str]) -> Iterable[EgressRoute]:
    """Yield the rows that the kernel holds; of a half row `kind` is neither of a row's."""
    rules = {
        found for family in _FAMILIES.values() for found in map(_decode_rule, netlink.dump(*_rule_listing(family)))
    }
    routes: dict[tuple[int, bool], EgressRoute] = {}
    for family in _FAMILIES.values():
        for payload in netlink.dump(inet.RTM_GETROUTE, _HEADER.pack(family, 0, 0, 0, 0, OURS, 0, 0, 0)):
            found = _decode_route(payload, names)
            if found is not None:
                routes[found.mark, found.ipv6] = found
    for key, route in routes.items():
        yield route if key in rules else EgressRoute(mark=key[0], ipv6=key[1], kind=_HALF)
    for each in rules:
        if each is not None and each not in routes:
            yield EgressRoute(mark=each[0], ipv6=each[1], kind=_HALF)


def _route(row: EgressRoute, index: int | None) -> bytes:
    body = _HEADER.pack(
        _FAMILIES[row.ipv6], 0, 0, 0, 0, OURS, 0, _KINDS[row.kind], inet.ONLINK if row.onlink else 0
    ) + wire.u32(_RTA_TABLE, row.mark)
    if row.via is not None:
        body += wire.attribute(_RTA_GATEWAY, socket.inet_pton(_FAMILIES[row.ipv6], row.via))
    if index is not None:
        body += wire.u32(_RTA_OIF, index)
    return body


def _rule(row: EgressRoute) -> bytes:
    body = _HEADER.pack(_FAMILIES[row.ipv6], 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    body += wire.u32(_FRA_PRIORITY, _PRIORITY) + wire.u32(_FRA_MARK, row.mark) + wire.u32(_FRA_MASK, _WHOLE)
    return body + wire.u32(_FRA_TABLE, row.mark) + wire.u8(_FRA_PROTOCOL, OURS)


def _rule_listing(family: int) -> tuple[int, bytes]:
    return _GETRULE, _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def _decode_rule(payload: bytes) -> tuple[int, bool] | None:
    family, *_ = _HEADER.unpack_from(payload)
    found = wire.attributes(payload, _HEADER.size)
    if found.get(_FRA_PROTOCOL, b"\0")[0] != OURS or _FRA_MARK not in found:
        return None
    mark = wire.as_u32(found[_FRA_MARK])
    table = wire.as_u32(found.get(_FRA_TABLE, bytes(4)))
    return (mark, family == socket.AF_INET6) if _is_ours(mark) and table == mark else None


def _decode_route(payload: bytes, names: Mapping[int, str]) -> EgressRoute | None:
    family, length, _, _, _, protocol, _, kind, flags = _HEADER.unpack_from(payload)
    found = wire.attributes(payload, _HEADER.size)
    table = wire.as_u32(found.get(_RTA_TABLE, bytes(4)))
    if protocol != OURS or length or not _is_ours(table) or kind not in _KIND_NAMES:
        return None
    unicast = kind == _KINDS["unicast"]
    return EgressRoute(
        mark=table,
        ipv6=family == socket.AF_INET6,
        # The kernel lets IPv6 blackholes end at the loopback.
        device=names.get(wire.as_u32(found[_RTA_OIF])) if unicast and _RTA_OIF in found else None,
        via=socket.inet_ntop(family, found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None,
        onlink=bool(flags & inet.ONLINK),
        kind=_KIND_NAMES[kind],
    )


def _is_ours(mark: int) -> bool:
    return mark & ~0xFFFF == MARKS
