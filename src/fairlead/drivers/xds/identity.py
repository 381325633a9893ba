"""What backends hear of a client's certificate, as headers of routes. Pure. Source: Envoy's substitution formatters, TlsContextMatchOptions.

Whether a certificate was shown, and whether it is believed, a route can only ask by its match: so there is a route for each case.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2

from fairlead.drivers.xds.pack import boolean
from fairlead.plan.gateway.identity import ClientIdentity, Fact

_FORMATS: Mapping[Fact, str] = {
    "certificate": "%DOWNSTREAM_PEER_CERT%",
    "subject": "%DOWNSTREAM_PEER_SUBJECT%",
    "issuer": "%DOWNSTREAM_PEER_ISSUER%",
    "sha1": "%DOWNSTREAM_PEER_FINGERPRINT_1%",
}
_Match = route_pb2.RouteMatch.TlsContextMatchOptions
_CASES: Mapping[str, tuple[tuple[Any, str], ...]] = {
    "always": ((None, "SUCCESS"),),
    "maybe": ((_Match(presented=boolean(True)), "SUCCESS"), (None, "NONE")),
    "untrusted": (
        (_Match(validated=boolean(True)), "SUCCESS"),
        (_Match(presented=boolean(True)), "FAILED:certificate verify failed"),
        (None, "NONE"),
    ),
}
"""What a certificate may be → matches in their order, None for all others, and what is said of it."""


def told(route: Any, client: ClientIdentity) -> Iterator[Any]:
    """Yield a route once for each case of a client's certificate."""
    for match, verdict in _CASES[client.shown]:
        each = copy.deepcopy(route)
        if match is not None:
            each.match.tls_context.CopyFrom(match)
        each.request_headers_to_remove.extend(name for name, _ in client.headers)
        for name, fact in client.headers:
            if fact == "verdict" or verdict != "NONE":
                each.request_headers_to_add.append(_header(name, _FORMATS.get(fact, verdict)))
        yield each


def _header(name: str, value: str) -> Any:
    option = base_pb2.HeaderValueOption
    return option(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=option.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
