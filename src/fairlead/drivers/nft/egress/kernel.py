"""The egress table of one namespace: observed, compared with what a plan wants, changed in one transaction. Blocking."""

from __future__ import annotations

import logging

from fairlead.drivers.nft import expressions as x
from fairlead.drivers.nft import ruleset, wire
from fairlead.drivers.nft.egress import state, structure
from fairlead.drivers.nft.egress.state import TABLES, Contents
from fairlead.drivers.nft.egress.structure import NAME
from fairlead.drivers.nft.listing import Listing
from fairlead.drivers.nft.socket import NftError, NftSocket, describe
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan

log = logging.getLogger(__name__)


class EgressKernel:
    """The state machine between plans and a socket."""

    def __init__(self, socket: NftSocket) -> None:
        self._socket = socket
        self._listing = Listing(socket, NAME)
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
        messages = [*(state.remove() if self._listing.exists() else ()), *state.create(empty)]
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
            self._known, _ = self._listing.consistent(self._read)
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
        messages = [*(state.remove() if self._listing.exists() else ()), *state.create(wanted)]
        refusals = self._socket.transact(wire.transaction(messages))
        if refusals:
            raise NftError(refusals[0].code, f"table {NAME}: {describe(refusals[0])}")
        self._known = wanted
        return Outcome(len(messages), tuple(failures))

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return (packets, bytes) by counter; raises OSError."""
        return self._listing.counters()

    def _remove(self) -> Outcome:
        self._known = None
        if not self._listing.exists():
            return Outcome()
        refusals = self._socket.transact(wire.transaction(state.remove()))
        if refusals:
            raise NftError(refusals[0].code, f"removing table {NAME}: {describe(refusals[0])}")
        return Outcome(1)

    def _read(self) -> Contents | None:
        """Return what the table holds; None when it must be made anew."""
        if self._listing.flags() != 0:
            return None
        shapes = dict(map(ruleset.listed_set, self._listing.objects(wire.GETSET)))
        hooks = dict(map(ruleset.listed_chain, self._listing.objects(wire.GETCHAIN)))
        rules: dict[str, list[x.Parsed]] = {}
        for found in self._listing.objects(wire.GETRULE):
            rules.setdefault(wire.as_text(found[2]), []).append(x.parse(found.get(4, b"")))
        counters = {wire.as_text(found[2]) for found in self._listing.objects(wire.GETOBJ)}
        if not state.is_intact(shapes, hooks, rules, counters):
            return None
        sets: dict[str, dict[bytes, bytes]] = {}
        for name in shapes:
            listed = state.contents(name, list(self._listing.elements(name)))
            if listed is None:
                return None
            sets[name] = listed
        return Contents(sets)
