"""The few nf_tables expressions that our rules are made of, as bytes, and their comparison with what the kernel lists.

A rule is a sequence of expressions over sixteen registers of four bytes. They are built here rather than by nft(8) because nft's language
cannot say "look up a number in one map and the verdict of that number in another" without borrowing the packet's mark, and
because one transaction then holds rules and elements together. It must never do I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from fairlead.drivers.nft import wire

Expression: TypeAlias = bytes
"""The attributes NFTA_EXPR_NAME and NFTA_EXPR_DATA."""
Rule: TypeAlias = tuple[Expression, ...]
Parsed: TypeAlias = tuple[tuple[str, frozenset[tuple[int, object]]], ...]
"""A rule in a form that can be compared: name and attributes of each expression, containers parsed."""

VERDICT_REGISTER = -4
"""The register that ends a rule, as an index of words relative to the first data register."""

_ACCEPT, _DROP = 1, 0
_JUMP, _GOTO, _RETURN = -3, -4, -5
_META = {"mark": 3, "iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}
_CONNECTION = {"dport": 12, "ip daddr": 20, "ip6 daddr": 22}
_UPDATE, _DELETE = 1, 2
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_RANDOM = 1
_SNAT, _DNAT = 0, 1
_FULLY_RANDOM = 0x10
_TCP_RESET, _ICMPX_UNREACHABLE = 1, 2
_ICMPX_PORT_UNREACHABLE = 1
_COUNTER = 1
_IF_NAME_BYTES = 16
_CONTAINERS = {("cmp", 3), ("immediate", 2)}
"""Attributes of expressions that hold attributes: NFTA_CMP_DATA and NFTA_IMMEDIATE_DATA."""


def meta(key: str, register: int) -> Expression:
    """Load a property of the packet: `mark`, `iifname`, `oifname` (16 bytes), `nfproto`, `l4proto`."""
    return _expression("meta", wire.u32(2, _META[key]), wire.u32(1, _register(register)))


def set_meta(key: str, register: int) -> Expression:
    """Set a property of the packet from `register`."""
    return _expression("meta", wire.u32(2, _META[key]), wire.u32(3, _register(register)))


def network(offset: int, length: int, register: int) -> Expression:
    """Load `length` bytes at `offset` of the IPv4 or IPv6 header."""
    return _payload(_NETWORK_HEADER, offset, length, register)


def transport(offset: int, length: int, register: int) -> Expression:
    """Load `length` bytes at `offset` of the TCP, UDP, SCTP or ICMP header."""
    return _payload(_TRANSPORT_HEADER, offset, length, register)


def equal(register: int, value: bytes) -> Expression:
    """Go on only when the register starts with `value`."""
    return _compare(register, 0, value)


def at_least(register: int, value: bytes) -> Expression:
    """Go on only when the register is not below `value`, as a number in network order."""
    return _compare(register, 5, value)


def at_most(register: int, value: bytes) -> Expression:
    """Go on only when the register is not above `value`, as a number in network order."""
    return _compare(register, 3, value)


def original(key: str, register: int) -> Expression:
    """Load a property of the connection as its first packet was before translation: `ip daddr`, `ip6 daddr`, `dport`."""
    return _expression("ct", wire.u32(1, _register(register)), wire.u32(2, _CONNECTION[key]), wire.u8(3, 0))


def member(name: str, register: int, *, inverted: bool = False) -> Expression:
    """Go on only when the key in `register` is in the set `name` (or is not)."""
    return _expression("lookup", wire.text(1, name), wire.u32(2, _register(register)), wire.u32(5, int(inverted)))


def look_up(name: str, register: int, result: int) -> Expression:
    """Put what the map `name` holds for the key in `register` into `result`; go on only when it holds something."""
    return _expression(
        "lookup", wire.text(1, name), wire.u32(2, _register(register)), wire.u32(3, _register(result)), wire.u32(5, 0)
    )


def random(modulus: int, register: int, offset: int = 0) -> Expression:
    """Load `offset` and a random number below `modulus`, in host byte order."""
    return _expression(
        "numgen", wire.u32(1, _register(register)), wire.u32(2, modulus), wire.u32(3, _RANDOM), wire.u32(4, offset)
    )


def remember(name: str, register: int, data: int, timeout_s: int) -> Expression:
    """Put what is at `data` into the map `name` under the key in `register`, or let what is there begin its time again.

    Goes on only when there is room.
    """
    timeout = (timeout_s * 1000).to_bytes(8, "big")
    return _dynamic(name, _UPDATE, register, data, wire.attribute(6, timeout))


def forget(name: str, register: int, data: int) -> Expression:
    """Remove the key in `register` from the map `name`; `data` is any register that could hold its value."""
    return _dynamic(name, _DELETE, register, data)


def dnat(family: int, address: int, port: int) -> Expression:
    """Translate the destination of the connection to address and port in these registers."""
    return _expression(
        "nat",
        wire.u32(1, _DNAT),
        wire.u32(2, family),
        wire.u32(3, _register(address)),
        wire.u32(5, _register(port)),
    )


def snat(family: int, address: int) -> Expression:
    """Translate the source of the connection to the address in this register; its port only where it must."""
    return _expression("nat", wire.u32(1, _SNAT), wire.u32(2, family), wire.u32(3, _register(address)))


def constant(register: int, value: bytes) -> Expression:
    """Load a value."""
    return _expression("immediate", wire.u32(1, _register(register)), wire.nested(2, wire.attribute(1, value)))


def masquerade() -> Expression:
    """Translate the source of the connection to an address of the node, to a port that cannot be guessed."""
    return _expression("masq", wire.u32(1, _FULLY_RANDOM))


def count(counter: str) -> Expression:
    """Count the packet in the named counter."""
    return _expression("objref", wire.u32(1, _COUNTER), wire.text(2, counter))


def at_most_per_second(rate: int, burst: int) -> Expression:
    """Go on only for so many packets each second on average, and `burst` at once."""
    return _expression(
        "limit",
        wire.attribute(1, rate.to_bytes(8, "big")),
        wire.attribute(2, (1).to_bytes(8, "big")),
        wire.u32(3, burst),
    )


def log(group: int, prefix: str, most_bytes: int) -> Expression:
    """Send the first bytes of the packet to a group of the kernel's packet log."""
    return _expression(
        "log", wire.attribute(1, group.to_bytes(2, "big")), wire.text(2, prefix), wire.u32(3, most_bytes)
    )


