"""The listener that nobody connects to: it keeps the proxy's subscription to scopes. Pure. Source: SRDS, LDS (`bind_to_port`).

Envoy has the first listener with scopes wait for all of them and for the tables that they lead to, but not the next one, as all share one
subscription; and it does not ask anew for what it has forgotten with the last. With this one the subscription is as old as the proxy. So a proxy
that starts takes no connection before it has all tables, and one that runs can be told of the tables before the listener.
"""

from __future__ import annotations

import functools

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from fairlead.drivers.xds.clusters import address
from fairlead.drivers.xds.listeners import requests, scoped_manager
from fairlead.drivers.xds.pack import boolean, resource
from fairlead.drivers.xds.protocol import Resource

NAME = "scopes"


@functools.cache
def listener() -> Resource:
    """Return a listener without a socket that looks hosts up by scope."""
    message = listener_pb2.Listener(
        name=NAME,
        address=address("127.0.0.1", 1),
        bind_to_port=boolean(False),
        filter_chains=[listener_components_pb2.FilterChain(filters=[requests(scoped_manager())])],
        stat_prefix=NAME,
    )
    return resource(NAME, message)
