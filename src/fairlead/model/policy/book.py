"""The policies of the cluster, read and in their order: kept current at the cost of those that change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fairlead.base.diagnostics import Diagnostic
from fairlead.model.policy.members import differing, label_keys
from fairlead.model.policy.read import Choices, read_cluster_policy, read_network_policy, ties
from fairlead.model.policy.rules import Policy
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

TABLES = ("network_policies", "cluster_policies", "admin_policies", "baseline_policies")
"""Tables of the snapshot that hold policies."""
CLUSTER = ""
"""Stands for every namespace, where an own one is asked for."""


class PolicyBook:
    """Policies by the namespace whose pods they can govern."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._tables: dict[str, Mapping[ObjectKey, Any]] = {}
        self._policies: dict[tuple[str, ObjectKey], Policy] = {}
        self._diagnostics: dict[tuple[str, ObjectKey], tuple[Diagnostic, ...]] = {}
        """Of those that have any."""
        self._owned: dict[str, dict[str, Policy]] = {}
        """Namespace, or CLUSTER → reference → policy."""
        self._ordered: dict[str, tuple[Policy, ...]] = {}
        self._key_counts: Counter[str] = Counter()
        self.keys: frozenset[str] = frozenset()
        """Keys of pod labels that any selector asks for."""
        self.complaints: tuple[Diagnostic, ...] = ()
        """What is wrong with policies; sorted."""

    def __repr__(self) -> str:
        return f"<PolicyBook policies={len(self._policies)}>"

    def update(self, snapshot: Snapshot) -> set[str]:
        """Take over a snapshot's policies; return the namespaces whose pods may be governed otherwise, CLUSTER for all.

        Cost: grows with the policies that differ, and for their namespace with all of it when it is next asked for.
        """
        touched: set[str] = set()
        for table in TABLES:
            policies: Mapping[ObjectKey, Any] = getattr(snapshot, table)
            for key in differing(self._tables.get(table, {}), policies):
                touched |= self._set(table, key, policies.get(key))
            self._tables[table] = policies
        if touched:
            self._ordered = {} if CLUSTER in touched else {k: v for k, v in self._ordered.items() if k not in touched}
            keys = frozenset(key for key, count in self._key_counts.items() if count > 0)
            self.keys = self.keys if keys == self.keys else keys
        return touched

    def of(self, namespace: str) -> tuple[Policy, ...]:
        """Return the policies that may govern pods of a namespace, in their order."""
        found = self._ordered.get(namespace)
        if found is None:
            both = (*self._owned.get(CLUSTER, {}).values(), *self._owned.get(namespace, {}).values())
            found = self._ordered[namespace] = tuple(sorted(both, key=lambda each: each.order))
        return found

    def _set(self, table: str, key: ObjectKey, obj: Any | None) -> set[str]:
        at = (table, key)
        touched: set[str] = set()
        old = self._policies.pop(at, None)
        if old is not None:
            touched.add(old.subject.own)
            del self._owned[old.subject.own][old.reference]
            self._key_counts.subtract(label_keys([old]))
        complained = self._diagnostics.pop(at, ())
        if obj is not None:
            read = read_network_policy(obj, self._choices) if table == TABLES[0] else read_cluster_policy(obj)
            policy, diagnostics = read
            if policy is not None:
                touched.add(policy.subject.own)
                self._policies[at] = policy
                self._owned.setdefault(policy.subject.own, {})[policy.reference] = policy
                self._key_counts.update(label_keys([policy]))
            if diagnostics:
                self._diagnostics[at] = diagnostics
        if complained or at in self._diagnostics or CLUSTER in touched:
            several = ties(sorted(self._owned.get(CLUSTER, {}).values(), key=lambda each: each.order))
            found = {each for diagnostics in self._diagnostics.values() for each in diagnostics}
            self.complaints = tuple(sorted({*found, *several}))
        return touched
