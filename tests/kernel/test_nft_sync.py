"""The kernel equals the plan: at first, after changes, after a restart, after other hands; and nothing else is touched."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.nftlab import OTHER_VIP, PODS, VIP, NftLab, base_rows, plan_of, pod_ip, service

from fairlead.drivers.nft import kernel as kernel_module
from fairlead.drivers.nft.driver import NftDriver
from fairlead.plan.plan import Plan
from fairlead.plan.tables import (
    Endpoint,
    LocalRange,
    NatExemption,
    PodSource,
    Row,
    ServicePort,
)

pytestmark = pytest.mark.kernel

GOLDEN = Path(__file__).parents[1] / "goldens" / "nft_structure.txt"
FOREIGN = """
table inet other {
    set s { type ipv4_addr; elements = { 192.0.2.1 }; }
    chain c { ip saddr @s counter; }
}
table ip fairlead {
    chain not_ours { accept; }
}
table inet fairlead2 {
    chain c { drop; }
}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[NftLab]:
    with NftLab() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(lab: NftLab) -> Iterator[None]:
    """Start each test with an observed, empty kernel."""
    lab.run("node", "nft", "flush", "ruleset")
    lab.resync(Plan.empty("node"))
    yield


def example() -> Plan:
    services = []
    for v in (4, 6):
        services += [
            service(v, 80, *PODS),
            service(v, 53, "pod-a", protocol="udp"),
            service(v, 81),
            service(v, 80, "pod-b", other=True),
        ]
    return plan_of(*services)


def assert_equal(lab: NftLab, plan: Plan) -> None:
    """The kernel, read anew by a driver without memory, holds the rows of the plan and the static part."""
    driver = lab.start()
    observed = asyncio.run(driver.observe())
    for table, rows in observed.items():
        wanted = plan.table(table)
        if table in ("nat_exemptions", "local_ranges"):
            # Prefixes that touch are read back as one; the examples have none.
            assert set(rows) == set(wanted), table
        assert dict(rows) == dict(wanted), table


def test_static_part_reads_as_the_golden(lab: NftLab, pytestconfig: pytest.Config) -> None:
    lab.apply(plan_of(service(4, 80, *PODS)))
    listing = lab.listing()
    if pytestconfig.getoption("--update-goldens"):
        GOLDEN.write_text(listing)
    assert listing == GOLDEN.read_text()


def test_apply_makes_the_kernel_equal_and_is_idempotent(lab: NftLab) -> None:
    plan = example()
    outcome = lab.apply(plan)
    assert (outcome.applied > 10, outcome.failed) == (True, ())
    assert lab.apply(plan).applied == 0
    assert lab.apply(example()).applied == 0
    assert lab.resync(plan).applied == 0
    assert_equal(lab, plan)


def test_restart_adopts_with_no_change(lab: NftLab) -> None:
    plan = example()
    lab.apply(plan)
    generation = lab.run("node", "nft", "-a", "list", "ruleset")
    outcome = asyncio.run(lab.start().apply(plan))
    assert (outcome.applied, outcome.failed) == (0, ())
    # Handles too are as before: nothing was even replaced.
    assert lab.run("node", "nft", "-a", "list", "ruleset") == generation


def test_empty_plan_removes_everything_of_ours_and_nothing_else(lab: NftLab) -> None:
    lab.nft(FOREIGN)
    before = lab.run("node", "nft", "-a", "list", "ruleset")
    lab.apply(example())
    outcome = lab.apply(Plan.empty("node"))
    assert (outcome.applied > 0, outcome.failed) == (True, ())
    assert lab.run("node", "nft", "-a", "list", "ruleset") == before
    assert lab.apply(Plan.empty("node")).applied == 0
    assert lab.resync(Plan.empty("node")).applied == 0


