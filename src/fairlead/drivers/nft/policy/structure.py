"""The policy table: what is the same on every node, and what rows become. docs/design/policy.md draws it.

A table of its own beside `fairlead`, so that replacing the one never empties the other. It must never know a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import crc32

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft.elements import PROTOCOLS
from fairlead.drivers.nft.policy import expressions as p
from fairlead.drivers.nft.structure import Chain, Hook, Set
from fairlead.observe import nflog
from fairlead.plan.policy import ALLOW, DENY, PolicyChain, PolicyGroup, PolicyRule

NAME = "fairlead-policy"
"""Name of the table and thereby the mark of ownership."""
PODS, SELVES, GENERATION = "pods", "selves", "generation"
LEARNED = {"4": "learned4", "6": "learned6"}
"""Sets that no rule asks: addresses of names, with the names, for whoever comes after this process (`names.py`)."""
LEARNED_BYTES = {"4": 12, "6": 24}
"""Size of a key: an address and eight bytes of a digest."""
MAPS = ("egress", "node_egress", "ingress")
"""Maps: interface of a pod → chain."""
DENIED = "denied"
"""Chain in which every dropped packet ends."""
COUNTERS = ("invalid", "midstream", "unknown-interface")
VERSIONS = ("4", "6")

_INPUT, _FORWARD = 1, 2
_LOGGED_PER_SECOND, _LOGGED_AT_ONCE = 100, 200
"""Of each kind, on the whole node: a flood costs the reader no more than this."""
_PRIORITY = -10
_ADDRESS = {"4": "ipv4_addr", "6": "ipv6_addr"}
_WORDS = {"4": 1, "6": 4}


def static_sets() -> tuple[Set, ...]:
    """Return the sets and maps that are always there."""
    return (
        Set(name=PODS, key=("ifname",)),
        Set(name=SELVES, key=("ifname", "ifname")),
        Set(name=GENERATION, key=("mark",)),
        *(Set(name=name, key=("ifname",), data=("verdict",)) for name in MAPS),
        *(Set(name=name, key=(_ADDRESS[version], "mark", "mark")) for version, name in LEARNED.items()),
    )


def generation_chains(generation: int) -> tuple[Chain, Chain]:
    """Return the chains that change with every transaction.

    The number is part of the rules and not an element: all rules that a packet meets are of one transaction, so that what was
    judged by older rules is never marked with a newer number.
    """
    return (
        Chain("fresh", ((*p.state(p.ESTABLISHED, p.RELATED), *p.has_mark(generation), x.accept()),)),
        Chain("pass", ((*p.set_mark(generation), x.accept()),)),
    )


def static_chains(*, logs: bool = True) -> tuple[Chain, ...]:
    """Return the chains that never change; those that others lead to come first.

    Without `logs`, which some kernels lack, nothing is told of single packets.
    """
    unknown = _denied("unknown-interface")
    no_row = x.member(PODS, 0, inverted=True)
    midstream: x.Rule = (*p.state(p.NEW), *p.not_a_beginning(), *_denied("midstream"))
    sample = x.at_most_per_second(_LOGGED_PER_SECOND, _LOGGED_AT_ONCE)
    log_allowed: x.Rule = (*p.state(p.NEW), sample, x.log(nflog.GROUP, nflog.ALLOWED, nflog.PACKET_BYTES))
    log_denied: x.Rule = (sample, x.log(nflog.GROUP, nflog.DENIED, nflog.PACKET_BYTES))
    return (
        Chain(DENIED, (*((log_denied,) if logs else ()), (x.drop(),))),
        Chain(
            "judge",
            (
                (*p.state(p.INVALID, p.UNTRACKED), *_denied("invalid")),
                (x.meta("iifname", 0), x.meta("oifname", 4), x.member(SELVES, 0), x.accept()),
                (*_is_pod("iifname"), no_row, *unknown),
                (*_is_pod("oifname"), no_row, *unknown),
                midstream,
                _judge(p.ORIGINAL, "iifname", "egress"),
                _judge(p.REPLY, "oifname", "egress"),
                _judge(p.ORIGINAL, "oifname", "ingress"),
                _judge(p.REPLY, "iifname", "ingress"),
                *((log_allowed,) if logs else ()),
                (x.goto("pass"),),
            ),
        ),
        Chain(
            "judge_own_node",
            (
                # What the node began, and its resolver, whose packets are not tracked (table fairlead).
                (*p.direction(p.REPLY), x.accept()),
                (*p.state(p.UNTRACKED), x.accept()),
                (*p.state(p.INVALID), *_denied("invalid")),
                (x.meta("iifname", 0), no_row, *unknown),
                midstream,
                _judge(p.ORIGINAL, "iifname", "node_egress"),
                *((log_allowed,) if logs else ()),
                (x.goto("pass"),),
            ),
        ),
        Chain(
            "forward",
            (
                (x.jump("fresh"),),
                (*_is_pod("iifname"), x.goto("judge")),
                (*_is_pod("oifname"), x.goto("judge")),
            ),
            Hook("filter", _FORWARD, _PRIORITY),
        ),
        Chain(
            "input",
            ((x.jump("fresh"),), (*_is_pod("iifname"), x.goto("judge_own_node"))),
            Hook("filter", _INPUT, _PRIORITY),
        ),
    )


def group_sets(group: PolicyGroup) -> tuple[Set, Set]:
    """Return the sets of a group, IPv4 first."""
    four, six = (
        Set(
            name=group.name + version,
            key=(_ADDRESS[version], "inet_proto", "inet_service") if group.kind == "ports" else (_ADDRESS[version],),
            interval=group.kind == "prefixes",
        )
        for version in VERSIONS
    )
    return four, six


def chain(row: PolicyChain) -> Chain:
    """Return the chain of a row."""
    return Chain(row.name, tuple(rule for each in row.rules for rule in _rules(row.direction, each)))


def counters(rows: Iterable[PolicyChain]) -> set[str]:
    """Return the names of all counters that these chains count in."""
    return {counter_name(rule.counter) for row in rows for rule in row.rules if rule.counter}


def counter_name(name: str) -> str:
    """Return a counter's name as the kernel takes it: names of objects may be longer than its 255 bytes."""
    return name if len(name) < 250 else f"{name[:200]}~{hash_of(name)}"


