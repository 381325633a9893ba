"""Which addresses the resolver gave for which names, and which of them the groups of patterns hold.

A name that no pattern selects is remembered too, for a while and not in the kernel: a policy that comes later finds what pods were told
before. Times are seconds of a clock that only goes on; pure: the caller brings it. One thread changes it, any may ask `permits`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import msgspec

from fairlead.base import domainnames

FLOOR_S = 120
"""How long an address is permitted at least, from when it is learned."""
LEAST_S = 60
"""How long at least from when a pod is told; between the two nothing has to be written again."""
_MOST_TTL_S = 7 * 86400
_SLACK_S = 2
"""TTLs are whole seconds, rounded on their way."""
MOST_PER_NAME = 512
"""Addresses of one name at a time."""
MOST_PER_GROUP = 4096
MOST_PAIRS = 16_384
"""Names that some pattern selects, each with an address, on this node."""
_MOST_OTHERS = 2048
"""Names that no pattern selects."""
_MOST_PER_OTHER = 64
_LABEL = re.compile(rb"[-_a-z0-9]+")
_MOST_USERDATA = 256
_COMMENT, _UNTIL = 0, 128
"""Parts of an element's userdata: nft(8)'s comment, which holds the name, and one of ours that nft(8) leaves alone."""
_SECONDS = struct.Struct(">d")
_DIGEST_BYTES = 8

Pair: TypeAlias = tuple[bytes, bytes]
"""Name in wire form, packed address."""
Members: TypeAlias = tuple[frozenset[bytes], frozenset[bytes]]
"""Packed addresses, IPv4 and IPv6."""


class FullError(Exception):
    """A bound is reached; the message says which."""


class Learned(msgspec.Struct, frozen=True):
    """What has to come into the kernel, and how to forget it again."""

    pairs: Sequence[Pair] = ()
    come: Mapping[str, Sequence[bytes]] = {}
    """Group → addresses that it did not hold."""
    before: Mapping[Pair, float] = {}
    """Until when pairs were permitted that were known."""


class Names:
    """Names, addresses and until when; groups of patterns over them."""

    def __init__(self) -> None:
        self._until: dict[bytes, dict[bytes, float]] = {}
        """Name that some group selects → address → until when."""
        self._others: OrderedDict[bytes, dict[bytes, float]] = OrderedDict()
        """The same of names that none selects."""
        self._patterns: Mapping[str, tuple[str, ...]] = {}
        self._exact: dict[bytes, frozenset[str]] = {}
        self._below: dict[bytes, frozenset[str]] = {}
        self._selected: dict[bytes, frozenset[str]] = {}
        """Name in `_until` → groups that select it."""
        self._pairs = 0
        """In `_until`."""
        self._sizes: Counter[str] = Counter()
        """Group → pairs."""
        self._holders: dict[bytes, dict[bytes, None]] = {}
        """Address → names in `_until` that have it."""
        self._tallies: dict[str, Counter[bytes]] = {}
        """Group → address → how many names cause it."""
        self._members: dict[str, Members] = {}
        self.memory: dict[bytes, bytes] = {}
        """Key → userdata of each selected pair, as the kernel is to remember them; another object whenever `direct` changes it."""

    def __repr__(self) -> str:
        return f"<Names names={len(self._until)} others={len(self._others)} pairs={self._pairs} groups={len(self._patterns)}>"

    def permits(self, names: Iterable[bytes], addresses: Mapping[bytes, int], now: float) -> bool:
        """Tell whether `learn` would change nothing: each address is known for each name for as long as its TTL (in seconds)."""
        for name in names:
            known = self._until.get(name) or self._others.get(name)
            if known is None:
                return False
            for address, ttl in addresses.items():
                if known.get(address, 0.0) < now + max(min(ttl, _MOST_TTL_S) - _SLACK_S, LEAST_S):
                    return False
        return True

    def selects(self, names: Iterable[bytes]) -> bool:
        """Tell whether any group selects one of the names."""
        return bool(self._patterns) and any(name in self._selected or self._groups(name) for name in names)

    def direct(self, patterns: Mapping[str, tuple[str, ...]]) -> None:
        """Take over which patterns each group has (others than `base.domainnames.pattern` returns select nothing).

        Cost: all names that are known, when anything differs.
        """
        if patterns == self._patterns:
            return
        self._patterns = dict(patterns)
        exact: dict[bytes, set[str]] = {}
        below: dict[bytes, set[str]] = {}
        for group, texts in patterns.items():
            for text in texts:
                rest = text.removeprefix(domainnames.WILDCARD)
                table = exact if rest == text else below
                table.setdefault(domainnames.name(rest), set()).add(group)
        self._exact = {name: frozenset(groups) for name, groups in exact.items()}
        self._below = {name: frozenset(groups) for name, groups in below.items()}
        known = {**self._others, **self._until}
        self._selected = {name: groups for name in known if (groups := self._groups(name))}
        self._until = {name: known[name] for name in self._selected}
        self._others = OrderedDict((name, each) for name, each in known.items() if name not in self._selected)
        self._members, self._holders, self.memory = {}, {}, {}
        self._tallies = {group: Counter() for group in patterns}
        self._pairs, self._sizes = 0, Counter()
        for name, groups in self._selected.items():
            for address, until in self._until[name].items():
                self._count(name, address, until, groups)

    def members(self, group: str) -> Members:
        """Return the addresses of a group; the same object until they change."""
        found = self._members.get(group)
        if found is None:
            addresses = self._tallies.get(group, Counter())
            four = frozenset(each for each in addresses if len(each) == 4)
            found = self._members[group] = (four, frozenset(addresses) - four)
        return found

    def learn(self, names: Iterable[bytes], addresses: Mapping[bytes, int], now: float) -> Learned:
        """Permit each address for each name for its TTL in seconds, `FLOOR_S` at least; raises FullError and then changes nothing."""
        until = {each: now + max(min(ttl, _MOST_TTL_S), FLOOR_S) for each, ttl in addresses.items()}
        wanted = list(dict.fromkeys(names))
        selected = {name: groups for name in wanted if (groups := self._selected.get(name) or self._groups(name))}
        fresh = [(name, address) for name in selected for address in until if address not in self._until.get(name, {})]
        full = self._full(fresh, selected) if fresh else ""
        if full and not all(address in self._tallies[group] for name, address in fresh for group in selected[name]):
            raise FullError(full)
        for name in wanted:
            if name not in selected:
                self._note(name, until)
        before: dict[Pair, float] = {}
        come: dict[str, list[bytes]] = {}
        pairs: list[Pair] = []
        for name, groups in selected.items():
            for address, end in until.items():
                known = self._until.get(name, {}).get(address)
                if known is None and full:
                    # Another name holds the address in the same groups: it is permitted, though not for the sake of this name.
                    self._prolong(address, groups, end)
                    continue
                if known is not None and known >= end:
                    continue
                pairs.append((name, address))
                if known is not None:
                    before[name, address] = known
                    self._until[name][address] = end
                    self.memory[key_of(name, address)] = _userdata(name, end)
                    continue
                for group in groups:
                    if address not in self._tallies[group]:
                        come.setdefault(group, []).append(address)
                self._until.setdefault(name, {})[address] = end
                self._selected[name] = groups
                self._count(name, address, end, groups)
        return Learned(pairs, come, before)

    def undo(self, learned: Learned) -> None:
        """Be as before `learn`, as far as the kernel is concerned."""
        for pair, until in learned.before.items():
            name, address = pair
            self._until[name][address] = until
            self.memory[key_of(*pair)] = _userdata(name, until)
        self.forget([pair for pair in learned.pairs if pair not in learned.before])

    def forget(self, pairs: Iterable[Pair]) -> dict[str, list[bytes]]:
        """Forget pairs of selected names; return group → addresses that it does not hold any more."""
        gone: dict[str, list[bytes]] = {}
        for name, address in pairs:
            known = self._until[name]
            del known[address]
            del self.memory[key_of(name, address)]
            self._pairs -= 1
            del self._holders[address][name]
            if not self._holders[address]:
                del self._holders[address]
            for group in self._selected[name]:
                tally = self._tallies[group]
                self._sizes[group] -= 1
                tally[address] -= 1
                if not tally[address]:
                    del tally[address]
                    self._members.pop(group, None)
                    gone.setdefault(group, []).append(address)
            if not known:
                del self._until[name], self._selected[name]
        return gone

    def expired(self, now: float) -> dict[bytes, list[Pair]]:
        """Return address → pairs of selected names whose time is over. Cost: all pairs."""
        found: dict[bytes, list[Pair]] = {}
        for name in self._selected:
            for address, until in self._until[name].items():
                if until < now:
                    found.setdefault(address, []).append((name, address))
        return found

    def prolong(self, pairs: Iterable[Pair], until: float) -> None:
        """Let pairs live until then, without telling the kernel: a successor gives every pair some time."""
        for name, address in pairs:
            self._until[name][address] = until

    def adopt(self, remembered: Mapping[bytes, bytes], now: float) -> None:
        """Take over what the kernel remembers, key → userdata, before `direct`; each pair lives for `LEAST_S` at least."""
        for key, userdata in remembered.items():
            found = _understood(userdata)
            if found is not None:
                name, until = found
                address = key[:-_DIGEST_BYTES]
                if key_of(name, address) == key:
                    self._others.setdefault(name, {})[address] = max(until, now + LEAST_S)

    def statistics(self) -> dict[str, int]:
        """Return how many names, pairs and groups there are."""
        return {"names": len(self._selected), "pairs": self._pairs, "groups": len(self._patterns)}

    def _groups(self, name: bytes) -> frozenset[str]:
        found = set(self._exact.get(name, ()))
        if self._below:
            for suffix in islice(domainnames.suffixes(name), 1, None):
                found |= self._below.get(suffix, frozenset())
        # Bytes that no host name has would end in listings of nft(8).
        if found and not all(map(_LABEL.fullmatch, domainnames.labels(name))):
            return frozenset()
        return frozenset(found)

    def _count(self, name: bytes, address: bytes, until: float, groups: frozenset[str]) -> None:
        self._pairs += 1
        self._holders.setdefault(address, {})[name] = None
        self.memory[key_of(name, address)] = _userdata(name, until)
        for group in groups:
            self._sizes[group] += 1
            self._tallies[group][address] += 1
            self._members.pop(group, None)

    def _full(self, fresh: Sequence[Pair], selected: Mapping[bytes, frozenset[str]]) -> str:
        """Return which bound so many new pairs would break, empty when none."""
        per_name = Counter(name for name, _ in fresh)
        per_group = Counter(group for name, _ in fresh for group in selected[name])
        for name, count in per_name.items():
            if len(self._until.get(name, ())) + count > MOST_PER_NAME:
                return f"{domainnames.text(name)} has more than {MOST_PER_NAME} addresses at a time"
        if self._pairs + len(fresh) > MOST_PAIRS:
            return f"more than {MOST_PAIRS} addresses of names at a time"
        for group, count in per_group.items():
            if self._sizes[group] + count > MOST_PER_GROUP:
                return f"more than {MOST_PER_GROUP} addresses of {' '.join(self._patterns[group])[:200]} at a time"
        return ""

    def _prolong(self, address: bytes, groups: frozenset[str], until: float) -> None:
        """Let some name hold an address in each of these groups for as long."""
        for group in groups:
            holder = next(name for name in self._holders[address] if group in self._selected[name])
            self._until[holder][address] = max(self._until[holder][address], until)

    def _note(self, name: bytes, until: Mapping[bytes, float]) -> None:
        known = self._others.pop(name, {})
        for address, end in until.items():
            known.pop(address, None)
            known[address] = end
        while len(known) > _MOST_PER_OTHER:
            del known[next(iter(known))]
        self._others[name] = known
        while len(self._others) > _MOST_OTHERS:
            self._others.popitem(last=False)


def key_of(name: bytes, address: bytes) -> bytes:
    """Return the key under which the kernel remembers a pair: the address and a digest of the name."""
    return address + hashlib.sha256(name).digest()[:_DIGEST_BYTES]


def _userdata(name: bytes, until: float) -> bytes:
    comment = domainnames.text(name)[:-1].encode() + b"\0"
    found = bytes((_COMMENT, len(comment))) + comment
    end = bytes((_UNTIL, _SECONDS.size)) + _SECONDS.pack(until)
    # The longest names leave no room: they begin anew after a restart.
    return found + end if len(found) + len(end) <= _MOST_USERDATA else found


def _understood(userdata: bytes) -> tuple[bytes, float] | None:
    """Return (name, until) of an element's userdata; None when it is not ours."""
    parts: dict[int, bytes] = {}
    offset = 0
    while offset + 2 <= len(userdata):
        kind, size = userdata[offset], userdata[offset + 1]
        parts[kind] = userdata[offset + 2 : offset + 2 + size]
        offset += 2 + size
    try:
        name = domainnames.name(parts[_COMMENT].rstrip(b"\0").decode("ascii"))
        until = _SECONDS.unpack(parts[_UNTIL])[0] if _UNTIL in parts else 0.0
    except (KeyError, ValueError, struct.error):
        return None
    return name, float(until)