def test_other_programs_changes_do_not_disturb(lab: NftLab) -> None:
    lab.apply(example())
    lab.nft(FOREIGN)
    # The kernel's generation is no more what the driver left; it goes on, and its next resync finds all in place.
    changed = plan_of(service(4, 80, "pod-a"))
    assert lab.apply(changed).failed == ()
    assert lab.resync(changed).applied == 0
    assert_equal(lab, changed)


def test_one_endpoint_replaced_touches_one_element(lab: NftLab) -> None:
    def of(last: int) -> Plan:
        endpoints = (*(Endpoint(f"10.244.2.{number}", 80) for number in range(1, 10)), Endpoint(f"10.244.3.{last}", 80))
        return plan_of(ServicePort(address=VIP[4], protocol="tcp", port=80, endpoints=tuple(sorted(endpoints))))

    lab.apply(of(1))
    before = elements(lab, "endpoints4")
    assert lab.apply(of(2)).applied == 1
    after = elements(lab, "endpoints4")
    assert len(before - after) == len(after - before) == 1
    assert_equal(lab, of(2))


def elements(lab: NftLab, name: str) -> set[str]:
    text = lab.run("node", "nft", "list", "map", "inet", "fairlead", name)
    return {each.strip() for each in text.partition("elements = {")[2].partition("}")[0].split(",")}


HANDS = {
    "element deleted": "delete element inet fairlead cluster_addresses4 { 10.96.0.10 }",
    "element added": "add element inet fairlead cluster_addresses6 { fd00::1 }",
    "pod's address deleted": 'delete element inet fairlead pod_sources4 { "fl00000000000a" . 10.244.1.5 }',
    "pod's address added": 'add element inet fairlead pod_sources6 { "fl00000000000a" . fd00::1 }',
    "interval deleted": "delete element inet fairlead nat_exemptions4 { 10.244.0.0/16 }",
    "interval added": "add element inet fairlead nat_exemptions4 { 192.0.2.0/24 }",
    "interval of all": "add element inet fairlead local_ranges6 { ::/1 }",
    "endpoint deleted": "delete element inet fairlead endpoints4 { 10.96.0.10 . 6 . 80 . 0x00000000 }",
    "last endpoint deleted": "delete element inet fairlead endpoints4 { 10.96.0.10 . 6 . 80 . 0x00000001 }",
    "stray endpoint added": "add element inet fairlead endpoints4 { 10.96.9.9 . 6 . 80 . 0x00000000 : 192.0.2.1 . 80 }",
    "endpoint beyond": "add element inet fairlead endpoints4 { 10.96.0.10 . 6 . 80 . 0x00000007 : 192.0.2.1 . 80 }",
    "endpoint changed": "delete element inet fairlead endpoints6 { fd10:96::a . 6 . 80 . 0x00000000 }\n"
    "add element inet fairlead endpoints6 { fd10:96::a . 6 . 80 . 0x00000000 : fd10:244:0:1::6 . 8080 }",
    "service deleted": "delete element inet fairlead services4 { 10.96.0.10 . 6 . 80 }",
    "service added": "add element inet fairlead services4 { 10.96.9.9 . 6 . 80 : 0x00000003 }",
    "service's count changed": "delete element inet fairlead services4 { 10.96.0.10 . 6 . 80 }\n"
    "add element inet fairlead services4 { 10.96.0.10 . 6 . 80 : 0x00000001 }",
    "maps emptied": "flush map inet fairlead services4\nflush map inet fairlead endpoints6",
    "pick deleted": "delete element inet fairlead picks { 0x00000002 }",
    "pick changed": "delete element inet fairlead picks { 0x00000002 }\nadd element inet fairlead picks { 0x00000002 : goto n1 }",
    "pick added": "add element inet fairlead picks { 0x00000009 : accept }",
    "pick to another chain": "add chain inet fairlead evil\nadd element inet fairlead picks { 0x00000009 : goto evil }",
    "rules flushed": "flush chain inet fairlead services",
    "rule added": "add rule inet fairlead from_pod accept",
    "rule put first": "insert rule inet fairlead from_pod accept",
    "pick chain flushed": "flush chain inet fairlead n2",
    "all rules flushed": "flush table inet fairlead",
    "chain added": "add chain inet fairlead more { type filter hook forward priority 0; policy drop; }",
    "chain deleted": "flush chain inet fairlead postrouting\ndelete chain inet fairlead postrouting",
    "policy changed": "chain inet fairlead sources { policy drop; }",
    "set added": "add set inet fairlead more { type ipv4_addr; }",
    "counter added": "add counter inet fairlead more",
    "set replaced": "flush chain inet fairlead postrouting\nflush chain inet fairlead prerouting\ndelete set inet fairlead local_ranges4\n"
    "add set inet fairlead local_ranges4 { type ipv6_addr; }",
    "table dormant": "add table inet fairlead { flags dormant; }",
    "table deleted": "delete table inet fairlead",
    "arp table deleted": "delete table arp fairlead",
    "arp rules flushed": "flush table arp fairlead",
    "all tables deleted": "flush ruleset",
}


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_what_other_hands_do_is_repaired(lab: NftLab, hand: str, restarted: bool) -> None:
    plan = example()
    lab.apply(plan)
    listing = lab.listing()
    lab.nft(HANDS[hand])
    driver = lab.start() if restarted else lab.driver
    outcome = asyncio.run(driver.apply(plan) if restarted else driver.resync(plan))
    assert (outcome.applied > 0, outcome.failed) == (True, ())
    assert sorted(lab.listing().splitlines()) == sorted(listing.splitlines())
    assert_equal(lab, plan)
    assert asyncio.run(driver.resync(plan)).applied == 0


