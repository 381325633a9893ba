"""What the lab's internet says about its names, read with an independent codec."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from fairlead.lab.outside.names import Names


def said(name: str, kind: str, *, stream: bool = False) -> str:
    packet = dns.message.make_query(name, kind).to_wire()
    reply = Names().answer(packet, stream=stream)
    assert reply is not None
    message = dns.message.from_wire(reply, raise_on_truncation=False)
    records = [str(item) for rrset in message.answer for item in rrset]
    return " ".join([dns.rcode.to_text(message.rcode()), *records[:3], "soa" if message.authority else ""]).strip()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("www.example.com", "A", "NOERROR 198.51.100.10"),
        ("WWW.example.com", "AAAA", "NOERROR fd10:198::10"),
        ("v4.example.com", "AAAA", "NOERROR soa"),
        ("alias.example.com", "A", "NOERROR www.example.com. 198.51.100.10"),
        ("alias.example.com", "CNAME", "NOERROR www.example.com."),
        ("x.y.any.example.com", "A", "NOERROR 198.51.100.10"),
        ("none.example.com", "A", "NXDOMAIN soa"),
        ("www.example.com.svc", "A", "NXDOMAIN soa"),
        ("fail.example.com", "A", "SERVFAIL"),
        ("text.example.com", "TXT", 'NOERROR "hello"'),
    ],
)
def test_answers(name: str, kind: str, expected: str) -> None:
    assert said(name, kind) == expected


def test_long_answers_need_a_stream_and_questions_are_counted() -> None:
    names = Names()
    packet = dns.message.make_query("big.example.com", "A", use_edns=0).to_wire()
    short, long = (names.answer(packet, stream=stream) for stream in (False, True))
    assert short and long and len(short) <= 1232 < len(long)
    assert short[2] & 2
    assert names.asked == {"big.example.com. A": 2}
    assert names.answer(b"nonsense", stream=False) is None
