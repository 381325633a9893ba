"""Differences applied to a model of the kernel's sets: any plan after any other, by full comparison, by identity and by named keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.drivers.nft import wire
from fairlead.drivers.nft.difference import TABLES, Elements, changed, collect
from fairlead.drivers.nft.structure import LAYOUTS
from fairlead.plan.plan import Plan, index
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
)


class Sets:
    """What the kernel does with messages about elements: refuses to delete what is not there and to add what is."""

    def __init__(self) -> None:
        self.found: dict[str, dict[tuple[bytes, int], bytes]] = {name: {} for name in LAYOUTS}

    def take(self, messages: list[wire.Message]) -> int:
        count = 0
        for message in messages:
            attributes = wire.attributes(message.body)
            name = wire.as_text(attributes[2])
            assert wire.as_text(attributes[1]) == "fairlead"
            if 3 not in attributes:
                self.found[name].clear()
                continue
            for key, data, flags in wire.elements(bytes(4) + message.body, LAYOUTS[name]):
                count += 1
                if message.kind == wire.DELSETELEM:
                    del self.found[name][key, flags]
                else:
                    assert (key, flags) not in self.found[name]
                    self.found[name][key, flags] = data
        return count

    def elements(self) -> Elements:
        return Elements.of(
            {n: [(key, data, flags) for (key, flags), data in each.items()] for n, each in self.found.items()}
        )


def rows_of(held: Elements) -> dict[str, dict[Key, Row]]:
    found: dict[str, dict[Key, Row]] = {table: {} for table in TABLES}
    for table, row in held.rows():
        found[table] |= index([row])
    return found


def small(limit: int) -> st.SearchStrategy[int]:
    return st.integers(1, limit)


endpoint_sets = st.frozensets(st.builds(lambda n, p: (n, p), small(6), small(2)), max_size=6)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    services = []
    locals_: list[LocalPort] = []
    masquerades: list[ServiceMasquerade] = []
    restricted: list[RestrictedPort] = []
    ranges: list[SourceRange] = []
    for address, protocol, port in draw(
        st.frozensets(
            st.tuples(st.sampled_from(("10.96.0.1", "fd10:96::1")), st.sampled_from(("tcp", "sctp")), small(2))
        )
    ):
        head = "10.244.0." if "." in address else "fd10:244::"
        targets = tuple(sorted(Endpoint(f"{head}{number}", target) for number, target in draw(endpoint_sets)))
        affinity_s = draw(st.sampled_from((None, None, 30, 86400))) if targets else None
        at: dict[str, Any] = {"address": address, "protocol": protocol, "port": port}
        drop = draw(st.booleans()) and not targets
        services.append(ServicePort(**at, endpoints=targets, affinity_s=affinity_s, drop=drop))
        if draw(st.booleans()):
            some = targets[: draw(st.integers(0, len(targets)))]
            locals_.append(LocalPort(**at, endpoints=some, affinity_s=affinity_s if some else None))
        if draw(st.booleans()):
            masquerades.append(ServiceMasquerade(**at))
        if draw(st.booleans()):
            restricted.append(RestrictedPort(**at))
            inside = (
                ("10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0") if "." in address else ("fd00::/8", "::/0", "fd10::1/128")
            )
            ranges += [
                SourceRange(**at, prefix=each) for each in draw(st.frozensets(st.sampled_from(inside), max_size=1))
            ]
    # Prefixes that neither touch nor contain each other read back as themselves.
    prefixes = draw(
        st.frozensets(
            st.sampled_from(("10.0.0.0/9", "172.16.0.0/12", "255.255.255.255/32", "0.0.0.0/8", "fd00::/8", "::/16"))
        )
    )
    sources = draw(st.frozensets(st.tuples(small(3), st.sampled_from(("10.244.0.1", "fd10::1")))))
    tables: dict[str, list[Row]] = {
        "service_ports": list(services),
        "local_ports": list(locals_),
        "service_masquerades": list(masquerades),
        "restricted_ports": list(restricted),
        "source_ranges": list(ranges),
        "cluster_addresses": [ClusterAddress(address=each) for each in sorted({row.address for row in services})],
        "service_addresses": [ServiceAddress(address=each) for each in sorted({row.address for row in locals_})],
        "pod_sources": [PodSource(host_ifname=f"fl{number}", address=address) for number, address in sources],
        "nat_exemptions": [NatExemption(prefix=each) for each in prefixes],
        "local_ranges": [LocalRange(prefix=each) for each in sorted(prefixes)[:2]],
    }
    return Plan(node="n", revision="1", tables={name: index(rows) for name, rows in tables.items()})


def named_keys(before: Plan, after: Plan) -> Mapping[str, set[Key]]:
    return {
        table: {
            key
            for key in {*before.table(table), *after.table(table)}
            if before.table(table).get(key) != after.table(table).get(key)
        }
        for table in TABLES
    }


@pytest.mark.parametrize("way", ["full comparison", "identity", "named keys"])
@settings(max_examples=40, deadline=None)
@given(history=st.lists(plans(), min_size=1, max_size=5))
def test_any_plan_after_any_other(way: str, history: list[Plan]) -> None:
    kernel, known = Sets(), Elements()
    previous: Plan | None = None
    for plan in history:
        named = None if way != "named keys" or previous is None else named_keys(previous, plan)
        difference = collect(known, plan, None if way == "full comparison" else previous, named=named)
        assert difference.failures == []
        assert kernel.take(difference.messages(1)) > 0 or not difference
        assert bool(difference) == (difference.changed > 0)
        difference.settle()
        previous = plan
        for held in (known, kernel.elements()):
            assert not held.strays and not held.muddled
            found = rows_of(held)
            assert {table: found[table] for table in TABLES} == {table: dict(plan.table(table)) for table in TABLES}
        assert not collect(known, plan, None)
        assert not collect(known, plan, previous)


def service(*numbers: int) -> Plan:
    row = ServicePort(
        address="10.96.0.1",
        protocol="tcp",
        port=80,
        endpoints=tuple(Endpoint(f"10.244.0.{number}", 8080) for number in numbers),
    )
    return Plan(node="n", revision="1", tables={"service_ports": index([row])})


@pytest.mark.parametrize(
    ("before", "after", "deleted", "added"),
    [
        ((1, 2, 3), (1, 4, 3), 1, 1),
        ((1, 2, 3), (1, 3), 3, 2),
        ((1, 2, 3), (1, 2), 2, 1),
        ((1, 2), (1, 2, 3), 1, 2),
        ((1, 2), (), 3, 1),
        ((1, 2, 3), (3, 1, 2), 0, 0),
    ],
)
def test_a_change_touches_few_elements(
    before: tuple[int, ...], after: tuple[int, ...], deleted: int, added: int
) -> None:
    """The count is one element, and each endpoint that comes, goes or moves up into a gap is one."""
    known = Elements()
    collect(known, service(*before), None).settle()
    difference = collect(known, service(*after), None)
    assert sum(map(len, difference.deletions.values())) == deleted
    assert sum(map(len, difference.additions.values())) == added


def test_changed_keys_by_identity() -> None:
    rows = {(number,): ServiceAddress(address=f"10.0.0.{number}") for number in range(5)}
    other = ServiceAddress(address="10.0.0.9")
    assert changed(rows, rows) == ()
    assert list(changed(rows, dict(rows))) == []
    assert set(changed(rows, {**rows, (2,): other})) == {(2,)}
    assert set(changed(rows, {key: row for key, row in rows.items() if key != (2,)})) == {(2,)}
    assert set(changed(rows, dict(reversed(rows.items())))) == set()
    moved = {key: row for key, row in rows.items() if key != (2,)} | {(9,): other}
    assert set(changed(rows, moved)) == {(2,), (9,)}


def test_incomplete_services_are_strays_to_be_deleted() -> None:
    kernel = Sets()
    known = Elements()
    difference = collect(known, service(1, 2, 3), None)
    kernel.take(difference.messages(1))
    gap = next(key for key in kernel.found["endpoints4"] if key[0].endswith((1).to_bytes(4, "little")))
    del kernel.found["endpoints4"][gap]
    held = kernel.elements()
    assert {name: len(keys) for name, keys in held.strays.items()} == {"services4": 1, "endpoints4": 2}
    repair = collect(held, service(1, 2, 3), None)
    kernel.take(repair.messages(1))
    assert rows_of(kernel.elements())["service_ports"] == dict(service(1, 2, 3).table("service_ports"))