@pytest.mark.parametrize(
    "hand", ["element added", "endpoint deleted", "service deleted", "pick deleted", "table deleted", "set replaced"]
)
def test_a_change_that_meets_other_hands_repairs_them(lab: NftLab, hand: str) -> None:
    """Without a resync: the refused transaction makes the driver look."""
    lab.apply(example())
    lab.nft(HANDS[hand])
    changed = plan_of(*(service(v, 80, "pod-b") for v in (4, 6)))
    assert lab.apply(changed).failed == ()
    assert lab.resync(changed).failed == ()
    assert_equal(lab, changed)


def test_established_connections_survive_repair_and_restart(lab: NftLab) -> None:
    plan = example()
    lab.apply(plan)
    with lab.serve(*((pod, pod_ip(pod, v), 8080, "tcp") for pod in PODS for v in (4, 6))):
        clients = []
        for v in (4, 6):
            client = lab.socket("outside", VIP[v], socket.SOCK_STREAM)
            client.connect((VIP[v], 80))
            clients.append(client)
        for hand in ("rule added", "set added", "maps emptied", "policy changed"):
            lab.nft(HANDS[hand])
            asyncio.run(lab.start().apply(plan))
            for client in clients:
                client.send(b"?")
                assert client.recv(100).startswith(b"pod-")
        for client in clients:
            client.close()


def test_row_at_fault_is_reported_and_the_others_are_made(lab: NftLab) -> None:
    good = service(4, 80, "pod-a")
    bad = [
        ServicePort(address=OTHER_VIP[4], protocol="tcp", port=1, endpoints=(Endpoint("fd00::1", 1),)),
        ServicePort(address=OTHER_VIP[4], protocol="icmp", port=1, endpoints=()),
        ServicePort(address="nonsense", protocol="tcp", port=1, endpoints=()),
        ServicePort(address=OTHER_VIP[4], protocol="tcp", port=70000, endpoints=()),
    ]
    rows = base_rows()
    rows["pod_sources"].append(PodSource(host_ifname="a-name-that-is-too-long", address="10.0.0.1"))
    rows["nat_exemptions"].append(NatExemption(prefix="10.0.0.1/8"))
    plan = plan_of(good, *bad, rows=rows)
    for _ in range(2):
        failed = {(each.table, each.key): each.error for each in lab.apply(plan).failed}
        assert {table for table, _ in failed} == {"service_ports", "pod_sources", "nat_exemptions", "cluster_addresses"}
        assert len(failed) == 7
        assert "not of the same family" in failed["service_ports", (OTHER_VIP[4], "tcp", 1)]
    assert set(lab.observe()["service_ports"]) == {(VIP[4], "tcp", 80)}
    assert lab.apply(plan_of(good)).failed == ()


