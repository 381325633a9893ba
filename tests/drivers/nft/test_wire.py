"""Bytes of nf_tables messages, against goldens as the kernel's headers say and against damaged input."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import wire
from fairlead.drivers.nft.structure import LAYOUTS, tables


def test_transaction_of_one_element_golden() -> None:
    element = LAYOUTS["services4"].pairs([(bytes.fromhex("0a60000a1100000000350000"), (3).to_bytes(4, "little"))])
    (message,) = wire.element_messages(wire.NEWSETELEM, wire.NFPROTO_INET, "fairlead", "services4", element)
    begin, body, end = (
        "1c000000 1000 0100 00000000 00000000  00 00 000a  08000100 00000007",
        "5c000000 0c0a 0104 01000000 00000000  01 00 0000"
        " 0d000100 666169726c656164 00000000  0e000200 736572766963657334 000000"
        " 28000380 24000180 14000180 10000100 0a60000a1100000000350000 0c000280 08000100 03000000",
        "14000000 1100 0100 02000000 00000000  00 00 000a",
    )
    expected = "".join((begin, body, end)).replace(" ", "")
    assert wire.transaction([message], generation=7).hex() == expected


def test_without_commit_the_end_is_missing() -> None:
    whole, checked = wire.transaction([]), wire.transaction([], commit=False)
    assert whole.startswith(checked)
    assert len(whole) - len(checked) == 20


@pytest.mark.parametrize("count", [1, 1488, 1489, 5000])
def test_no_attribute_outgrows_its_length(count: int) -> None:
    layout = LAYOUTS["endpoints4"]
    pairs = [(number.to_bytes(16, "big"), number.to_bytes(8, "big")) for number in range(count)]
    messages = wire.element_messages(wire.NEWSETELEM, wire.NFPROTO_INET, "fairlead", "endpoints4", layout.pairs(pairs))
    read = [each for message in messages for each in wire.elements(bytes(4) + message.body, layout)]
    assert [(key, data) for key, data, _ in read] == pairs
    assert len(messages) == -(-count // 1489)


@pytest.mark.parametrize("layout", [LAYOUTS["endpoints4"], LAYOUTS["endpoints6"]], ids=["ipv4", "ipv6"])
def test_regular_and_irregular_elements_read_the_same(layout: wire.Layout) -> None:
    pairs = [(bytes([number]) * layout.key_bytes, bytes([number]) * layout.data_bytes) for number in range(3)]
    body = wire.nested(3, *layout.pairs(pairs))
    odd = wire.nested(
        3, *layout.pairs(pairs), wire.nested(1, wire.nested(1, wire.attribute(1, b"key!")), wire.u32(3, 1))
    )
    assert list(wire.elements(bytes(4) + body, layout)) == list(wire.elements(bytes(4) + body))
    assert list(wire.elements(bytes(4) + odd, layout))[-1] == (b"key!", b"", 1)


def test_refused_element_is_found_by_its_place() -> None:
    layout = LAYOUTS["services4"]
    pairs = [(bytes([number]) * 12, bytes(4)) for number in range(3)]
    (message,) = wire.element_messages(wire.NEWSETELEM, 1, "fairlead", "services4", layout.pairs(pairs))
    start = 20 + len(message.body) - 3 * layout.element_bytes
    for number in range(3):
        assert wire.refused_element(message, start + number * layout.element_bytes) == (
            "services4",
            bytes([number]) * 12,
        )
    assert wire.refused_element(message, 0) is None


def test_refusal_reads_errno_words_and_place() -> None:
    request = struct.pack("=IHHII", 200, wire.NEWSETELEM, 1, 5, 0)
    words = struct.pack("=HH", 4 + 4, 1) + b"bad\0" + struct.pack("=HHI", 8, 2, 44)
    payload = struct.pack("=i", -17) + request + words
    assert wire.refusal(wire.NLM_F_CAPPED | wire.NLM_F_ACK_TLVS, payload) == wire.Refusal(5, 17, "bad", 44)
    assert wire.refusal(0, struct.pack("=i", -2) + request) == wire.Refusal(5, 2)
    assert wire.refusal(0, struct.pack("=i", 0)).code == 0


@given(st.binary(max_size=200))
def test_damaged_input_raises_nothing_but_value_errors(data: bytes) -> None:
    for read in (wire.messages, wire.each, wire.elements):
        try:
            list(read(bytes(4) + data))  # type: ignore[operator]
        except ValueError:
            pass


def test_rules_read_back_as_themselves() -> None:
    for table in tables({1, 2, 5}):
        for chain in table.chains:
            for rule in chain.rules:
                encoded = wire.attributes(x.encode(rule))[4]
                assert x.stands_for(x.parse(encoded), x.parse_rule(rule))


def test_rules_differ_by_anything_that_matters() -> None:
    base = (x.meta("l4proto", 0), x.equal(0, b"\6"), x.member("s", 0), x.goto("c"))
    for other in (
        (x.meta("nfproto", 0), *base[1:]),
        (x.meta("l4proto", 1), *base[1:]),
        (base[0], x.equal(0, b"\7"), *base[2:]),
        (base[0], x.at_least(0, b"\6"), *base[2:]),
        (*base[:2], x.member("t", 0), base[3]),
        (*base[:2], x.member("s", 0, inverted=True), base[3]),
        (*base[:3], x.goto("d")),
        (*base[:3], x.jump("c")),
        (*base[:3], x.accept()),
        base[:3],
        (*base, x.drop()),
    ):
        assert not x.stands_for(x.parse_rule(other), x.parse_rule(base))
