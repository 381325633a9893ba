"""The static part as the kernel lists it, compared with what it should be, and the messages that make it so.

Rules of a chain are replaced in place. Anything worse (a set of another shape, a chain or a set too many) replaces whole tables, in the
same transaction that fills them again, so that no packet ever meets an empty set. It must do no I/O.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

import msgspec

from fairlead.drivers.nft import elements, wire
from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft.structure import (
    LAYOUTS,
    LOCAL,
    LOCAL_PICKS,
    NAME,
    PICKS,
    Chain,
    Hook,
    Set,
    Table,
    fixed_picks,
    pick_count,
    pick_name,
    tables,
)

_ACCEPT = 1
_HOST_ORDER, _NETWORK_ORDER = 1, 2


class ListedTable(msgspec.Struct, kw_only=True):
    """One of our tables as the kernel lists it."""

    family: int
    is_active: bool = True
    sets: dict[str, dict[int, bytes]] = {}
    counters: set[str] = set()
    chains: dict[str, Hook | None] = {}
    rules: dict[str, list[x.Parsed]] = {}
    picks: dict[int, str | None] = {}
    """Pick → chain, None for an element that is no goto."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction must begin with."""

    messages: tuple[wire.Message, ...] = ()
    is_new: bool = False
    """The table of elements is made anew: it will be empty."""


def listed_set(found: wire.Attributes) -> tuple[str, dict[int, bytes]]:
    """Return name and shape of a listed set."""
    # Flags of zero are not listed.
    shape = {3: bytes(4)} | {kind: found[kind] for kind in (3, 4, 5, 6, 7) if kind in found}
    # A verdict map's data has a length on some kernels; it says nothing.
    if wire.as_u32(shape.get(6, b"")) == 0xFFFFFF00:
        shape.pop(7, None)
    return wire.as_text(found[2]), shape


def listed_chain(found: wire.Attributes) -> tuple[str, Hook | None]:
    """Return name and hook of a listed chain; one whose policy is not accept has a hook like none of ours."""
    if 4 not in found:
        return wire.as_text(found[3]), None
    hook = wire.attributes(found[4])
    policy = wire.as_u32(found.get(5, b"\0\0\0\1"))
    kind = wire.as_text(found.get(7, b"")) if policy == _ACCEPT else "dropping"
    priority = int.from_bytes(hook[2], "big", signed=True)
    return wire.as_text(found[3]), Hook(kind, wire.as_u32(hook[1]), priority)


def repair(listed: Mapping[int, ListedTable], counts: Iterable[int], *, room: Mapping[str, int]) -> Repair:
    """Return the messages that make the static part right, with pick chains for `counts` endpoints.

    Sets that are made anew have the sizes `room`, where it names them; those that are right keep what they have.
    """
    found: list[wire.Message] = []
    is_new = False
    for table in tables(counts, room):
        current = listed.get(table.family)
        if current is not None and _has_shape(current, table):
            found += _repair_chains(current, table)
            continue
        if current is not None:
            found.append(wire.Message(wire.DELTABLE, table.family, wire.text(1, NAME)))
        found += _create(table)
        is_new = is_new or bool(table.sets)
    return Repair(messages=tuple(found), is_new=is_new)


def add_picks(counts: Iterable[int]) -> list[wire.Message]:
    """Return the messages that add pick chains for these numbers of endpoints to a table that is right otherwise."""
    wanted = set(counts)
    (table, *_) = tables(wanted)
    chains = [chain for chain in table.chains if pick_count(chain.name) in wanted]
    return [
        *(new_chain(table.family, chain) for chain in chains),
        *(message for chain in chains for message in new_rules(table.family, chain)),
        *_pick_elements(table.family, wanted),
    ]


def remove(listed: Iterable[int]) -> list[wire.Message]:
    """Return the messages that remove our tables of these families with all that is in them."""
    return [wire.Message(wire.DELTABLE, family, wire.text(1, NAME)) for family in listed]


def pick_counts(table: ListedTable | None) -> set[int]:
    """Return the numbers of endpoints for which there is a pick chain."""
    found = () if table is None else (pick_count(name) for name in table.chains)
    return {count for count in found if count}


def _has_shape(current: ListedTable, table: Table) -> bool:
    """Tell whether everything but the rules and the pick chains is right."""
    fixed = {chain.name: chain.hook for chain in table.chains if pick_count(chain.name) is None}
    return (
        current.is_active
        and current.sets == {each.name: each.attributes() for each in table.sets}
        and current.counters == set(table.counters)
        and {name: hook for name, hook in current.chains.items() if pick_count(name) is None or hook} == fixed
        and current.chains.keys() >= {name for name in current.picks.values() if name is not None}
    )


