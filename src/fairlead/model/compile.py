"""Compiles a snapshot into the plan of its node: where the parts of the model meet.

Pure: no clock, no log, no environment. `compile` does everything from scratch; a `Compiler` remembers its last stages and redoes those
whose inputs changed, so that a changed endpoint costs its service alone (plus one copy of the tables that it is in). Both give equal
plans, whatever the order of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fairlead.api.decode import reference
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.dns import dns_rows, zone_rows
from fairlead.model.egress import EgressStage
from fairlead.model.gateway.stage import GatewayStage
from fairlead.model.merge import MergedRows
from fairlead.model.podnet import attachment_rows, node_rows
from fairlead.model.policy.facts import PolicyFact
from fairlead.model.policy.stage import PolicyStage
from fairlead.model.rows import Rows
from fairlead.model.services import ProxyFacts, proxy_facts, service_rows
from fairlead.plan.plan import Delta, Plan
from fairlead.plan.tables import TABLES, Key, Origin, Row
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot, Token

POLICY_KINDS: Mapping[str, str] = {
    "NetworkPolicy": "network_policies",
    "ClusterNetworkPolicy": "cluster_policies",
    "AdminNetworkPolicy": "admin_policies",
    "BaselineAdminNetworkPolicy": "baseline_policies",
}
"""Kind of policy → table of the snapshot."""
_ZONE: ObjectKey = ("", "")
"""Owns the records of the zone itself; no service has this key."""


class Compiled(msgspec.Struct, frozen=True):
    """A plan and what is wrong with the world that it was made from."""

    plan: Plan
    diagnostics: tuple[Diagnostic, ...]
    """Sorted."""


def compile(snapshot: Snapshot) -> Compiled:
    """Return the plan of the snapshot's node, with origins, from scratch."""
    return Compiler(origins=True).compile(snapshot)


