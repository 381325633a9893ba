"""What rules write to the kernel's packet log, and how the log's messages are read: verdicts with the rule that decided them.

Drops carry the number of the rule that dropped them in the packet's mark; nobody else sees it, for the packet goes no further. Permitted
connections carry no number: which rules let them through follows from the rows (`observe.rules`). Source: include/uapi/linux/netfilter/
nfnetlink_log.h. It must do no I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

import msgspec

from fairlead.observe.packet import Ends, parse

GROUP = 8686
"""Number of our log group; other programs have others."""
ALLOWED, DENIED = "allowed", "denied"
"""Prefixes of what is logged."""
PACKET_BYTES = 128
"""How much of a packet is copied: the headers."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_LOG = 4 << 8
_PACKET, CONFIG = _LOG | 0, _LOG | 1
_ERROR = 2
_REQUEST, _ACK = 0x1, 0x4
_MARK, _TIME, _PAYLOAD, _PREFIX = 2, 3, 9, 10
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT, _CFG_QTHRESH = 1, 2, 4, 5
_BIND, _COPY_PACKET = 1, 2


class Logged(msgspec.Struct, frozen=True, gc=False):
    """One message of the log."""

    verdict: str
    """`allowed` or `denied`."""
    ends: Ends
    rule: int = 0
    """Number of the rule that dropped it; see `number_of`."""
    time_s: float | None = None
    """Seconds since the epoch when the packet arrived, where the kernel stamped it."""


def number_of(rule: str) -> int:
    """Return the number that stands for a rule of this name: never 0. Two names of a node may share one, hardly ever."""
    return crc32(rule.encode()) or 1


def binding(group: int) -> bytes:
    """Return the request that has the messages of a group sent to this socket."""
    body = _attribute(_CFG_CMD, bytes((_BIND,)))
    body += _attribute(_CFG_MODE, struct.pack(">IBx", PACKET_BYTES, _COPY_PACKET))
    # Many packets in one message, but none waits for company longer than a tenth of a second.
    body += _attribute(_CFG_TIMEOUT, struct.pack(">I", 10)) + _attribute(_CFG_QTHRESH, struct.pack(">I", 64))
    return _HEADER.pack(20 + len(body), CONFIG, _REQUEST | _ACK, 0, 0) + struct.pack(">BBH", 0, 0, group) + body


def refusal(datagram: bytes) -> int | None:
    """Return the errno that answers a request (0: done), None when the datagram is no answer."""
    for kind, payload in _messages(datagram):
        if kind == _ERROR and len(payload) >= 4:
            return -int(struct.unpack_from("=i", payload)[0])
    return None


def logged(datagram: bytes) -> Iterator[Logged]:
    """Yield what a datagram of the log says; what is not ours or not understood is left out."""
    for kind, payload in _messages(datagram):
        if kind != _PACKET or len(payload) < 4:
            continue
        found = dict(_each(payload[4:]))
        verdict = found.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
        ends = parse(found.get(_PAYLOAD, b""))
        if verdict in (ALLOWED, DENIED) and ends is not None:
            yield Logged(
                verdict=verdict,
                ends=ends,
                rule=int.from_bytes(found.get(_MARK, b""), "big") if verdict == DENIED else 0,
                time_s=_time_s(found.get(_TIME, b"")),
            )


def _time_s(stamp: bytes) -> float | None:
    if len(stamp) != 16:
        return None
    seconds, micros = struct.unpack(">QQ", stamp)
    return float(seconds + micros / 1e6)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _each(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)
