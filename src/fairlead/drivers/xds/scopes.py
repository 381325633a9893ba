"""Which table a host's requests are looked up in, where a port has many hosts: a small one, found by the host's name. Pure.

A port with few hosts has one table. One with many has a scope for each exact host, that leads to the table of a hash of its name, and one
for what has no scope of its own, that leads to the table of wildcards. So a changed host makes Envoy build a small table. These are the names alone:
nodes without a Gateway import none of Envoy's messages. Source: SRDS (envoy.config.route.v3.ScopedRouteConfiguration).
"""

from __future__ import annotations

import zlib

HEADER = "x-envoy-attempt-count"
"""Header that holds a request's scope while the proxy looks for its route; what clients say there is overwritten, and backends do not see it.

One that Envoy has a place of its own for and that nothing here makes use of: with any other name each request gets an index of its headers
(HeaderMapImpl). And a short one: Envoy copies the name to look for it, which asks for memory from 23 characters on.
"""
ANY = "*"
_SHARDS = 256
_SHARD = "#"
_OF = "|"
"""Names of ports' tables have neither."""


def place(table: str, domain: str) -> str:
    """Return the table of a domain of a port with many hosts; every domain has one, always the same."""
    shard = ANY if is_wildcard(domain) else f"{zlib.crc32(domain.encode()) % _SHARDS}"
    return f"{table}{_SHARD}{shard}"


def is_wildcard(domain: str) -> bool:
    """Tell whether a domain stands for hosts that are not known by name."""
    return domain.startswith("*")


def port_of(table: str) -> str:
    """Return the table of the port that a table is a part of, or is."""
    return table.partition(_SHARD)[0]


def is_part(table: str) -> bool:
    """Tell whether a table is one of several of its port."""
    return _SHARD in table


def key(table: str, domain: str) -> str:
    """Return the scope of requests for a domain: Envoy tells every listener the scopes of all, so the port is in it."""
    return f"{table}{_OF}{ANY if is_wildcard(domain) else domain}"


def split(name: str) -> tuple[str, str]:
    """Return the port's table and the domain of a scope."""
    port, _, domain = name.rpartition(_OF)
    return port, domain


def of_request(table: str) -> str:
    """Return the scope of a request, as a format of Envoy's."""
    return f"{table.replace('%', '%%')}{_OF}%REQ(:AUTHORITY)%"
