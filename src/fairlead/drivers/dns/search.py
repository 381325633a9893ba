"""The search path of a pod, walked on the server: `www.example.com` in a pod costs one question instead of four. Pure.

A pod's resolver appends each domain of its search path before it asks for the name itself (`ndots:5`). Its first question tells the
rest: if no expansion exists, it is answered with an alias to the name that the client would find in the end. Whatever would make
clients of different kinds disagree (an expansion without records, a failure) is answered with the plain truth, and the client
walks on by itself. Only a pod's own namespace is completed, so the same name asked from elsewhere stays NXDOMAIN.
"""

from __future__ import annotations

import random

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.overlay import NOTHING, Overlay
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.zone import NEGATIVE_TTL_S, Zones

_TYPES = (wire.A, wire.AAAA)
_LEAST_LABELS = 2


class SearchPath(msgspec.Struct, frozen=True, gc=False):
    """The domains that a client appends, in order, as names in wire form."""

    first: bytes
    others: tuple[bytes, ...]


def search_path(namespace: str, domain: str, extra: tuple[str, ...] = ()) -> SearchPath:
    """Return the path that the kubelet gives to pods of `namespace`; `extra` are the search domains of the node. Raises ValueError."""
    others = (f"svc.{domain}", domain, *extra)
    return SearchPath(wire.name(f"{namespace}.svc.{domain}"), tuple(wire.name(each) for each in others))


def applies(query: wire.Query, path: SearchPath) -> bool:
    """Tell whether `query` may be the first step of a search.

    A name of one label is never completed: names of one label exist only inside, and a typing error is nobody else's business.
    """
    if query.type not in _TYPES or query.klass != wire.IN or not query.flags & wire.RD:
        return False
    if not query.name.endswith(path.first):
        return False
    prefix = query.name[: -len(path.first)]
    labels = offset = 0
    while offset < len(prefix):
        offset += 1 + prefix[offset]
        labels += 1
    return labels >= _LEAST_LABELS and offset == len(prefix)


def search(
    query: wire.Query,
    denial: bytes,
    path: SearchPath,
    zones: Zones,
    chance: random.Random,
    *,
    limit: int,
    overlay: Overlay = NOTHING,
) -> bytes | Forward:
    """Return what a client that walks `path` finds in the end; `denial` is the answer to the question as it stands."""
    prefix = query.name[: -len(path.first)]
    outside: list[bytes] = []
    for suffix in (*path.others, b"\0"):
        name = prefix + suffix
        if len(name) > wire.MOST_NAME_BYTES:
            continue
        inside = zones.apex(name) is not None and not overlay.knows(name)
        sets = zones.sets(name) if inside else None
        if inside and sets is None:
            continue
        if inside and not sets:
            break
        if not inside and not overlay.knows(name):
            outside.append(name)
            continue
        if outside:
            # Found only if nothing before it exists outside: for that the client has to ask.
            break
        return _alias(
            query, respond(query, zones, chance, limit=limit, recursion=True, overlay=overlay, alias=name), denial
        )
    found: Forward | None = None
    for name in reversed(outside):
        chain = (wire.record(query.name, wire.CNAME, NEGATIVE_TTL_S, name),)
        found = Forward(query, name, chain, otherwise=denial, then=found, last=name == prefix + b"\0")
    return found or denial


def _alias(query: wire.Query, reply: bytes | Forward, denial: bytes) -> bytes | Forward:
    return msgspec.structs.replace(reply, otherwise=denial) if isinstance(reply, Forward) else reply
