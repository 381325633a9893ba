"""Quantities: exact values, canonical forms, and rounding as the API does it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.base import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500m", Fraction(1, 2)),
        ("1Ki", 1024),
        ("2G", 2 * 10**9),
        ("1e3", 1000),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("-3", -3),
        (3, 3),
        ("0.1n", Fraction(1, 10**9)),
    ],
)
def test_value(text: str | int, value: Fraction | int) -> None:
    assert quantity.parse(text) == value


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "1e99", "--1", "1.2.3", "9" * 65])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(quantity.QuantityError, match="quantities must match"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "form"), [("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1500", "1500"), ("0", "0"), ("1e3", "1e3")]
)
def test_canonical_form(text: str, form: str) -> None:
    assert quantity.canonical(text) == form


def test_rounding_up() -> None:
    assert quantity.ceil("1001m") == 2
    assert quantity.ceil("3Gi", "1Mi") == 3072
    assert quantity.ceil("5", 0) == 5
    assert (quantity.amount("cpu", "250m"), quantity.amount("cpu", "0.0001")) == (250, 1)
    assert quantity.amount("memory", "1.5Ki") == 1536


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "M", "Ki", "Mi"]))
def test_the_canonical_form_means_the_same(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert quantity.parse(quantity.canonical(text)) == quantity.parse(text)
