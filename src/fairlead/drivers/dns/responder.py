"""What a question is answered with on this node: records, what the operator says, search paths and kept answers, joined.

No socket and no clock; the resolver is asked only for what it has in memory.
"""

from __future__ import annotations

import random

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.images import Images
from fairlead.drivers.dns.meters import Meters
from fairlead.drivers.dns.overlay import NOTHING
from fairlead.drivers.dns.protocol import Forward, respond
from fairlead.drivers.dns.search import SearchPath, applies, search
from fairlead.drivers.dns.upstream import Resolver
from fairlead.drivers.dns.zone import Zones


class Statistics(msgspec.Struct, frozen=True):
    """What the server did since it was made."""

    questions: int
    malformed: int
    dropped: int
    """Questions beyond what may be outstanding."""


class Responder:
    """Answers packets. `clients` maps packed IP addresses to the search paths of those who have one."""

    def __init__(self, zones: Zones, resolver: Resolver, meters: Meters | None = None) -> None:
        self.zones = zones
        self.resolver = resolver
        self.meters = meters or Meters()
        self.images = Images()
        self.overlay = NOTHING
        self.clients: dict[bytes, SearchPath] = {}
        self.questions = self.malformed = self.dropped = 0
        self._chance = random.Random()
        self._generation = 0

    def statistics(self) -> Statistics:
        """Return the counters."""
        return Statistics(self.questions, self.malformed, self.dropped)

    def renew(self) -> None:
        """Drop kept answers if records changed since they were made; call it before `images` are looked at."""
        self.images.renew(self.zones.serial << 16 | self._generation)

    def reconfigured(self) -> None:
        """Drop kept answers: something other than a record changed."""
        self._generation = (self._generation + 1) & 0xFFFF

    def respond(self, packet: bytes, host: bytes, *, stream: bool) -> bytes | Forward | None:
        """Return the response if there is one at once, None for what must not be answered. `host`: the client's packed address."""
        self.questions += 1
        try:
            query = wire.parse_query(packet)
        except wire.Malformed as malformed:
            self.malformed += 1
            return malformed.reply
        limit = limit_of(query, stream=stream)
        recursion = self.resolver.available
        reply = respond(query, self.zones, self._chance, limit=limit, recursion=recursion, overlay=self.overlay)
        version, protocol = 1 + (len(host) == 16), "tcp" if stream else "udp"
        searched = False
        if isinstance(reply, bytes) and reply[3] & 0xF == wire.NXDOMAIN:
            path = self.clients.get(host)
            if path is not None and applies(query, path):
                found = search(query, reply, path, self.zones, self._chance, limit=limit, overlay=self.overlay)
                searched = found is not reply
                reply = found
        elif isinstance(reply, bytes) and not stream:
            self.images.keep(packet, reply, self.meters.tally(query.type, reply[3] & 0xF))
        if isinstance(reply, Forward):
            reply = self.resolver.quick(reply, limit=limit)
        if isinstance(reply, Forward):
            return reply
        self.meters.asked(version, protocol, query.type, reply[3] & 0xF, searched=searched)
        return reply

    async def answer(self, forward: Forward, host: bytes, *, stream: bool) -> bytes:
        """Return the response that others must be asked for."""
        query = forward.query
        reply = await self.resolver.answer(forward, limit=limit_of(query, stream=stream))
        self.meters.asked(
            1 + (len(host) == 16),
            "tcp" if stream else "udp",
            query.type,
            reply[3] & 0xF,
            searched=forward.otherwise is not None,
        )
        return reply


def limit_of(query: wire.Query, *, stream: bool) -> int:
    """Return the size that the response may have."""
    return wire.TCP_BYTES if stream else min(query.udp_bytes, wire.UDP_BYTES)