def hash_of(text: str) -> str:
    """Return eight characters that tell long names apart."""
    return f"{crc32(text.encode()):08x}"


def _denied(counter: str) -> x.Rule:
    return x.count(counter), *p.blame(nflog.number_of(counter)), x.goto(DENIED)


def _judge(way: int, interface: str, table: str) -> x.Rule:
    """Follow the pod's chain, which drops, or comes back when it allows."""
    return (*p.direction(way), x.meta(interface, 0), x.look_up(table, 0, x.VERDICT_REGISTER))


def _is_pod(interface: str) -> x.Rule:
    # Pods' interfaces are `fl` and hexadecimal digits; `fl-` are devices of the node's own, such as the tunnel.
    return x.meta(interface, 0), x.equal(0, b"fl"), p.differs(b"fl-")


def _rules(direction: str, rule: PolicyRule) -> Iterator[x.Rule]:
    verdict: x.Rule = (x.back(),) if rule.verdict == ALLOW else (x.goto(rule.verdict),)
    if rule.verdict == DENY:
        verdict = (*p.blame(nflog.number_of(rule.counter)), x.goto(DENIED))
    if rule.counter:
        verdict = (x.count(counter_name(rule.counter)), *verdict)
    ports: x.Rule = ()
    if rule.protocol:
        ports = (p.protocol(0), x.equal(0, bytes((PROTOCOLS[rule.protocol],))))
    if rule.last:
        first, last = rule.first.to_bytes(2, "big"), rule.last.to_bytes(2, "big")
        span = (x.equal(0, first),) if first == last else (x.at_least(0, first), x.at_most(0, last))
        ports = (*ports, p.server_port(0), *span)
    if not rule.peers:
        yield (*ports, *verdict)
        return
    for version in VERSIONS:
        # The address is in the register already.
        spared = (x.member(rule.spared + version, 0, inverted=True),) if rule.spared else ()
        yield (*ports, *_peer(direction, rule.peers, version), *spared, *verdict)


def _peer(direction: str, group: str, version: str) -> x.Rule:
    found = x.member(group + version, 0)
    if group.startswith("po-"):
        words = _WORDS[version]
        return p.server_address(version, 0), p.protocol(words), p.server_port(words + 1), found
    return (p.client_address(version, 0) if direction == "ingress" else p.server_address(version, 0)), found
