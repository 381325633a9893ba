"""Requests as bytes: whole, in pieces, and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.lab.responder.http1 import BadRequest, Parser, Request, Response, encode, looks_like


def parse(data: bytes) -> list[Request]:
    parser, found = Parser(), []
    parser.feed(data)
    while (request := parser.next()) is not None:
        found.append(request)
    return found


STREAM = (
    b"GET /a?x=1&y= HTTP/1.1\r\nHost: one\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: two\r\nContent-Length: 3\r\n\r\nabc"
    b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
    b"\r\nGET http://proxy.example/d HTTP/1.0\r\n\r\n"
)


def summary(requests: list[Request]) -> list[tuple[str, str, bytes, bool]]:
    return [(request.method, request.path, request.body, request.keep_alive) for request in requests]


WANTED = [
    ("GET", "/a", b"", True),
    ("POST", "/b", b"abc", True),
    ("PUT", "/c", b"abcde", True),
    ("GET", "/d", b"", False),
]


def test_a_stream_of_requests() -> None:
    requests = parse(STREAM)
    assert summary(requests) == WANTED
    assert requests[0].headers == {"host": "one", "x-a": "1, 2"}
    assert requests[0].query == {"x": "1", "y": ""}


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_it_does_not_matter_how_bytes_arrive(cuts: list[int]) -> None:
    parser, found = Parser(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(places, places[1:], strict=False):
        parser.feed(STREAM[start:end])
        while (request := parser.next()) is not None:
            found.append(request)
    assert summary(found) == WANTED


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000, 431),
    ],
)
def test_malformed_requests_have_a_status(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(data)
    assert caught.value.status == status


@given(st.binary(max_size=300))
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    try:
        parse(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + noise)
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        (b"GET ", True),
        (b"G", None),
        (b"GETX", False),
        (b"", None),
        (b"\x16\x03\x01", False),
        (b"PO", None),
        (b"hi\n", False),
    ],
)
def test_first_bytes_tell_the_protocol(first: bytes, verdict: bool | None) -> None:
    assert looks_like(first) is verdict


def test_a_response_as_bytes() -> None:
    response = Response(b"hi", status=418, headers=[("X-A", "b")])
    assert encode(response, head_only=False, keep_alive=True) == (
        b"HTTP/1.1 418 I'm a Teapot\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n"
        b"X-A: b\r\nConnection: keep-alive\r\n\r\nhi"
    )
    assert encode(response, head_only=True, keep_alive=False).endswith(b"Connection: close\r\n\r\n")
    assert encode(Response(b"", status=204), head_only=False, keep_alive=True) == (
        b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"
    )
    assert encode(Response(status=599), head_only=False, keep_alive=True).startswith(b"HTTP/1.1 599 Unassigned\r\n")
