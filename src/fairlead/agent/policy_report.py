"""Tells the cluster which policies are in force on this node: one object a node, written when it says something new, and not more often.

Only what the kernel already enforces is reported. It must never hold up the engine: it looks at it now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.api.resources import NODEPOLICYREPORTS, NODES
from fairlead.engine.reconcile import Engine
from fairlead.model.policy.facts import PolicyFact
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, NotFound, Unreachable

log = logging.getLogger(__name__)

Json = dict[str, Any]

_PERIOD_S = 0.5
_RETRY_S = 10.0
_SHARE = 0.02
"""Writing may take this part of the time at most, however many policies there are."""
_DRIVER = "policy"
_MOST_LINES, _MOST_CHARACTERS = 16, 512


class PolicyReporter:
    """Keeps the NodePolicyReport of one node current."""

    def __init__(
        self, client: Client, engine: Engine, node: str, absent: Callable[[], frozenset[str]] = frozenset
    ) -> None:
        """`absent` returns the domain names of which pods of the node were told that there are none."""
        self._client = client
        self._engine = engine
        self._node = node
        self._absent = absent
        self._candidate: tuple[int, Mapping[str, Json]] | None = None
        self._looked_at: tuple[int, frozenset[str]] = (0, frozenset())
        self._written: Mapping[str, Json] | None = None
        """What the object holds; None before it was read, or made."""

    def __repr__(self) -> str:
        return f"<PolicyReporter {self._node} written={len(self._written or ())}>"

    async def run(self) -> None:
        """Report, forever."""
        while True:
            pause = _PERIOD_S
            entries = self._in_force()
            if entries is not None and entries != self._written:
                begin = time.monotonic()
                try:
                    await self._write(entries)
                except (ApiError, Unreachable) as error:
                    log.info("policies not reported", extra={"node": self._node, "error": str(error)})
                    self._written, self._looked_at = None, (0, frozenset())
                    pause = _RETRY_S
                else:
                    pause = max(_PERIOD_S, (time.monotonic() - begin) / _SHARE)
            await asyncio.sleep(pause)

    def _in_force(self) -> Mapping[str, Json] | None:
        """Return the entries of the newest plan that was looked at and is in force by now, None when there is none."""
        plan = self._engine.plan
        absent = self._absent()
        if self._candidate is None and plan is not None and (plan.serial, absent) != self._looked_at:
            self._looked_at = (plan.serial, absent)
            self._candidate = plan.serial, entries_of(self._engine.policy_facts(), absent)
        driver = next((each for each in self._engine.driver_health() if each.driver == _DRIVER), None)
        if self._candidate is None or driver is None or driver.serial < self._candidate[0]:
            return None
        (_, entries), self._candidate = self._candidate, None
        return entries

    async def _write(self, entries: Mapping[str, Json]) -> None:
        if self._written is None:
            try:
                found = await self._client.get(NODEPOLICYREPORTS, self._node)
            except NotFound:
                await self._create(entries)
                self._written = entries
                return
            self._written = found.get("policies") or {}
        patch = changes(self._written, entries)
        if patch:
            body = {"revision": self._engine.snapshot.revision, "policies": patch}
            await self._client.patch(NODEPOLICYREPORTS, self._node, body)
        self._written = entries

    async def _create(self, entries: Mapping[str, Json]) -> None:
        """Make the object; it goes with its Node."""
        node = await self._client.get(NODES, self._node)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["metadata"]["uid"]}
        report = {
            "apiVersion": NODEPOLICYREPORTS.api_version,
            "kind": NODEPOLICYREPORTS.kind,
            "metadata": {"name": self._node, "ownerReferences": [owner]},
            "revision": self._engine.snapshot.revision,
            "policies": entries,
        }
        await self._client.create(NODEPOLICYREPORTS, report)


def entries_of(facts: Mapping[str, PolicyFact], absent: frozenset[str] = frozenset()) -> dict[str, Json]:
    """Return the report's entries, bounded in size; `absent` are domain names that do not exist."""
    return {origin: _entry(fact, absent) for origin, fact in facts.items()}


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json | None]:
    """Return the JSON merge patch (RFC 7396) from one set of entries to another; empty when they are equal."""
    found: dict[str, Json | None] = dict.fromkeys(old.keys() - new.keys())
    for origin, entry in new.items():
        before = old.get(origin, {})
        if before != entry:
            found[origin] = {**dict.fromkeys(before.keys() - entry.keys()), **entry}
    return found


def _entry(fact: PolicyFact, absent: frozenset[str]) -> Json:
    entry: Json = {"generation": fact.generation}
    if fact.selects:
        entry["selects"] = True
    missing = tuple(f"{field}: there is no name {name}" for field, name in fact.names if name in absent)
    for name, lines in (("problems", fact.problems), ("unresolved", fact.unresolved), ("absent", missing)):
        if lines:
            entry[name] = [line[:_MOST_CHARACTERS] for line in lines[:_MOST_LINES]]
    return entry
