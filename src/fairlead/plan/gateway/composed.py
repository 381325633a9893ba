"""Texts that are made of what is known of a request: parts in their order, so that nothing in a request is ever taken for one of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Variable: TypeAlias = Literal[
    "scheme", "host", "http_host", "request_method", "request_uri", "uri", "escaped_request_uri", "escaped_url"
]
"""In the words of ingress-nginx. `host` has no port, `http_host` has that of the request; `uri` has no query; `escaped_url` is all of it."""


class Text(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Printable ASCII characters without blanks."""

    text: str

    def __str__(self) -> str:
        """Return it as text, for plans."""
        return self.text


class OfRequest(msgspec.Struct, frozen=True, tag="request", tag_field="kind"):
    """What the request says."""

    variable: Variable

    def __str__(self) -> str:
        """Return it as text, for plans."""
        return f"${self.variable}"


Composed: TypeAlias = tuple[Text | OfRequest, ...]
"""None: no text."""
