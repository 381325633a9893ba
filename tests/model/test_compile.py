"""Incremental compilation equals compilation from scratch, whatever happens and in whatever order."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.model.worlds import ETH0, NODES, attachment, endpoint, endpoint_slice, service

from fairlead.api.service import Ingress, LoadBalancerStatus, ServicePort, ServiceStatus
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.compile import Compiler, compile
from fairlead.model.services import ZONE
from fairlead.plan.plan import Plan, changes
from fairlead.plan.tables import TABLES
from fairlead.world.events import AttachmentChanged, Event, InterfacesObserved, KindReplaced, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

BALANCED = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(Ingress(ip="203.0.113.9"),)))
START = Snapshot(settings=Settings(node="n1"))

services = st.builds(
    lambda name, address, ports: (
        "Service",
        name,
        service(name, address, ports=[ServicePort(name="p", port=p) for p in ports]),
    ),
    st.sampled_from("abcd"),
    st.sampled_from(["10.96.0.1", "10.96.0.2", "fd10:96::1", "None", "broken"]),
    st.lists(st.sampled_from([80, 443]), max_size=2, unique=True),
)
exposed = st.builds(
    lambda thing, changes: (
        *thing[:2],
        structs.replace(thing[2], spec=structs.replace(thing[2].spec, **changes), status=BALANCED),
    ),
    services,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["NodePort", "LoadBalancer"]),
            "external_traffic_policy": st.sampled_from([None, "Local"]),
            "internal_traffic_policy": st.sampled_from([None, "Local"]),
            "session_affinity": st.sampled_from([None, "ClientIP"]),
            "external_ips": st.sampled_from([None, ("192.0.2.1",)]),
            "load_balancer_source_ranges": st.sampled_from([None, ("10.0.0.0/8", "bad")]),
            "health_check_node_port": st.sampled_from([None, 31000]),
            "ports": st.sampled_from([(ServicePort(name="p", port=80, node_port=30080),)]),
        }
    ),
)
slices = st.builds(
    lambda name, of, addresses: (
        "EndpointSlice",
        name,
        endpoint_slice(name, of, *(endpoint(a, hostname=h) for a, h in addresses)),
    ),
    st.sampled_from("rstu"),
    st.sampled_from("abcd"),
    st.lists(st.tuples(st.sampled_from(["10.244.1.1", "10.244.1.2", "bad"]), st.sampled_from([None, "h"])), max_size=3),
)
nodes = st.builds(
    lambda name, zone: (
        "Node",
        name,
        structs.replace(NODES[name], metadata=structs.replace(NODES[name].metadata, labels={ZONE: zone})),
    ),
    st.sampled_from(sorted(NODES)),
    st.sampled_from(["zone-a", "zone-b"]),
)
changed = st.builds(
    lambda thing, what: ObjectChanged(
        thing[0],
        ("" if thing[0] == "Node" else "default", thing[1]),
        {"set": thing[2], "delete": None, "odd": Diagnostic(object=f"{thing[0]}/{thing[1]}", message="odd")}[what],
    ),
    st.one_of(services, exposed, slices, nodes),
    st.sampled_from(["set", "set", "set", "delete", "odd"]),
)
pods = st.builds(
    lambda number, present: AttachmentChanged((f"c{number}", "eth0"), attachment(number) if present else None),
    st.integers(2, 4),
    st.booleans(),
)
interfaces = st.sampled_from([(), (ETH0,)]).map(InterfacesObserved)
batches = st.lists(st.lists(st.one_of(changed, pods, interfaces), max_size=4), max_size=12)


def assert_same(one: Plan, other: Plan) -> None:
    assert one.tables == other.tables
    assert one.origins == other.origins


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches)
def test_incremental_equals_from_scratch(batches: list[list[Event]]) -> None:
    compiler = Compiler(origins=True)
    snapshot, last = START, None
    for batch in batches:
        snapshot = fold(snapshot, batch)
        compiled, scratch = compiler.compile(snapshot), compile(snapshot)
        assert_same(compiled.plan, scratch.plan)
        assert compiled.diagnostics == scratch.diagnostics
        if last is not None:
            for table in TABLES:
                keys = last.table(table).keys() | compiled.plan.table(table).keys()
                expected = {k for k in keys if last.table(table).get(k) != compiled.plan.table(table).get(k)}
                assert {key for key, _, _ in changes(last, compiled.plan, table)} == expected
        last = compiled.plan


@settings(max_examples=100, deadline=None)
@given(batches)
def test_only_the_end_counts_not_the_way(batches: list[list[Event]]) -> None:
    stepwise = START
    for batch in batches:
        for event in batch:
            stepwise = fold(stepwise, [event])
    at_once = fold(START, [event for batch in batches for event in batch])
    listed = fold(
        START,
        [
            KindReplaced("Node", {("", name): node for name, node in stepwise.nodes.items()}),
            KindReplaced("Service", stepwise.services),
            KindReplaced("EndpointSlice", stepwise.slices),
            InterfacesObserved(stepwise.interfaces),
            *(AttachmentChanged(key, each) for key, each in stepwise.attachments.items()),
        ],
    )
    plan = compile(stepwise).plan
    assert_same(plan, compile(at_once).plan)
    assert_same(plan, compile(listed).plan)


def test_two_services_with_one_address_are_reported_and_the_first_by_name_has_it() -> None:
    both = [ObjectChanged("Service", ("default", name), service(name, "10.96.0.1")) for name in "ba"]
    compiled = compile(fold(START, both))
    row = compiled.plan.table("service_ports")["10.96.0.1", "tcp", 80]
    assert compiled.plan.origins["service_ports", ("10.96.0.1", "tcp", 80)] == ("Service/default/a",)
    assert row.endpoints == ()  # type: ignore[union-attr]
    assert "Service/default/b spec.clusterIPs: 10.96.0.1 tcp 80 belongs to Service/default/a already" in map(
        str, compiled.diagnostics
    )
    names = compiled.plan.table("dns_records")["1.0.96.10.in-addr.arpa.", "PTR"].data  # type: ignore[union-attr]
    assert names == ("a.default.svc.cluster.local.", "b.default.svc.cluster.local.")


def test_one_changed_endpoint_among_thousands_of_services_costs_little() -> None:
    count = 5000
    events = [
        ObjectChanged("Service", ("default", f"s{i}"), service(f"s{i}", f"10.96.{i // 250}.{i % 250}"))
        for i in range(count)
    ]
    snapshot = fold(START, events)
    compiler = Compiler()
    plan = compiler.compile(snapshot).plan
    best = 1.0
    for number in range(20):
        one = endpoint_slice("x", "s7", endpoint(f"10.244.1.{number}"))
        begin = time.perf_counter()
        snapshot = fold(snapshot, [ObjectChanged("EndpointSlice", ("default", "x"), one)])
        new = compiler.compile(snapshot).plan
        found = [key for table in TABLES for key, _, _ in changes(plan, new, table)]
        best = min(best, time.perf_counter() - begin)
        assert found == [("10.96.0.7", "tcp", 80)]
        plan = new
    assert best < 0.005, f"{best * 1000:.2f} ms"
