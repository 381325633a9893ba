"""Rows of the plan as elements and back: goldens in hexadecimal, properties of the order of endpoints and of intervals."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.nft import elements
from fairlead.drivers.nft.expressions import interface_name
from fairlead.plan.tables import ClusterAddress, Endpoint, PodSource, ServiceAddress, ServicePort, UntrackedPort


def port_of(address: str, protocol: str, port: int, *endpoints: Endpoint) -> ServicePort:
    return ServicePort(address=address, protocol=protocol, port=port, endpoints=endpoints)


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (port_of("10.96.0.1", "tcp", 443), "0a600001 06000000 01bb0000"),
        (port_of("10.96.0.10", "udp", 53), "0a60000a 11000000 00350000"),
        (port_of("10.96.0.10", "sctp", 1), "0a60000a 84000000 00010000"),
        (port_of("fd10:96::a", "udp", 53), "fd100096000000000000000000 00000a 11000000 00350000"),
    ],
)
def test_service_key_is_address_protocol_port_each_padded(row: ServicePort, key: str) -> None:
    assert elements.service_key(row).hex() == key.replace(" ", "")
    assert elements.row_of_service(elements.PORTS["service_ports"], elements.service_key(row), 0, b"") == row


def test_endpoints_are_address_and_padded_port() -> None:
    row = port_of("10.96.0.1", "tcp", 443, Endpoint("10.10.0.5", 6443), Endpoint("10.10.0.6", 6443))
    assert [each.hex() for each in elements.endpoints(row)] == ["0a0a0005192b0000", "0a0a0006192b0000"]


def test_members_are_keys_of_the_set_of_their_family() -> None:
    source = PodSource(host_ifname="fl0123456789ab", address="fd00::1")
    name, key = elements.pod_source(source)
    assert (name, key) == ("pod_sources6", b"fl0123456789ab\0\0" + bytes.fromhex("fd" + "00" * 14 + "01"))
    assert elements.row_of_member(name, key) == ("pod_sources", source)
    found = [elements.virtual_address(kind(address="10.96.0.1")) for kind in (ClusterAddress, ServiceAddress)]
    assert found == [(f"{name}4", bytes.fromhex("0a600001")) for name in ("cluster_addresses", "service_addresses")]
    assert len(interface_name("eth0")) == 16


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (port_of("10.96.0.1", "icmp", 1), "protocol 'icmp' is none of tcp, udp, sctp"),
        (port_of("10.96.0.1", "tcp", 0), "port 0 is not between"),
        (port_of("10.96.0.1", "tcp", 65536), "port 65536 is not between"),
        (port_of("10.96.0", "tcp", 1), "'10.96.0' is not an IPv4 or IPv6 address"),
        (port_of("10.96.0.1", "tcp", 1, Endpoint("fd00::1", 1)), "not of the same family"),
        (port_of("fd00::1", "tcp", 1, Endpoint("10.0.0.1", 1)), "not of the same family"),
        (port_of("10.96.0.1", "tcp", 1, Endpoint("10.0.0.1", 0)), "port 0 is not between"),
        (port_of("10.96.0.1", "tcp", 1, Endpoint("10.0.0.1", 70000)), "port 70000 is not between"),
        (port_of("10.96.0.1", "tcp", 1, Endpoint("pod", 1)), "'pod' is not an IPv4"),
    ],
)
def test_row_at_fault_says_what_is_wrong(row: ServicePort, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elements.service_key(row)
        elements.endpoints(row)


def test_only_the_port_of_dns_can_be_untracked() -> None:
    name, _ = elements.port_member("untracked_ports", UntrackedPort(address="10.96.0.10", protocol="udp", port=53))
    assert name == "untracked_ports4"
    with pytest.raises(ValueError, match="port 54 cannot be untracked"):
        elements.port_member("untracked_ports", UntrackedPort(address="10.96.0.10", protocol="udp", port=54))


values = st.lists(st.binary(min_size=1, max_size=1), unique=True)


@given(values, values)
def test_arranging_keeps_what_can_stay(known: list[bytes], wanted: list[bytes]) -> None:
    arranged = elements.arrange(known, wanted)
    assert sorted(arranged) == sorted(wanted)
    moved = [place for place, each in enumerate(arranged) if place >= len(known) or known[place] != each]
    newcomers = set(wanted) - set(known)
    beyond = {each for each in known[len(wanted) :] if each in wanted}
    assert len(moved) == len(newcomers) + len(beyond)


def test_arranging_what_other_hands_doubled() -> None:
    assert sorted(elements.arrange([b"a", b"a", b"b"], [b"a", b"b", b"c"])) == [b"a", b"b", b"c"]


@st.composite
def prefix_lists(draw: st.DrawFn) -> list[str]:
    bits = draw(st.sampled_from((32, 128)))
    make = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    # Few bits vary, so that prefixes touch, contain each other, and reach both ends of the address space.
    numbers = st.integers(0, 15).map(lambda number: number << (bits - 4))
    lengths = st.integers(0, 4)
    pairs = draw(st.lists(st.tuples(numbers, lengths), max_size=8))
    return [str(make((number >> (bits - length) << (bits - length), length))) for number, length in pairs]


@given(prefix_lists())
def test_intervals_cover_the_same_addresses(prefixes: list[str]) -> None:
    by_suffix, problems = elements.intervals(prefixes)
    assert problems == []
    found = by_suffix["4"] | by_suffix["6"]
    assert elements.prefixes(found) == [
        str(each) for each in ipaddress.collapse_addresses(map(ipaddress.ip_network, prefixes))
    ]
    listed = [(first, False) for first, _ in found] + [(beyond, True) for _, beyond in found if beyond is not None]
    assert elements.paired(reversed(listed)) == found


@pytest.mark.parametrize("listed", [[(b"\1", True)], [(b"\1", False), (b"\2", False)], [(b"\0", True), (b"\1", False)]])
def test_bounds_that_make_no_sense_are_no_intervals(listed: list[tuple[bytes, bool]]) -> None:
    assert elements.paired(listed) is None


def test_prefix_at_fault_is_reported() -> None:
    found, problems = elements.intervals(["10.0.0.0/8", "10.0.0.1/8", "nonsense"])
    assert len(found["4"]) == 1
    assert [prefix for prefix, _ in problems] == ["10.0.0.1/8", "nonsense"]


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("services4", "0a60000a 11000000 00350000", ("service_ports", ("10.96.0.10", "udp", 53))),
        ("endpoints4", "0a60000a 11000000 00350000 07000000", ("service_ports", ("10.96.0.10", "udp", 53))),
        ("pod_sources4", b"fl01".ljust(16, b"\0").hex() + "0af40105", ("pod_sources", ("fl01", "10.244.1.5"))),
        ("cluster_addresses4", "0a60000a", ("cluster_addresses", ("10.96.0.10",))),
        ("service_addresses4", "0a60000a", ("service_addresses", ("10.96.0.10",))),
        ("nat_exemptions4", "0a000000", ("nat_exemptions", ("10.0.0.0",))),
    ],
)
def test_refused_element_names_its_row(name: str, key: str, expected: object) -> None:
    assert elements.plan_key(name, bytes.fromhex(key)) == expected
