"""Zones under change: after any sequence of changes they answer as zones made at once from what is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.zone import Zones, record_set

_NAMES = [
    "a.x.svc.cluster.local",
    "b.x.svc.cluster.local",
    "_p._tcp.a.x.svc.cluster.local",
    "h.b.x.svc.cluster.local",
    "x.svc.cluster.local",
    "1.0.96.10.in-addr.arpa",
    "cluster.local",
]
_changes = st.lists(
    st.tuples(st.booleans(), st.sampled_from(_NAMES), st.sampled_from([wire.A, wire.AAAA])), max_size=40
)


def zones() -> Zones:
    return Zones("cluster.local", ["10.96.0.0/16"])


def existence(made: Zones) -> dict[str, list[int] | None]:
    every = {wire.text(part) for name in _NAMES for part in wire.suffixes(wire.name(name))}
    found = {}
    for name in sorted(every):
        sets = made.sets(wire.name(name))
        found[name] = None if sets is None else sorted(sets)
    return found


@given(_changes)
def test_changes_lead_where_a_fresh_start_leads(changes: list[tuple[bool, str, int]]) -> None:
    changed = zones()
    held: set[tuple[str, int]] = set()
    for add, name, kind in changes:
        if add:
            changed.put(wire.name(name), record_set(kind, 5, [bytes(4 if kind == wire.A else 16)]))
            held.add((name, kind))
        else:
            changed.remove(wire.name(name), kind)
            held.discard((name, kind))
    fresh = zones()
    for name, kind in held:
        fresh.put(wire.name(name), record_set(kind, 5, [bytes(4 if kind == wire.A else 16)]))
    assert existence(changed) == existence(fresh)
    assert changed._below == fresh._below


def test_every_change_has_its_serial() -> None:
    made = zones()
    apex = wire.name("cluster.local")
    before = made.soa(apex)
    assert made.soa(apex) is before
    made.put(wire.name("a.cluster.local"), record_set(wire.A, 5, [bytes(4)]))
    assert made.soa(apex) != before


def test_names_outside_are_refused() -> None:
    try:
        zones().put(wire.name("example.com"), record_set(wire.A, 5, [bytes(4)]))
    except ValueError as error:
        assert "example.com. lies in no zone" in str(error)
    else:
        raise AssertionError("accepted")
