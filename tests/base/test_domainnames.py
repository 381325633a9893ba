"""Names in wire form, and the patterns of policies."""

from __future__ import annotations

import pytest

from fairlead.base.domainnames import labels, name, pattern, suffixes, text


def test_a_name_is_its_labels_in_lower_case() -> None:
    packed = name("WWW.Example.com.")
    assert packed == b"\x03www\x07example\x03com\0" == name("www.example.com")
    assert labels(packed) == [b"www", b"example", b"com"]
    assert text(packed) == "www.example.com."
    assert [text(each) for each in suffixes(packed)] == ["www.example.com.", "example.com.", "com.", "."]


@pytest.mark.parametrize("given", ["a..b", "x" * 64 + ".com", ".".join(["abcdefgh"] * 30), "bücher.example"])
def test_what_is_no_name(given: str) -> None:
    with pytest.raises(ValueError):
        name(given)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("example.com", "example.com"),
        ("Example.COM.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("_sip.example.com", "_sip.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_patterns(given: str, canonical: str) -> None:
    assert pattern(given) == canonical == pattern(canonical)


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "*",
        "*.",
        "*.com",
        "com",
        "*.*.example.com",
        "a.*.com",
        "*a.com",
        "a..com",
        "example.com..",
        "-a.com",
        "a-.com",
    ]
    + ["bücher.example", "a b.com", "10.0.0.0/8", "x" * 64 + ".com", ".".join(["abcdefgh"] * 30)],
)
def test_what_is_no_pattern(given: str) -> None:
    with pytest.raises(ValueError):
        pattern(given)
