"""The driver without sockets: plans become records, told of changes or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.config import parse
from fairlead.drivers.dns.driver import DnsDriver
from fairlead.drivers.dns.upstream import Upstream
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import DnsClient, DnsRecords, Key, Row


class Unbound(DnsDriver):
    """The driver without a network."""

    def _listen(self) -> None:
        pass

    def records(self) -> dict[bytes, dict[int, tuple[bytes, ...]]]:
        return {name: {kind: found.datas for kind, found in sets.items()} for name, sets in self._zones._sets.items()}


def made() -> Unbound:
    return Unbound(["10.96.0.10"], service_cidrs=["10.96.0.0/16"], pod_cidrs=["10.244.0.0/16"])


def plan(records: Mapping[str, str], serial: int = 1) -> Plan:
    rows = [
        DnsRecords(name=f"{name}.default.svc.cluster.local.", type="A", ttl=5, data=(data,))
        for name, data in records.items()
    ]
    return Plan(node="n", revision="1", tables={"dns_records": index(rows)}, serial=serial)


_ADDRESSES = st.sampled_from(["10.96.0.1", "10.96.0.2", "no address"])
_worlds = st.dictionaries(st.sampled_from(["a", "b", "c", "x.a"]), _ADDRESSES, max_size=4)


@given(st.lists(_worlds, min_size=1, max_size=6))
def test_told_of_changes_or_not_the_records_are_the_same(worlds: list[dict[str, str]]) -> None:
    async def run() -> None:
        told, untold = made(), made()
        before: Mapping[Key, Row] = {}
        for serial, world in enumerate(worlds):
            new = plan(world, serial)
            rows = new.table("dns_records")
            changed = {key for key in before.keys() | rows.keys() if before.get(key) != rows.get(key)}
            outcome = await told.apply_changes(new, {"dns_records": changed})
            assert {each.key for each in outcome.failed} == {each.key for each in (await untold.apply(new)).failed}
            fresh = made()
            await fresh.apply(new)
            assert told.records() == untold.records() == fresh.records()
            before = rows

    asyncio.run(run())


async def test_clients_have_the_search_path_of_their_namespace_unless_switched_off() -> None:
    driver = made()
    clients = [DnsClient(address="10.244.1.5", namespace="shop"), DnsClient(address="fd10:244::5", namespace="shop")]
    tables = {"dns_clients": index(clients)}
    await driver.apply(Plan(node="n", revision="1", tables=tables))
    paths = driver._responder.clients
    assert {wire.text(each.first) for each in paths.values()} == {"shop.svc.cluster.local."}
    assert sorted(map(len, paths)) == [4, 16]
    driver.configure(parse("search: {enabled: false}"))
    assert driver._responder.clients == {}
    driver.configure(parse("search: {extra: [corp.example]}"))
    assert [wire.text(each) for each in driver._responder.clients[bytes((10, 244, 1, 5))].others] == [
        "svc.cluster.local.",
        "cluster.local.",
        "corp.example.",
    ]


def test_the_cluster_s_own_address_is_no_upstream() -> None:
    with pytest.raises(ValueError, match="questions would never end"):
        DnsDriver(["10.96.0.10"], upstreams=[Upstream("10.96.0.10")])
