"""The egress table of one namespace: observed, compared with what a plan wants, changed in one transaction. Blocking."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import ruleset, wire
from fairlead.drivers.nft.egress import state, structure
from fairlead.drivers.nft.egress.state import TABLES, Contents
from fairlead.drivers.nft.egress.structure import NAME
from fairlead.drivers.nft.socket import DumpInterruptedError, NftError, NftSocket, describe
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

log = logging.getLogger(__name__)

_OBSERVE_TRIES = 20
_FAMILY = wire.NFPROTO_INET


class EgressKernel:
    """The state machine between plans and a socket."""

    def __init__(self, socket: NftSocket) -> None:
        self._socket = socket
        self._known: Contents | None = None
        """What the table holds; None when it has to be looked at."""

    def __repr__(self) -> str:
        return f"<EgressKernel known={self._known is not None}>"

    def close(self) -> None:
        """Close the socket; everything stays in place."""
        self._socket.close()

    def probe(self) -> None:
        """Ask the kernel whether it could hold the table, changing nothing; raises NftError when it could not."""
        empty = Contents({each.name: {} for each in structure.sets()})
        messages = [*(state.remove() if self._exists() else ()), *state.create(empty)]
        refusals = self._socket.transact(wire.transaction(messages, commit=False))
        if refusals:
            raise NftError(
                refusals[0].code, f"this kernel's nf_tables lack what egress gateways need: {describe(refusals[0])}"
            )

    def apply(self, plan: Plan, *, observe: bool = False) -> Outcome:
        """Make the table what `plan` wants; raises OSError. Without a gateway there is no table."""
        if not any(map(plan.tables.get, TABLES)):
            return self._remove()
        wanted, failures = state.wanted(plan)
        if observe or self._known is None:
            self._known = self._observe()
        if self._known is not None:
            messages = state.change(self._known, wanted)
            if not messages:
                return Outcome(failed=tuple(failures))
            refusals = self._socket.transact(wire.transaction(messages))
            if not refusals:
                self._known = wanted
                return Outcome(len(messages), tuple(failures))
            log.warning("egress transaction refused", extra={"error": describe(refusals[0])})
            self._known = None
        messages = [*(state.remove() if self._exists() else ()), *state.create(wanted)]
        refusals = self._socket.transact(wire.transaction(messages))
        if refusals:
            raise NftError(refusals[0].code, f"table {NAME}: {describe(refusals[0])}")
        self._known = wanted
        return Outcome(len(messages), tuple(failures))

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) by counter; raises OSError."""
        found: dict[str, tuple[int, int]] = {}
        for listed in self._list(wire.GETOBJ):
            values = wire.attributes(listed.get(4, b""))
            found[wire.as_text(listed[2])] = (wire.as_u32(values[2]), wire.as_u32(values[1]))
        return found

    def _remove(self) -> Outcome:
        self._known = None
        if not self._exists():
            return Outcome()
        refusals = self._socket.transact(wire.transaction(state.remove()))
        if refusals:
            raise NftError(refusals[0].code, f"removing table {NAME}: {describe(refusals[0])}")
        return Outcome(1)

    def _exists(self) -> bool:
        return self._flags() is not None

    def _flags(self) -> int | None:
        for payload in self._socket.dump(wire.Message(wire.GETTABLE, wire.NFPROTO_UNSPEC, b"")):
            family, found = wire.generic(payload)
            if family == _FAMILY and wire.as_text(found[1]) == NAME:
                return wire.as_u32(found.get(2, bytes(4)))
        return None

    def _observe(self) -> Contents | None:
        """Return what the table holds; None when it must be made anew."""
        for _ in range(_OBSERVE_TRIES):
            try:
                before = self._socket.generation()
                found = self._read()
                if self._socket.generation() == before:
                    return found
            except DumpInterruptedError:
                continue
        raise NftError(errno.EAGAIN, "nf_tables change faster than they can be listed")

    def _read(self) -> Contents | None:
        if self._flags() != 0:
            return None
        shapes = dict(map(ruleset.listed_set, self._list(wire.GETSET)))
        hooks = dict(map(ruleset.listed_chain, self._list(wire.GETCHAIN)))
        rules: dict[str, list[x.Parsed]] = {}
        for found in self._list(wire.GETRULE):
            rules.setdefault(wire.as_text(found[2]), []).append(x.parse(found.get(4, b"")))
        counters = {wire.as_text(found[2]) for found in self._list(wire.GETOBJ)}
        if not state.is_intact(shapes, hooks, rules, counters):
            return None
        sets: dict[str, dict[bytes, bytes]] = {}
        for name in shapes:
            listed = state.contents(name, list(self._elements(name)))
            if listed is None:
                return None
            sets[name] = listed
        return Contents(sets)

    def _elements(self, name: str) -> Iterable[tuple[bytes, bytes, int]]:
        request = wire.Message(wire.GETSETELEM, _FAMILY, wire.text(1, NAME) + wire.text(2, name))
        for payload in self._socket.dump(request):
            yield from wire.elements(payload)

    def _list(self, kind: int) -> Iterable[dict[int, bytes]]:
        for payload in self._socket.dump(wire.Message(kind, _FAMILY, wire.text(1, NAME))):
            _, found = wire.generic(payload)
            if wire.as_text(found.get(1, b"")) == NAME:
                yield found
