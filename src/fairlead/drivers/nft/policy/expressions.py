"""What policy rules ask of a connection, beyond what `nft.expressions` has: state, direction, ends after translation, mark.

Connections and not packets: the answer is the same for a packet of either direction, so that an established connection can be judged
anew by whatever packet comes next. It must do no I/O.
"""

from __future__ import annotations

import sys

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import wire

INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 1, 2, 4, 8, 64
"""Bits of a connection's state (include/uapi/linux/netfilter/nf_conntrack_common.h)."""
ORIGINAL, REPLY = 0, 1
TCP_SYN, TCP_KINDS = 0x02, 0x17
"""SYN; FIN, SYN, RST and ACK together."""

_STATE, _DIRECTION, _MARK, _PROTOCOL, _SOURCE_PORT = 0, 1, 3, 10, 11
_SOURCE = {"4": 19, "6": 21}
_NOT_EQUAL = 1
_JUMP = -3


def number(value: int) -> bytes:
    """Return a number as the kernel's registers hold it."""
    return value.to_bytes(4, sys.byteorder)


def state(*bits: int) -> x.Rule:
    """Go on only when the connection is in one of these states."""
    mask = number(sum(bits))
    return _ct(_STATE, 0), _masked(0, mask), _compare(0, _NOT_EQUAL, bytes(4))


def direction(value: int) -> x.Rule:
    """Go on only for packets of the original or of the reply direction; not for what has no connection."""
    return _ct(_DIRECTION, 0), x.equal(0, bytes((value,)))


def protocol(register: int) -> x.Expression:
    """Load the connection's protocol number."""
    return _ct(_PROTOCOL, register)


def client_address(version: str, register: int) -> x.Expression:
    """Load the client's own address; go on only for this family (`4` or `6`)."""
    return _ct(_SOURCE[version], register, ORIGINAL)


def server_address(version: str, register: int) -> x.Expression:
    """Load the server's own address, which the client's destination was translated to; go on only for this family."""
    return _ct(_SOURCE[version], register, REPLY)


def server_port(register: int) -> x.Expression:
    """Load the server's own port; only for protocols with ports."""
    return _ct(_SOURCE_PORT, register, REPLY)


def has_mark(value: int) -> x.Rule:
    """Go on only when the connection's mark is `value`."""
    return _ct(_MARK, 0), x.equal(0, number(value))


def set_mark(value: int) -> x.Rule:
    """Set the connection's mark."""
    immediate = _expression("immediate", wire.u32(1, _REGISTER), wire.nested(2, wire.attribute(1, number(value))))
    return immediate, _expression("ct", wire.u32(2, _MARK), wire.u32(4, _REGISTER))


def blame(rule: int) -> x.Rule:
    """Write the number of a rule to the packet's mark, where the packet log finds it; only for packets that go no further."""
    immediate = _expression("immediate", wire.u32(1, _REGISTER), wire.nested(2, wire.attribute(1, number(rule))))
    return immediate, x.set_meta("mark", 0)


def not_a_beginning() -> x.Rule:
    """Go on only for TCP segments that do not begin a connection (RFC 9293: SYN without ACK)."""
    return (
        x.meta("l4proto", 0),
        x.equal(0, b"\x06"),
        x.transport(13, 1, 0),
        _masked(0, bytes((TCP_KINDS,))),
        _compare(0, _NOT_EQUAL, bytes((TCP_SYN,))),
    )


def differs(value: bytes) -> x.Expression:
    """Go on only when the first register does not start with `value`."""
    return _compare(0, _NOT_EQUAL, value)


def jump_data(chain: str) -> bytes:
    """Return NFTA_SET_ELEM_DATA of an element of a verdict map that means `jump chain`."""
    verdict = wire.nested(2, wire.u32(1, _JUMP & 0xFFFFFFFF), wire.text(2, chain))
    return wire.nested(2, verdict)


def jump_target(data: bytes) -> str | None:
    """Return the chain that an element's data, as `wire.elements` yields it, jumps to; None when it means anything else."""
    is_jump = int.from_bytes(data[:4], "big", signed=True) == _JUMP
    return data[4:].decode(errors="replace") if is_jump else None


_REGISTER = 1
"""The first data register, of sixteen bytes."""


def _ct(key: int, word: int, way: int | None = None) -> x.Expression:
    register = word // 4 + 1 if word % 4 == 0 else word + 8
    parts = [wire.u32(1, register), wire.u32(2, key)]
    return _expression("ct", *parts, *([] if way is None else [wire.u8(3, way)]))


def _masked(word: int, mask: bytes) -> x.Expression:
    register = wire.u32(1, word // 4 + 1), wire.u32(2, word // 4 + 1)
    zero = wire.attribute(1, bytes(len(mask)))
    return _expression(
        "bitwise", *register, wire.u32(3, len(mask)), wire.nested(4, wire.attribute(1, mask)), wire.nested(5, zero)
    )


def _compare(word: int, operation: int, value: bytes) -> x.Expression:
    return _expression(
        "cmp", wire.u32(1, word // 4 + 1), wire.u32(2, operation), wire.nested(3, wire.attribute(1, value))
    )


def _expression(name: str, *data: bytes) -> x.Expression:
    return wire.text(1, name) + wire.nested(2, *data)