def test_a_table_that_is_outgrown_is_made_anew_with_more_room(lab: NftLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "_LEAST_ROOM", {"endpoints": 4})
    lab.apply(Plan(node="node", revision="1", tables={}))
    # Each service port has two endpoints of a family; a new table has room for twice as many as there are.
    for count, room in ((1, 4), (2, 4), (3, 12), (6, 12), (7, 28), (2, 28)):
        plan = plan_of(*(service(v, 80 + number, *PODS) for number in range(count) for v in (4, 6)))
        assert lab.apply(plan).failed == ()
        assert lab.observe()["service_ports"] == dict(plan.table("service_ports"))
        assert lab.resync(plan).applied == 0
        sizes = [int(line.split()[1]) for line in lab.listing().splitlines() if line.strip().startswith("size")]
        assert min(sizes) == room
    lab.apply(Plan(node="node", revision="1", tables={}))


def test_kernel_without_nft_rights_is_a_clear_error(tmp_path: Path) -> None:
    driver = NftDriver(tmp_path / "no-such-namespace")
    with pytest.raises(FileNotFoundError, match="no-such-namespace"):
        asyncio.run(driver.start())
    asyncio.run(driver.close())


@dataclasses.dataclass(frozen=True)
class Universe:
    """What random plans are drawn from: few enough that rows meet again."""

    random: random.Random

    def plan(self) -> Plan:
        draw = self.random
        rows: dict[str, list[Row]] = {
            "pod_sources": [
                PodSource(host_ifname=f"fl{number:012x}", address=address)
                for number in range(1, 5)
                for address in (f"10.244.1.{number}", f"fd10:244::{number:x}")
                if draw.random() < 0.5
            ],
            "local_ranges": [
                LocalRange(prefix=each)
                for each in ("10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8")
                if draw.random() < 0.4
            ],
            "nat_exemptions": [
                NatExemption(prefix=f"{each}/{length}")
                for each, length in (
                    ("10.0.0.0", 9),
                    ("10.128.0.0", 9),
                    ("10.1.0.0", 16),
                    ("255.255.255.255", 32),
                    ("fd00::", 64),
                    ("ffff::", 16),
                )
                if draw.random() < 0.5
            ],
        }
        services = [
            ServicePort(
                address=address,
                protocol=protocol,
                port=port,
                endpoints=tuple(
                    sorted(
                        Endpoint(f"10.244.2.{number}" if "." in address else f"fd10:244:2::{number:x}", 8080)
                        for number in draw.sample(range(1, 13), draw.choice((0, 1, 2, 3, 8, 12)))
                    )
                ),
            )
            for address in ("10.96.0.1", "10.96.0.2", "fd10:96::1")
            for protocol, port in (("tcp", 80), ("udp", 80), ("sctp", 9))
            if draw.random() < 0.7
        ]
        return plan_of(*services, rows=rows)


@pytest.mark.parametrize("seed", range(3))
def test_any_plan_after_any_other(lab: NftLab, seed: int) -> None:
    universe = Universe(random.Random(seed))
    for _ in range(25):
        plan = universe.plan()
        assert lab.apply(plan).failed == ()
        observed = asyncio.run(lab.start().observe())
        for table in ("pod_sources", "cluster_addresses", "service_ports"):
            assert dict(observed[table]) == dict(plan.table(table))
        fresh = lab.start()
        assert asyncio.run(fresh.apply(plan)).applied == 0
