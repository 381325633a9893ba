"""Sets of addresses against sets of Python's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.base.address_set import AddressSet

WORLD = [ipaddress.ip_network("10.0.0.0/28"), ipaddress.ip_network("fd00::/124")]
PREFIXES = [str(each) for world in WORLD for length in range(5) for each in world.subnets(prefixlen_diff=length)]
some = st.lists(st.sampled_from(PREFIXES), max_size=6)


def members(prefixes: Iterable[str]) -> set[object]:
    return {address for each in prefixes for address in ipaddress.ip_network(each)}


@given(some, some)
def test_union_difference_and_what_is_in_both(a: list[str], b: list[str]) -> None:
    left, right = AddressSet.of(a), AddressSet.of(b)
    assert members((left | right).prefixes()) == members(a) | members(b)
    assert members((left - right).prefixes()) == members(a) - members(b)
    assert members((left & right).prefixes()) == members(a) & members(b)
    # Equal sets are equal values, however they came about.
    assert (left - right) | (left & right) == left


@given(some)
def test_what_is_left_of_everything_and_the_rest_are_everything(a: list[str]) -> None:
    everything, some_of_it = AddressSet.everything(), AddressSet.of(a)
    rest = everything - some_of_it
    assert rest & some_of_it == AddressSet()
    assert rest | some_of_it == everything


def test_everything_and_nothing_as_prefixes() -> None:
    assert AddressSet.everything().prefixes() == ("0.0.0.0/0", "::/0")
    assert AddressSet().prefixes() == ()
    assert (AddressSet.everything() - AddressSet.of(["128.0.0.0/1", "::/1"])).prefixes() == ("0.0.0.0/1", "8000::/1")


def test_what_is_no_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        AddressSet.of(["nonsense"])
