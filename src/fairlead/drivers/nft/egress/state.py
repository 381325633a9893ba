"""What the egress table holds: wanted by a plan or known of the kernel, and the messages that lead from one to the other. No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from fairlead.drivers.nft import elements, ruleset, wire
from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft.egress import structure
from fairlead.drivers.nft.egress.structure import NAME
from fairlead.drivers.nft.structure import Set
from fairlead.drivers.protocol import Failure
from fairlead.plan.egress import EgressAddress, EgressHolder, EgressRange, EgressSource
from fairlead.plan.plan import Plan
from fairlead.plan.tables import NatExemption, Row

TABLES = ("egress_addresses", "egress_holders", "egress_ranges", "egress_sources")
"""The plan tables that make the table; `nat_exemptions` are read besides."""
_FAMILY = wire.NFPROTO_INET
_SETS: Mapping[str, Set] = {each.name: each for each in structure.sets()}


class Contents(msgspec.Struct):
    """Set → key → data (empty for sets); of interval sets, first key → first key beyond (empty: none)."""

    sets: dict[str, dict[bytes, bytes]]


def wanted(plan: Plan) -> tuple[Contents, list[Failure]]:
    """Return what a plan wants, and the rows that cannot be."""
    found: dict[str, dict[bytes, bytes]] = {name: {} for name in _SETS}
    failures: list[Failure] = []
    for table in TABLES:
        for key, row in plan.table(table).items():
            try:
                name, element, data = _element(row)
            except ValueError as error:
                failures.append(Failure(table, key, str(error)))
            else:
                found[name][element] = data
    exempt = [row.prefix for row in plan.table("nat_exemptions").values() if isinstance(row, NatExemption)]
    # What is no prefix is reported by the driver that these rows belong to.
    intervals, _ = elements.intervals(exempt)
    for version, some in intervals.items():
        found[f"exempt{version}"] = {first: beyond or b"" for first, beyond in some}
    return Contents(found), failures


def _element(row: Row) -> tuple[str, bytes, bytes]:
    match row:
        case EgressSource():
            address = elements.address(row.address)
            return f"marks{elements.suffix(len(address))}", address, elements.number(row.mark)
        case EgressHolder():
            address = elements.address(row.address)
            return f"holders{elements.suffix(len(address))}", address, b""
        case EgressRange():
            network = ipaddress.ip_network(row.prefix)
            first, last = network.network_address.packed, network.broadcast_address.packed
            mark = elements.number(row.mark)
            return f"ranges{network.version}", mark + first + mark + last, b""
        case EgressAddress():
            version = "6" if row.ipv6 else "4"
            if not row.address:
                return f"relayed{version}", elements.number(row.mark), b""
            address = elements.address(row.address)
            if elements.suffix(len(address)) != version:
                raise ValueError(f"{row.address} is of the other family")
            return f"sources{version}", elements.number(row.mark), address
        case _:
            raise TypeError(f"{type(row).__name__} is no row of this driver")


def create(contents: Contents) -> list[wire.Message]:
    """Return the messages that make the table with everything in it; there must be none."""
    chains = structure.chains()
    found = [wire.Message(wire.NEWTABLE, _FAMILY, wire.text(1, NAME) + wire.u32(2, 0), wire.NLM_F_CREATE)]
    found.append(ruleset.new_counter(_FAMILY, structure.UNSOLICITED, table=NAME))
    found += [ruleset.new_set(_FAMILY, each, number, table=NAME) for number, each in enumerate(_SETS.values(), 1)]
    found += [ruleset.new_chain(_FAMILY, chain, table=NAME) for chain in chains]
    for chain in chains:
        found += ruleset.new_rules(_FAMILY, chain, table=NAME)
    return found + change(Contents({name: {} for name in _SETS}), contents)


def remove() -> list[wire.Message]:
    """Return the messages that remove the table."""
    return [wire.Message(wire.DELTABLE, _FAMILY, wire.text(1, NAME))]


def change(old: Contents, new: Contents) -> list[wire.Message]:
    """Return the messages that turn one into the other; none when they are equal."""
    found: list[wire.Message] = []
    for name, each in _SETS.items():
        before, after = old.sets[name], new.sets[name]
        if before is after:
            continue
        gone = {key: data for key, data in before.items() if after.get(key) != data}
        come = {key: data for key, data in after.items() if before.get(key) != data}
        for kind, some in ((wire.DELSETELEM, gone), (wire.NEWSETELEM, come)):
            if some:
                found += wire.element_messages(kind, _FAMILY, NAME, name, _encoded(each, some, kind))
    return found


def _encoded(each: Set, some: Mapping[bytes, bytes], kind: int) -> list[bytes]:
    layout = each.layout
    if each.interval and not each.is_range:
        return layout.bounds((first, beyond or None) for first, beyond in sorted(some.items()))
    if each.data and kind == wire.NEWSETELEM:
        return layout.pairs(sorted(some.items()))
    return layout.keys(sorted(some))


def is_intact(
    shapes: Mapping[str, Mapping[int, bytes]],
    hooks: Mapping[str, object],
    rules: Mapping[str, list[x.Parsed]],
    counters: set[str],
) -> bool:
    """Tell whether everything but the elements is as it was made."""
    chains = structure.chains()
    return (
        dict(shapes) == {name: each.attributes() for name, each in _SETS.items()}
        and dict(hooks) == {chain.name: chain.hook for chain in chains}
        and counters == {structure.UNSOLICITED}
        and all(x.same(rules.get(chain.name, []), map(x.parse_rule, chain.rules)) for chain in chains)
    )


def contents(name: str, listed: list[tuple[bytes, bytes, int]]) -> dict[bytes, bytes] | None:
    """Return what a listed set holds; None when its intervals make no sense."""
    each = _SETS[name]
    if each.is_range:
        return {key + last: b"" for key, last, _ in listed}
    if each.interval:
        pairs = elements.paired((key, bool(flags & wire.INTERVAL_END)) for key, _, flags in listed)
        return None if pairs is None else {first: beyond or b"" for first, beyond in pairs}
    return {key: data for key, data, _ in listed}