def _repair_chains(current: ListedTable, table: Table) -> list[wire.Message]:
    missing = [chain for chain in table.chains if chain.name not in current.chains]
    wrong = [
        chain
        for chain in table.chains
        if chain.name in current.chains
        and not x.same(current.rules.get(chain.name, []), map(x.parse_rule, chain.rules))
    ]
    found = [new_chain(table.family, chain) for chain in missing]
    for chain in wrong:
        names = wire.text(1, NAME) + wire.text(2, chain.name)
        found.append(wire.Message(wire.DELRULE, table.family, names))
    for chain in (*missing, *wrong):
        found += new_rules(table.family, chain)
    if table.sets:
        wanted = {**fixed_picks(), **{pick: chain.name for chain in table.chains if (pick := pick_count(chain.name))}}
        gone = [count for count, chain in current.picks.items() if count not in wanted or wanted[count] != chain]
        come = [count for count, chain in wanted.items() if current.picks.get(count) != chain]
        for name, picks in _by_map(gone).items():
            encoded = LAYOUTS[name].keys(elements.number(pick & 0xFFFFFFFF) for pick in picks)
            found += wire.element_messages(wire.DELSETELEM, table.family, NAME, name, encoded)
        found += _pick_elements(table.family, come)
    return found


def _create(table: Table) -> list[wire.Message]:
    found = [wire.Message(wire.NEWTABLE, table.family, wire.text(1, NAME) + wire.u32(2, 0), wire.NLM_F_CREATE)]
    found += [new_counter(table.family, name) for name in table.counters]
    found += [new_set(table.family, each, number) for number, each in enumerate(table.sets, 1)]
    found += [new_chain(table.family, chain) for chain in table.chains]
    if table.sets:
        found += _pick_elements(
            table.family, (*fixed_picks(), *filter(None, (pick_count(chain.name) for chain in table.chains)))
        )
    for chain in table.chains:
        found += new_rules(table.family, chain)
    return found


def new_counter(family: int, name: str, *, table: str = NAME) -> wire.Message:
    """Return the message that makes a named counter."""
    body = wire.text(1, table) + wire.text(2, name) + wire.u32(3, 1) + wire.nested(4)
    return wire.Message(wire.NEWOBJ, family, body, wire.NLM_F_CREATE)


def new_set(family: int, each: Set, number: int, *, table: str = NAME) -> wire.Message:
    """Return the message that makes a set or map; `number` tells the new ones of a transaction apart."""
    body = wire.text(1, table) + wire.text(2, each.name)
    body += b"".join(wire.attribute(kind, value) for kind, value in each.attributes().items())
    body += each.description() + wire.u32(10, number) + wire.attribute(13, _listing_hints(each))
    return wire.Message(wire.NEWSET, family, body, wire.NLM_F_CREATE)


def _listing_hints(each: Set) -> bytes:
    """Return the user data by which nft(8) knows the byte order of single numbers when it lists a set; the kernel ignores it."""
    hints = b""
    for hint, names in enumerate((each.key, each.data)):
        order = _HOST_ORDER if names == ("mark",) else _NETWORK_ORDER
        hints += bytes((hint, 4)) + order.to_bytes(4, sys.byteorder)
    return hints


def new_chain(family: int, chain: Chain, *, table: str = NAME) -> wire.Message:
    """Return the message that makes a chain without its rules."""
    body = wire.text(1, table) + wire.text(3, chain.name)
    if chain.hook is not None:
        hook = wire.u32(1, chain.hook.number) + wire.u32(2, chain.hook.priority & 0xFFFFFFFF)
        body += wire.nested(4, hook) + wire.u32(5, _ACCEPT) + wire.text(7, chain.hook.kind)
    return wire.Message(wire.NEWCHAIN, family, body, wire.NLM_F_CREATE)


def new_rules(family: int, chain: Chain, *, table: str = NAME) -> list[wire.Message]:
    """Return the messages that append a chain's rules."""
    names = wire.text(1, table) + wire.text(2, chain.name)
    flags = wire.NLM_F_CREATE | wire.NLM_F_APPEND
    return [wire.Message(wire.NEWRULE, family, names + x.encode(rule), flags) for rule in chain.rules]


def _pick_elements(family: int, picks: Iterable[int]) -> list[wire.Message]:
    found: list[wire.Message] = []
    for name, some in _by_map(picks).items():
        encoded = [
            wire.nested(
                1,
                wire.nested(1, wire.attribute(1, elements.number(pick & 0xFFFFFFFF))),
                x.verdict_data(pick_name(pick)),
            )
            for pick in some
        ]
        found += wire.element_messages(wire.NEWSETELEM, family, NAME, name, encoded)
    return found


def _by_map(picks: Iterable[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pick in picks:
        found.setdefault(LOCAL_PICKS if pick & LOCAL else PICKS, []).append(pick)
    return found
