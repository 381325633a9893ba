"""Sessions of a route, as filters: Envoy's stateful session, and a script that hides from clients what it says. Pure.

Clients must not learn the addresses of pods, which is what Envoy's own tokens are. Only hosts with sessions carry the filters, and the
script's memory. Source: GEP-1619; envoy.extensions.filters.http.stateful_session and lua.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.http.stateful_session.header.v3 import header_pb2
from google.protobuf import struct_pb2

from fairlead.drivers.xds import late as chosen_late
from fairlead.drivers.xds.pack import packed
from fairlead.drivers.xds.unbound import FilterChain, FilterChainConfigPerRoute
from fairlead.plan.gateway.route import GatewayRoute, NamedValue, Session

PLACE = "fairlead.session"
"""Name of the filter in listeners."""
INNER = "x-fairlead-session"
"""Header by which the two filters speak to each other; it leaves the proxy in neither direction."""
_LUA = "envoy.filters.http.lua"
_TAG = 8
_SCRIPT = (resources.files(__package__) / "session.lua").read_text()


def parts(row: GatewayRoute) -> Iterator[GatewayRoute]:
    """Yield a route in parts that decide which backend a session has: first those of clients with a token, last everybody else's.

    A session outlives the choice by weight, so a token says for which backend it is (GEP-1619, traffic splitting).
    """
    session = row.session
    if session is None or len(row.clusters) + bool(row.invalid_weight) < 2:
        yield row
        return
    for each in row.clusters:
        tag = tag_of(each.cluster)
        alone = msgspec.structs.replace(each, weight=1)
        yield msgspec.structs.replace(
            row, clusters=(alone,), invalid_weight=0, headers=(*row.headers, _shown(session, tag))
        )
    yield row


def tag_of(cluster: str) -> str:
    """Return what tokens for a backend begin with."""
    return hashlib.sha256(cluster.encode()).hexdigest()[:_TAG]


def install(host: Any, *, late: bool = False) -> None:
    """Give a host the filters, once for all its routes as each has a script's memory, and switch them off where there are no sessions."""
    host.typed_per_filter_config[PLACE].CopyFrom(_filters(late=late))
    off = chosen_late.nothing() if late else packed(route_pb2.FilterConfig(disabled=True))
    for each in host.routes:
        if _LUA not in each.metadata.filter_metadata:
            each.typed_per_filter_config[PLACE].CopyFrom(off)


@functools.cache
def _filters(*, late: bool) -> Any:
    state = extension_pb2.TypedExtensionConfig(
        name="envoy.http.stateful_session.header", typed_config=packed(header_pb2.HeaderBasedSessionState(name=INNER))
    )
    script = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=_SCRIPT))
    chain = (script, stateful_session_pb2.StatefulSession(session_state=state))
    if late:
        return chosen_late.chosen(chain)
    return packed(FilterChainConfigPerRoute(filter_chain=FilterChain(filters=chosen_late.named(chain))))


def options(session: Session, cluster: str) -> base_pb2.Metadata:
    """Return what the script is told of a route; texts of users are values here and never part of the script."""
    values = struct_pb2.Struct()
    values.update(
        {
            "key": session.key,
            "name": session.name,
            "header": session.header,
            "permanent": session.permanent,
            "absolute": session.absolute_ms // 1000,
            "idle": session.idle_ms // 1000,
            "tag": tag_of(cluster),
        }
    )
    return base_pb2.Metadata(filter_metadata={_LUA: values})


def _shown(session: Session, tag: str) -> NamedValue:
    if session.header:
        return NamedValue(session.name, f"{tag}.*", regex=True)
    return NamedValue("cookie", f'(.*;)?\\s*{re.escape(session.name)}\\s*=\\s*"?{tag}.*', regex=True)