class Compiler:
    """Compiles one snapshot after the other of one node."""

    def __init__(self, *, origins: bool = False) -> None:
        """With `origins`, each plan says what caused its rows, which costs time proportional to all rows."""
        self._origins = origins
        self._serial = 0
        self._token: Token | None = None
        self._nodes_read: tuple[object, ...] = ()
        self._nodes = Rows()
        self._pods_read: tuple[object, ...] = ()
        self._pods = Rows()
        self._policy_stage = PolicyStage()
        self._policy = Rows()
        self._egress_stage = EgressStage()
        self._egress = Rows()
        self._gateway = GatewayStage()
        self._settings: object = None
        self._facts = ProxyFacts()
        self._services = MergedRows()
        self._tables: dict[str, Mapping[Key, Row]] = {}
        self._sources: dict[str, tuple[Mapping[Key, Row], ...]] = {}

    def compile(self, snapshot: Snapshot) -> Compiled:
        """Return the plan of the snapshot's node."""
        touched = snapshot.services_changed_since(self._token) if self._token is not None else None
        changed = self._compile_services(snapshot, touched)
        gateway = self._gateway.update(snapshot, touched)
        changed = None if changed is None or gateway is None else {**changed, **gateway}
        self._compile_podnet(snapshot)
        self._policy = self._policy_stage.update(snapshot)
        self._egress = self._egress_stage.update(snapshot)
        delta = self._join(changed)
        self._serial += 1
        plan = Plan(
            node=snapshot.settings.node,
            revision=snapshot.revision,
            tables={table: rows for table, rows in self._tables.items() if rows},
            origins=self._all_origins() if self._origins else {},
            serial=self._serial,
            delta=delta,
        )
        self._token = snapshot.token
        return Compiled(plan, self._diagnostics(snapshot))

    def policy_facts(self, snapshot: Snapshot) -> dict[Origin, PolicyFact]:
        """Return what this node makes of each policy of the snapshot that was compiled last.

        Costs time proportional to the policies and to this node's rules: for now and then, not for each change.
        """
        findings = self._policy_stage.findings()
        problems: dict[Origin, list[str]] = {}
        for each in (*self._policy.diagnostics, *snapshot.undecodable.values()):
            problems.setdefault(each.object, []).append(f"{each.field}: {each.message}".removeprefix(": "))
        unresolved: dict[Origin, list[str]] = {}
        for origin, text in findings.unresolved:
            unresolved.setdefault(origin, []).append(text)
        names: dict[Origin, list[tuple[str, str]]] = {}
        for origin, field, name in findings.names:
            names.setdefault(origin, []).append((field, name))
        generations: dict[Origin, int] = {
            reference(kind, *key): 0 for kind, key in snapshot.undecodable if kind in POLICY_KINDS
        }
        for kind, table in POLICY_KINDS.items():
            policies: Mapping[ObjectKey, Any] = getattr(snapshot, table)
            generations |= {reference(kind, *key): each.metadata.generation for key, each in policies.items()}
        return {
            origin: PolicyFact(
                generation=generation,
                selects=origin in findings.selecting,
                problems=tuple(problems.get(origin, ())),
                unresolved=tuple(unresolved.get(origin, ())),
                names=tuple(names.get(origin, ())),
            )
            for origin, generation in generations.items()
        }

    def _compile_podnet(self, snapshot: Snapshot) -> None:
        read = (snapshot.settings, snapshot.nodes, snapshot.interfaces)
        if not _same(read, self._nodes_read):
            self._nodes = node_rows(*read)
            self._nodes_read = read
        node = snapshot.nodes.get(snapshot.settings.node)
        pods_read = (snapshot.attachments, node, snapshot.interfaces)
        if not _same(pods_read, self._pods_read):
            self._pods = attachment_rows(*pods_read)
            self._pods_read = pods_read

    def _compile_services(
        self, snapshot: Snapshot, touched: frozenset[ObjectKey] | None
    ) -> Mapping[str, frozenset[Key]] | None:
        """Redo the services that changed; return the keys of their rows that changed, None when everything was redone."""
        if snapshot.settings is not self._settings:
            self._settings = snapshot.settings
            self._services.update({_ZONE: zone_rows(snapshot.settings)})
            touched = None
        node = snapshot.nodes.get(snapshot.settings.node)
        facts = proxy_facts(snapshot.settings, node, snapshot.interfaces)
        if facts != self._facts:
            self._facts = facts
            touched = None
        everything = touched is None
        keys: Iterable[ObjectKey] = touched if touched is not None else ()
        if touched is None:
            keys = {**dict.fromkeys(self._services.owners() - {_ZONE}), **snapshot.services}
        changed = self._services.update({key: self._service(snapshot, key) for key in keys})
        return None if everything else changed

    def _service(self, snapshot: Snapshot, key: ObjectKey) -> Rows | None:
        service = snapshot.services.get(key)
        if service is None:
            return None
        slices = snapshot.slices_of.get(key, ())
        proxy = service_rows(service, slices, self._facts)
        names = dns_rows(snapshot.settings, service, slices)
        return Rows(
            {**proxy.tables, **names.tables},
            {**proxy.origins, **names.origins} if self._origins else {},
            proxy.diagnostics + names.diagnostics,
        )

    def _join(self, changed: Mapping[str, frozenset[Key]] | None) -> Delta | None:
        """Join the parts' tables and return what changed since the last plan, None when that is not known."""
        merged = {**self._services.tables(), **self._gateway.tables()}
        delta: dict[str, frozenset[Key]] = {}
        known = changed is not None and self._serial > 0
        for table in TABLES:
            parts = (self._nodes, self._pods, self._policy, self._egress)
            sources = tuple(part.tables[table] for part in parts if table in part.tables)
            old = self._tables.get(table, {})
            if table in merged:
                sources = (merged[table], *sources)
            if _same(sources, self._sources.get(table, ())):
                continue
            self._sources[table] = sources
            # The large tables come from the services alone and are taken as they are.
            new = sources[0] if len(sources) == 1 else _union(sources)
            self._tables[table] = new
            if changed is not None and table in merged and len(sources) == 1:
                delta[table] = changed.get(table, frozenset())
            elif known:
                delta[table] = frozenset(_changed_keys(old, new))
        return Delta(since=self._serial, keys=delta) if known else None

    def _all_origins(self) -> dict[tuple[str, Key], tuple[Origin, ...]]:
        found = self._services.origins() | self._gateway.origins()
        for part in (self._egress, self._policy, self._pods, self._nodes):
            found |= part.origins
        return found

    def _diagnostics(self, snapshot: Snapshot) -> tuple[Diagnostic, ...]:
        found = [
            *self._nodes.diagnostics,
            *self._pods.diagnostics,
            *self._policy.diagnostics,
            *self._egress.diagnostics,
            *self._services.diagnostics(),
            *self._gateway.diagnostics(),
        ]
        return tuple(sorted({*found, *snapshot.undecodable.values()}))


def _same(new: tuple[object, ...], old: tuple[object, ...]) -> bool:
    """Tell whether two tuples hold the very same values: snapshots keep the identity of what did not change."""
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def _changed_keys(old: Mapping[Key, Row], new: Mapping[Key, Row]) -> Iterator[Key]:
    """Yield the keys whose rows differ; rows that are the same object cost nothing."""
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before is not after and before != after:
            yield key


def _union(sources: tuple[Mapping[Key, Row], ...]) -> dict[Key, Row]:
    """Return all rows; where two parts claim one key the earlier part wins."""
    table: dict[Key, Row] = {}
    for source in reversed(sources):
        table |= source
    return table
