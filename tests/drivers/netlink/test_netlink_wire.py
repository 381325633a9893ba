from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.netlink import inet, link, wire


@given(st.dictionaries(st.integers(1, 60), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(found: dict[int, bytes]) -> None:
    packed = b"".join(wire.attribute(kind, payload) for kind, payload in found.items())
    assert len(packed) % 4 == 0
    assert wire.attributes(packed) == found


@given(st.lists(st.tuples(st.integers(16, 100), st.binary(max_size=30)), max_size=5))
def test_messages_come_back(sent: list[tuple[int, bytes]]) -> None:
    data = b"".join(wire.message(kind, 5, number, body) for number, (kind, body) in enumerate(sent))
    assert [(kind, body) for kind, _, _, _, body in wire.messages(data)] == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for decode in (lambda: list(wire.messages(data)), lambda: wire.attributes(data)):
        try:
            decode()
        except ValueError as error:
            assert "netlink" in str(error)


def test_an_error_carries_the_kernels_words() -> None:
    request = wire.message(24, 5, 1, b"x" * 9)
    words = wire.text(1, "Nexthop has invalid gateway")
    payload = (-101).to_bytes(4, "little", signed=True) + request + words
    assert wire.error(wire.NLM_F_ACK_TLVS, payload) == (101, "Nexthop has invalid gateway")
    capped = (-101).to_bytes(4, "little", signed=True) + request[:16] + words
    assert wire.error(wire.NLM_F_ACK_TLVS | wire.NLM_F_CAPPED, capped) == (101, "Nexthop has invalid gateway")
    assert wire.error(0, (0).to_bytes(4, "little")) == (0, "")


@pytest.mark.parametrize(
    "route",
    [
        {"destination": "10.244.2.0/24", "via": "10.10.0.12", "source": "10.10.0.11"},
        {"destination": "fd10:244:0:2::/64", "via": "fd10:244:0:2::", "onlink": True, "index": 7},
        {"destination": "10.244.1.0/24", "kind": "blackhole"},
        {"destination": "0.0.0.0/0", "index": 3},
    ],
    ids=lambda route: route["destination"],
)
def test_routes_come_back(route: dict[str, object]) -> None:
    found = inet.decode_route(inet.add_route(**route).body)  # type: ignore[arg-type]
    assert found is not None
    assert {name: getattr(found, name) for name in route} == route


def test_foreign_routes_are_not_seen() -> None:
    assert inet.decode_route(inet.add_route("10.0.0.0/8", index=2, protocol=4).body) is None


def test_a_vxlan_device_comes_back() -> None:
    request = link.add_vxlan("fl-vxlan", vni=7937, port=4789, local="10.10.0.11", mac="66:6c:0a:0a:00:0b", mtu=1450)
    found = link.decode(request.body)
    assert (found.name, found.kind, found.vni, found.port, found.local) == (
        "fl-vxlan", "vxlan", 7937, 4789, "10.10.0.11",
    )  # fmt: skip
    assert (found.mac, found.mtu, found.group) == ("66:6c:0a:0a:00:0b", 1450, link.OURS)


@pytest.mark.parametrize(("address", "mac"), [("10.244.1.5", "02:00:00:00:00:01"), ("fd10::5", "02:00:00:00:00:02")])
def test_neighbors_come_back(address: str, mac: str) -> None:
    assert inet.decode_entry(inet.set_neighbor(4, address, mac, "x").body) == inet.Entry(4, address, mac)
    assert inet.decode_entry(inet.set_forwarding(4, mac, "10.10.0.12", "x").body) == inet.Entry(4, "10.10.0.12", mac)


def test_addresses_come_back() -> None:
    assert inet.decode_address(inet.add_address(9, "fd10::1", "x").body) == inet.Address(9, "fd10::1", 128, True)
    assert inet.family_of("fd10::1") == socket.AF_INET6
