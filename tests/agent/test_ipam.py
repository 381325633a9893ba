from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.agent.ipam import AddressTaken, Exhausted, Ipam, OutsideRange

CIDRS = ("10.244.1.0/24", "fd10:244:0:1::/64")


def test_gives_one_address_of_each_family_in_turn() -> None:
    ipam = Ipam(CIDRS)
    assert ipam.take("a") == ("10.244.1.2", "fd10:244:0:1::2")
    assert ipam.take("b") == ("10.244.1.3", "fd10:244:0:1::3")


def test_a_released_address_comes_back_last() -> None:
    ipam = Ipam(["10.0.0.0/29"])
    assert [ipam.take(name)[0] for name in "abc"] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    ipam.release("b")
    ipam.release("a")
    assert [ipam.take(name)[0] for name in "defg"] == ["10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]
    with pytest.raises(Exhausted, match=r"all 5 usable addresses of 10\.0\.0\.0/29 are in use"):
        ipam.take("h")


def test_a_restart_remembers_what_was_released() -> None:
    before = Ipam(CIDRS)
    before.take("a")
    before.take("b")
    before.release("a")
    after = Ipam(CIDRS, before.history)
    after.adopt("b", ["10.244.1.3", "fd10:244:0:1::3"])
    assert after.take("c") == ("10.244.1.4", "fd10:244:0:1::4")


def test_without_one_family_nothing_is_taken_of_the_other() -> None:
    ipam = Ipam(["10.0.0.0/24", "fd00::/126"])
    ipam.take("a")
    ipam.take("b")
    with pytest.raises(Exhausted, match="fd00::/126"):
        ipam.take("c")
    assert ipam.ranges[0].used == 2
    assert ipam.exhausted() == "2 of 2 usable addresses of fd00::/126 are in use"


def test_several_ranges_of_a_family_are_used_one_after_the_other() -> None:
    ipam = Ipam(["10.0.0.0/30", "10.1.0.0/30"])
    assert [ipam.take(name) for name in "ab"] == [("10.0.0.2",), ("10.1.0.2",)]


@pytest.mark.parametrize(
    ("requested", "error"),
    [
        (["10.244.1.0"], OutsideRange),
        (["10.244.1.1"], OutsideRange),
        (["10.244.1.255"], OutsideRange),
        (["10.244.2.9"], OutsideRange),
        (["10.244.1.8", "10.244.1.9"], OutsideRange),
        (["fd10:244:0:1::1"], OutsideRange),
        (["10.244.1.7"], AddressTaken),
    ],
)
def test_requests_that_cannot_be_met_hold_nothing(requested: list[str], error: type[Exception]) -> None:
    ipam = Ipam(CIDRS)
    ipam.take("other", ["10.244.1.7"])
    with pytest.raises(error):
        ipam.take("a", requested)
    assert [part.used for part in ipam.ranges] == [1, 1]


def test_a_family_that_the_node_lacks_cannot_be_requested() -> None:
    with pytest.raises(OutsideRange, match="fd00::5"):
        Ipam(["10.0.0.0/24"]).take("a", ["fd00::5"])


@pytest.mark.parametrize(
    ("cidr", "usable"),
    [("10.0.0.4/32", 1), ("10.0.0.4/31", 2), ("10.0.0.4/30", 1), ("10.0.0.0/24", 253), ("fd00::/126", 2)],
)
def test_every_usable_address_can_be_had(cidr: str, usable: int) -> None:
    ipam = Ipam([cidr])
    given_out = [ipam.take(str(number))[0] for number in range(usable)]
    assert len(set(given_out)) == usable
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for address in given_out)
    with pytest.raises(Exhausted):
        ipam.take("one more")


@given(st.lists(st.tuples(st.sampled_from(["take", "release"]), st.integers(0, 12))))
def test_no_address_has_two_owners_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    ipam = Ipam(["10.0.0.0/28", "fd00::/124"])
    held: dict[str, tuple[str, ...]] = {}
    for action, number in steps:
        owner = str(number)
        if action == "release":
            ipam.release(owner)
            held.pop(owner, None)
        elif owner not in held:
            held[owner] = ipam.take(owner)
        addresses = [address for pair in held.values() for address in pair]
        assert len(addresses) == len(set(addresses)) == 2 * len(held)
        assert [part.used for part in ipam.ranges] == [len(held)] * 2
