"""Texts that are made of a request: nothing of a request but its host gets to where a URL names one."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.model.gateway.composed import VARIABLES, location, url
from fairlead.plan.gateway.composed import Composed, Text

BASE = "https://app.test"
URI = "/@evil.example/?rd=//evil.example&x=:80"
SAID = {
    "scheme": "https", "host": "app.test", "http_host": "app.test:8443", "request_method": "GET", "request_uri": URI, "uri": "/@evil.example/",
    "escaped_request_uri": quote(URI, safe=""), "escaped_url": quote(BASE + URI, safe=""),
}  # fmt: skip
PIECES = (
    *(f"${each}" for each in VARIABLES), "$other", "$", "${host}", "https://", "http:", "javascript:", "//", "/", "\\", "@", ":", ":80", ".", "a.example",
    "login.test", "?", "#", "&", "rd=", "[", "]", "%2F", " ", "\t", "\r\n", '"', "<", "é", "\x00", "x",
)  # fmt: skip


def said(parts: Composed) -> str:
    return "".join(each.text if isinstance(each, Text) else SAID[each.variable] for each in parts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join), st.sampled_from(["", "rd"]))
def test_no_request_chooses_a_host(text: str, param: str) -> None:
    found = []
    for parts in (lambda: location(text, param), lambda: url(text)):
        try:
            found.append(said(parts()))
        except ValueError:
            continue
    for each in found:
        assert each.isascii() and each.isprintable() and " " not in each
        parts = urlsplit(urljoin(BASE, each))
        assert (parts.scheme in ("http", "https"), parts.username) == (True, None)
        host = parts.hostname or ""
        # A host of the text's own stands in it as it is.
        assert host == "app.test" or host in text.lower(), each


GOOD = {
    "https://a.example:8443/x?y=z": "https://a.example:8443/x?y=z&rd={url}",
    "HTTPS://a.example": "HTTPS://a.example?rd={url}",
    "$pass_access_scheme://$best_http_host/?rd=$uri": "https://app.test:8443/?rd=/@evil.example/",
    "/start": "/start?rd={url}",
    "https://a.example/#/?rm=$request_method": "https://a.example/#/?rm=GET&rd={url}",
    "https://a.example/?ord=1": "https://a.example/?ord=1&rd={url}",
}


@pytest.mark.parametrize("text", GOOD)
def test_where_clients_sign_in(text: str) -> None:
    found = said(location(text, "rd"))
    assert found == GOOD[text].format(url=quote(BASE + URI, safe=""))
    query = urlsplit(found.replace("#/", "")).query
    assert "rd" in parse_qs(query)


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "ftp://a.example", "//a.example", "https://", "/a" * 600, "https://a.example:/", "https://-a"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"no URL|longer"):
        location(text)