def reset() -> Expression:
    """Answer with a TCP reset and drop."""
    return _expression("reject", wire.u32(1, _TCP_RESET))


def unreachable() -> Expression:
    """Answer with ICMP or ICMPv6 port unreachable and drop."""
    return _expression("reject", wire.u32(1, _ICMPX_UNREACHABLE), wire.u8(2, _ICMPX_PORT_UNREACHABLE))


def accept() -> Expression:
    """Let the packet pass this hook's chain."""
    return _verdict(_ACCEPT)


def drop() -> Expression:
    """Drop the packet."""
    return _verdict(_DROP)


def untracked() -> Expression:
    """Let connection tracking not see the packet; only before it, in raw priority."""
    return _expression("notrack")


def goto(chain: str) -> Expression:
    """Continue in `chain` and do not come back to this one."""
    return _verdict(_GOTO, chain)


def back() -> Expression:
    """Go on in the chain that jumped here."""
    return _verdict(_RETURN)


def jump(chain: str) -> Expression:
    """Continue in `chain`; when that ends, go on with the next rule."""
    return _verdict(_JUMP, chain)


def verdict_data(chain: str) -> bytes:
    """Return NFTA_SET_ELEM_DATA of an element of a verdict map that means `goto chain`."""
    return wire.nested(2, _verdict_body(_GOTO, chain))


def goto_target(data: bytes) -> str | None:
    """Return the chain that an element's data, as `wire.elements` yields it, goes to; None when it means anything else."""
    return data[4:].decode() if int.from_bytes(data[:4], "big", signed=True) == _GOTO else None


def encode(rule: Rule) -> bytes:
    """Return NFTA_RULE_EXPRESSIONS of `rule`."""
    return wire.nested(4, *(wire.nested(1, expression) for expression in rule))


def parse(expressions: bytes) -> Parsed:
    """Return the payload of NFTA_RULE_EXPRESSIONS in a form that can be compared."""
    return tuple(_parse(wire.attributes(expression)) for _, expression in wire.each(expressions))


def parse_rule(rule: Rule) -> Parsed:
    """Return `rule` in a form that can be compared."""
    return tuple(_parse(wire.attributes(expression)) for expression in rule)


def stands_for(listed: Parsed, wanted: Parsed) -> bool:
    """Tell whether the rule that the kernel lists is the wanted one: the kernel may add defaults, never differ."""
    return len(listed) == len(wanted) and all(
        theirs[0] == ours[0] and ours[1] <= theirs[1] for theirs, ours in zip(listed, wanted, strict=True)
    )


def same(listed: Iterable[Parsed], wanted: Iterable[Parsed]) -> bool:
    """Tell whether a chain's rules, in order, are the wanted ones."""
    theirs, ours = tuple(listed), tuple(wanted)
    return len(theirs) == len(ours) and all(map(stands_for, theirs, ours))


def interface_name(name: str) -> bytes:
    """Return an interface's name as a key: 16 bytes, padded."""
    return name.encode().ljust(_IF_NAME_BYTES, b"\0")


def _register(word: int) -> int:
    # The kernel lists a register that starts a block of sixteen bytes by the number of the block.
    if word == VERDICT_REGISTER:
        return 0
    return word // 4 + 1 if word % 4 == 0 else word + 8


def _payload(base: int, offset: int, length: int, register: int) -> Expression:
    return _expression(
        "payload", wire.u32(1, _register(register)), wire.u32(2, base), wire.u32(3, offset), wire.u32(4, length)
    )


def _compare(register: int, operation: int, value: bytes) -> Expression:
    data = wire.nested(3, wire.attribute(1, value))
    return _expression("cmp", wire.u32(1, _register(register)), wire.u32(2, operation), data)


def _verdict(code: int, chain: str | None = None) -> Expression:
    data = wire.nested(2, _verdict_body(code, chain))
    return _expression("immediate", wire.u32(1, _register(VERDICT_REGISTER)), data)


def _verdict_body(code: int, chain: str | None) -> bytes:
    number = wire.u32(1, code & 0xFFFFFFFF)
    return wire.nested(2, number, wire.text(2, chain)) if chain is not None else wire.nested(2, number)


def _dynamic(name: str, operation: int, register: int, data: int, *more: bytes) -> Expression:
    registers = wire.u32(4, _register(register)), wire.u32(5, _register(data))
    return _expression("dynset", wire.text(1, name), wire.u32(3, operation), *registers, *more)


def _expression(name: str, *data: bytes) -> Expression:
    return wire.text(1, name) + wire.nested(2, *data)


def _parse(found: wire.Attributes) -> tuple[str, frozenset[tuple[int, object]]]:
    name = wire.as_text(found.get(1, b""))
    values = wire.attributes(found.get(2, b""))
    return name, frozenset(
        (kind, _nested(value) if (name, kind) in _CONTAINERS else value) for kind, value in values.items()
    )


def _nested(value: bytes) -> object:
    return frozenset(
        (kind, frozenset(wire.each(payload)) if kind == 2 else payload) for kind, payload in wire.each(value)
    )
