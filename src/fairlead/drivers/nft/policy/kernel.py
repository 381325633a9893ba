"""The policy table of one namespace: observed, compared with what a plan wants, changed in one transaction.

Small differences are said as such. Whatever is not understood (a rule, a set, a chain that is not as it was made) replaces the whole
table, in one transaction: no packet meets an empty one. Connections outlive both, and are judged anew. Blocking; one thread at a time.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from fairlead.drivers.nft import elements, ruleset, wire
from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft.listing import Listing
from fairlead.drivers.nft.policy import expressions as p
from fairlead.drivers.nft.policy import state as states
from fairlead.drivers.nft.policy import structure
from fairlead.drivers.nft.policy.names import FullError, Learned, key_of
from fairlead.drivers.nft.policy.state import Encoder, Members, State
from fairlead.drivers.nft.policy.structure import GENERATION, MAPS, NAME, PODS, SELVES
from fairlead.drivers.nft.policy.usage import in_use
from fairlead.drivers.nft.socket import NftError, NftSocket, describe
from fairlead.drivers.nft.structure import Set
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

log = logging.getLogger(__name__)

TABLES = ("policy_pods", "policy_chains", "policy_groups")
_HIGHEST = 0xFFFFFFFF
_EVERYTHING = 1 << 20
USED_S = 300
"""How long an address lives on that a connection uses, before connections are looked at again."""


def boot_time() -> float:
    """Return seconds since the machine started: nothing sets that clock, and what the kernel remembers is not older."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class PolicyKernel:
    """The state machine between plans and a socket."""

    def __init__(self, socket: NftSocket) -> None:
        self._socket = socket
        self._listing = Listing(socket, NAME)
        self._encoder = Encoder()
        self._known: State | None = None
        """What the table holds; None when it has to be made anew, or to be compared first."""
        self._number = 0
        """Of the judgement: what the marks of connections are compared with."""
        self._tables_generation: int | None = None
        self._logs = True
        self._is_adopted = False
        self.last_transaction_s = 0.0
        """How long the kernel took for the last transaction, from its messages to its answer, in seconds."""

    def __repr__(self) -> str:
        return f"<PolicyKernel known={self._known is not None} number={self._number}>"

    def close(self) -> None:
        """Close the socket; everything stays in place."""
        self._socket.close()

    def may_have_changed(self) -> bool:
        """Tell whether anyone may have changed any table of the namespace since our last transaction."""
        return self._tables_generation is None or self._socket.generation() != self._tables_generation

    def probe(self) -> None:
        """Ask the kernel whether it could hold the table, changing nothing; raises NftError when it could not."""
        for logs in (True, False):
            messages = [*(states.remove() if self._listing.exists() else ()), *states.create(State(), 1, logs=logs)]
            refusals = self._socket.transact(wire.transaction(messages, commit=False))
            if not refusals:
                self._logs = logs
                return
            if logs:
                log.warning("this kernel cannot tell of single packets", extra={"error": describe(refusals[0])})
        raise NftError(refusals[0].code, f"this kernel's nf_tables lack what policies need: {describe(refusals[0])}")

    def apply(self, plan: Plan, *, observe: bool = False) -> Outcome:
        """Make the table what `plan` wants, and every connection be judged by it with its next packet; raises OSError."""
        if not any(map(plan.tables.get, TABLES)):
            return self._remove()
        self._adopt()
        wanted, failures = self._encoder.state(plan)
        if observe or self._known is None:
            self._known = self._observe(wanted)
        if self._known is not None:
            messages = states.change(self._known, wanted)
            if not messages:
                return Outcome(failed=tuple(failures))
            number = self._next()
            refusals = self._commit([*messages, *states.renew(self._number, number)])
            if not refusals:
                self._known, self._number = wanted, number
                return Outcome(len(messages), tuple(failures))
            log.warning("policy transaction refused", extra={"error": describe(refusals[0])})
        number = self._next()
        messages = states.create(wanted, number, logs=self._logs)
        refusals = self._commit([*(states.remove() if self._listing.exists() else ()), *messages])
        if refusals:
            self._known = None
            raise NftError(refusals[0].code, f"table {NAME}: {describe(refusals[0])}")
        self._known, self._number = wanted, number
        return Outcome(wanted.size or 1, tuple(failures))

    def permits(self, names: Iterable[bytes], addresses: Mapping[bytes, int]) -> bool:
        """Tell whether `permit` would do nothing. May be asked by any thread.

        Never while the table has to be looked at first: what should be in it may not be.
        """
        book = self._encoder.names
        return (self._known is not None or not book.selects(names)) and book.permits(names, addresses, boot_time())

    def permit(self, names: Collection[bytes], addresses: Mapping[bytes, int]) -> None:
        """Let those groups hold these addresses that select one of the names; raises OSError, and then changes nothing.

        `addresses` are packed, with the TTL in seconds that somebody is about to be told.
        """
        book = self._encoder.names
        try:
            learned = book.learn(names, addresses, boot_time())
        except FullError:
            self.expire(most=_EVERYTHING)
            try:
                learned = book.learn(names, addresses, boot_time())
            except FullError as error:
                raise OSError(errno.ENOSPC, str(error)) from error
        if self._known is None and book.selects(names):
            book.undo(learned)
            raise OSError(errno.EAGAIN, f"table {NAME} is not in force")
        if learned.pairs:
            self._say(learned)

    def expire(self, most: int = 64) -> bool:
        """Take addresses away whose time is over, unless a connection uses them; return whether more are left to look at.

        Looks at connections again afterwards: one that began meanwhile keeps its address, and no change of policy, which alone would
        cut it, comes in between.
        """
        book, now = self._encoder.names, boot_time()
        expired = book.expired(now)
        due = dict(islice(expired.items(), most))
        if not due or self._known is None:
            return False
        used = in_use(self._socket, due)
        book.prolong((pair for address in used for pair in due[address]), now + USED_S)
        pairs = [pair for address, each in due.items() if address not in used for pair in each]
        if not pairs:
            return len(expired) > len(due)
        keys = {key: book.memory[key] for key in (key_of(*pair) for pair in pairs)}
        gone = book.forget(pairs)
        messages = states.remember(keys, {}) + states.admit(self._known.sets, gone, wire.DELSETELEM)
        self._carry_out(messages, gone)
        for address in in_use(self._socket, {address for _, address in pairs}):
            names = [name for name, theirs in pairs if theirs == address]
            self._say(book.learn(names, {address: USED_S}, boot_time()))
        return len(expired) > len(due)

    def statistics(self) -> dict[str, int]:
        """Return how many names, pairs of name and address, and groups of names there are."""
        return self._encoder.names.statistics()

    def _say(self, learned: Learned) -> None:
        book = self._encoder.names
        old = {key_of(*pair): b"" for pair in learned.before}
        new = {key: book.memory[key] for key in (key_of(*pair) for pair in learned.pairs)}
        assert self._known is not None
        messages = states.remember(old, new) + states.admit(self._known.sets, learned.come, wire.NEWSETELEM)
        try:
            self._carry_out(messages, learned.come)
        except OSError:
            book.undo(learned)
            raise

    def _carry_out(self, messages: list[wire.Message], groups: Iterable[str]) -> None:
        """Say messages after which these groups have other members; raises OSError, and then the next `apply` observes."""
        assert self._known is not None
        refusals = self._commit(messages)
        if refusals:
            self._known = None
            raise NftError(refusals[0].code, f"table {NAME}: {describe(refusals[0])}")
        for group in groups:
            for version, members in zip(structure.VERSIONS, self._encoder.names.members(group), strict=True):
                self._known.sets[group + version] = (self._known.sets[group + version][0], members)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) by what decided: `Kind/namespace/policy/direction/rule`, and a few of the table's own; raises OSError.

        A connection is counted once for each judgement, a dropped packet each time.
        """
        return self._listing.counters()

    def _next(self) -> int:
        if not self._number:
            # Connections may bear the mark of a table that is gone.
            return secrets.randbelow(_HIGHEST) + 1
        return self._number % _HIGHEST + 1

    def _adopt(self) -> None:
        """Take over, once, what an earlier process learned of names."""
        if self._is_adopted:
            return
        for name in structure.LEARNED.values():
            try:
                found, _ = self._listing.consistent(lambda name=name: self._remembered(name))  # type: ignore[misc]
                self._encoder.names.adopt(found, boot_time())
            except NftError as error:
                if error.errno != errno.ENOENT:
                    raise
        self._is_adopted = True

    def _remembered(self, name: str) -> dict[bytes, bytes]:
        return {key: each for payload in self._listing.members(name) for key, each in states.remembered(payload)}

    def _remove(self) -> Outcome:
        self._known = None
        self._is_adopted = True
        # There is no pod, hence nobody who was told any name.
        self._encoder = Encoder()
        if not self._listing.exists():
            return Outcome()
        refusals = self._commit(states.remove())
        if refusals:
            raise NftError(refusals[0].code, f"removing table {NAME}: {describe(refusals[0])}")
        return Outcome(1)

    def _commit(self, messages: list[wire.Message]) -> list[wire.Refusal]:
        before = self._tables_generation
        begin = time.perf_counter()
        refusals = self._socket.transact(wire.transaction(messages))
        self.last_transaction_s = time.perf_counter() - begin
        now = self._socket.generation()
        # Another driver's transaction in between makes the next resync look.
        following = None if before is None else (before + 1) & _HIGHEST or 1
        self._tables_generation = now if now == following else None
        return refusals

    def _observe(self, wanted: State) -> State | None:
        """Return what the table holds as far as it is like `wanted`; None when it must be made anew."""
        found, self._tables_generation = self._listing.consistent(lambda: self._read(wanted))
        return found

    def _read(self, wanted: State) -> State | None:
        shapes = dict(map(ruleset.listed_set, self._listing.objects(wire.GETSET))) if self._listing.flags() == 0 else {}
        fixed = {each.name: each for each in structure.static_sets()}
        if any(shapes.get(name) != each.attributes() for name, each in fixed.items()):
            return None
        numbers = [elements.as_number(key) for key, _, _ in self._listing.elements(GENERATION)]
        if len(numbers) != 1:
            return None
        self._number = numbers[0]
        hooks = dict(map(ruleset.listed_chain, self._listing.objects(wire.GETCHAIN)))
        rules: dict[str, list[x.Parsed]] = {}
        for found in self._listing.objects(wire.GETRULE):
            rules.setdefault(wire.as_text(found[2]), []).append(x.parse(found.get(4, b"")))
        static = [*structure.generation_chains(self._number), *structure.static_chains(logs=self._logs)]
        for chain in static:
            if chain.name not in hooks or hooks.pop(chain.name) != chain.hook:
                return None
            if not x.same(rules.get(chain.name, []), map(x.parse_rule, chain.rules)):
                return None
        if any(hook is not None for hook in hooks.values()):
            return None
        chains = {}
        for name in hooks:
            row = wanted.chains.get(name)
            if row is None or not x.same(rules.get(name, []), map(x.parse_rule, structure.chain(row).rules)):
                # Of an earlier plan, or of someone else: what it says is not known.
                return None
            chains[name] = row
        sets = self._read_sets(wanted, {name: shape for name, shape in shapes.items() if name not in fixed})
        maps = {name: self._read_map(name) for name in MAPS}
        objects = {wire.as_text(found[2]) for found in self._listing.objects(wire.GETOBJ)}
        if sets is None or any(each is None for each in maps.values()) or not objects.issuperset(structure.COUNTERS):
            return None
        return State(
            sets=sets,
            chains=chains,
            pods=frozenset(key for key, _, _ in self._listing.elements(PODS)),
            selves=frozenset(key for key, _, _ in self._listing.elements(SELVES)),
            maps={name: each for name, each in maps.items() if each is not None},
            counters=objects - set(structure.COUNTERS),
            memory={key: each for name in structure.LEARNED.values() for key, each in self._remembered(name).items()},
        )

    def _read_sets(
        self, wanted: State, shapes: Mapping[str, Mapping[int, bytes]]
    ) -> dict[str, tuple[Set, Members]] | None:
        found: dict[str, tuple[Set, Members]] = {}
        for name, shape in shapes.items():
            if name not in wanted.sets or wanted.sets[name][0].attributes() != shape:
                return None
            each, goal = wanted.sets[name]
            listed = list(self._listing.elements(name))
            if each.interval:
                pairs = elements.paired((key, bool(flags & wire.INTERVAL_END)) for key, _, flags in listed)
                if pairs is None:
                    return None
                members: Members = frozenset(pairs)
            else:
                members = frozenset(key for key, _, _ in listed)
            found[name] = (each, goal if members == goal else members)
        return found

    def _read_map(self, name: str) -> dict[bytes, str] | None:
        found: dict[bytes, str] = {}
        for key, data, _ in self._listing.elements(name):
            target = p.jump_target(data)
            if target is None:
                return None
            found[key] = target
        return found
