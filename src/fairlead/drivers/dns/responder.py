"""What a question is answered with on this node: records, what the operator says, search paths and kept answers, joined.

No socket and no clock; the resolver is asked only for what it has in memory.
"""

from __future__ import annotations

import asyncio
import random
import struct

import msgspec

from fairlead.drivers.dns import wire
from fairlead.drivers.dns.admission import Admission, Held, told
from fairlead.drivers.dns.images import Images
from fairlead.drivers.dns.meters import Meters
from fairlead.drivers.dns.overlay import NOTHING
from fairlead.drivers.dns.protocol import Forward, failure, respond
from fairlead.drivers.dns.search import SearchPath, applies, search
from fairlead.drivers.dns.upstream import Resolver
from fairlead.drivers.dns.zone import Zones

_PATIENCE_S = 2.0
"""How long an answer waits for its addresses to be permitted."""
_NOT_PERMITTED = (0, "its addresses cannot be permitted now")


class Statistics(msgspec.Struct, frozen=True):
    """What the server did since it was made."""

    questions: int
    malformed: int
    dropped: int
    """Questions beyond what may be outstanding."""


class Responder:
    """Answers packets. `clients` maps packed IP addresses to the search paths of those who have one."""

    def __init__(
        self,
        zones: Zones,
        resolver: Resolver,
        meters: Meters | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`admission` permits the addresses of names outside before a client is told."""
        self.zones = zones
        self.resolver = resolver
        self.meters = meters or Meters()
        self._admission = admission
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

    def respond(self, packet: bytes, host: bytes, *, stream: bool) -> bytes | Forward | Held | None:
        """Return the response if there is one at once, what `answer` must be awaited for, or None for what must not be answered.

        `host` is the client's packed address.
        """
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
        elif isinstance(reply, bytes) and not stream and not self._is_of_operator(query, reply):
            self.images.keep(packet, reply, self.meters.tally(query.type, reply[3] & 0xF))
        if isinstance(reply, Forward):
            found = self.resolver.quick(reply, limit=limit)
            admitted = found if isinstance(found, Forward) else self._admit(query, found)
        else:
            admitted = self._admit(query, reply) if self._is_of_operator(query, reply) else reply
        if not isinstance(admitted, bytes):
            return admitted
        reply = admitted
        self.meters.asked(version, protocol, query.type, reply[3] & 0xF, searched=searched)
        return reply

    async def answer(self, pending: Forward | Held, host: bytes, *, stream: bool) -> bytes:
        """Return the response that others must be asked for, or to be permitted by."""
        query = pending.query
        if isinstance(pending, Forward):
            reply = await self.resolver.answer(pending, limit=limit_of(query, stream=stream))
            found = self._admit(query, reply)
        else:
            found = pending
        reply = await self._permitted(found, stream=stream) if isinstance(found, Held) else found
        self.meters.asked(
            1 + (len(host) == 16),
            "tcp" if stream else "udp",
            query.type,
            reply[3] & 0xF,
            searched=isinstance(pending, Forward) and pending.otherwise is not None,
        )
        return reply

    def _is_of_operator(self, query: wire.Query, reply: bytes) -> bool:
        """Tell whether a response may tell what the operator says of a name: that is of the world outside, also behind an alias."""
        if self._admission is None or not self.overlay.hosts:
            return False
        return self.zones.apex(query.name) is None or wire.HEADER.unpack_from(reply)[3] > 1

    def _admit(self, query: wire.Query, reply: bytes) -> bytes | Held:
        """Return the response when its addresses are permitted, or tells none."""
        if self._admission is None:
            return reply
        try:
            found = told(reply)
        except (IndexError, struct.error):
            return failure(query, limit=wire.UDP_BYTES, recursion=True, why=(0, "the answer cannot be read"))
        if reply[3] & 0xF == wire.NXDOMAIN:
            self._admission.nothing(query.name)
        if not found.addresses or self._admission.permits(found.names, found.addresses):
            return reply
        return Held(query, reply, found)

    async def _permitted(self, held: Held, *, stream: bool) -> bytes:
        assert self._admission is not None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._admission.permit(held.told.names, held.told.addresses)
        except (OSError, TimeoutError):
            self.meters.unpermitted += 1
            return failure(held.query, limit=limit_of(held.query, stream=stream), recursion=True, why=_NOT_PERMITTED)
        return held.reply


def limit_of(query: wire.Query, *, stream: bool) -> int:
    """Return the size that the response may have."""
    return wire.TCP_BYTES if stream else min(query.udp_bytes, wire.UDP_BYTES)
