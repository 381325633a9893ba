"""The ends of a packet, from the first bytes of its IP header on. Hostile input: whatever is cut off or nonsense is no packet.

Source: RFC 791, RFC 8200. It must do no I/O.
"""

from __future__ import annotations

import msgspec

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
"""Protocol number → name; others are named by their number."""
_WITH_PORTS = (6, 17, 132)
_EXTENSIONS = (0, 43, 60)
"""IPv6 headers that say their length in units of eight bytes, without the first."""
_FRAGMENT = 44
_MOST_EXTENSIONS = 8


class Ends(msgspec.Struct, frozen=True, gc=False):
    """From where to where a packet goes; ports are 0 where the protocol has none, or this fragment does not hold them."""

    source: bytes
    """4 or 16 bytes."""
    destination: bytes
    protocol: int
    source_port: int = 0
    destination_port: int = 0

    @property
    def protocol_name(self) -> str:
        """Return `tcp`, `udp`, …, or the number as text."""
        return PROTOCOLS.get(self.protocol, str(self.protocol))


def parse(packet: bytes) -> Ends | None:
    """Return the ends of an IPv4 or IPv6 packet, of which any part may be missing at the end; None when it is neither."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        header_bytes = (packet[0] & 15) * 4
        holds_ports = header_bytes >= 20 and not int.from_bytes(packet[6:8], "big") & 0x1FFF
        return _ends(packet, packet[12:16], packet[16:20], packet[9], header_bytes if holds_ports else None)
    if version == 6 and len(packet) >= 40:
        protocol, start = _upper(packet)
        return _ends(packet, packet[8:24], packet[24:40], protocol, start)
    return None


def _upper(packet: bytes) -> tuple[int, int | None]:
    """Return protocol and place of what follows the IPv6 headers; no place when a later fragment holds it."""
    following, start = packet[6], 40
    for _ in range(_MOST_EXTENSIONS):
        if following not in (*_EXTENSIONS, _FRAGMENT) or start + 8 > len(packet):
            break
        if following == _FRAGMENT and int.from_bytes(packet[start + 2 : start + 4], "big") & 0xFFF8:
            return packet[start], None
        length = 8 if following == _FRAGMENT else 8 * (packet[start + 1] + 1)
        following, start = packet[start], start + length
    return following, start


def _ends(packet: bytes, source: bytes, destination: bytes, protocol: int, start: int | None) -> Ends:
    if start is None or protocol not in _WITH_PORTS or start + 4 > len(packet):
        return Ends(source, destination, protocol)
    ports = int.from_bytes(packet[start : start + 2], "big"), int.from_bytes(packet[start + 2 : start + 4], "big")
    return Ends(source, destination, protocol, *ports)
