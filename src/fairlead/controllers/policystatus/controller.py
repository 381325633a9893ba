"""The shell of policies' status: hears of policies and of nodes' reports, writes conditions, companions and Events.

One change of a report concerns the policies whose entries differ, and changes that follow each other closely are handled together: a policy
that comes into force on many nodes costs a few writes, not one for each node.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fairlead.api.resources import (
    ADMINNETWORKPOLICIES,
    BASELINEADMINNETWORKPOLICIES,
    CLUSTERNETWORKPOLICIES,
    NETWORKPOLICIES,
    NETWORKPOLICYSTATUSES,
    NODEPOLICYREPORTS,
    NODES,
)
from fairlead.controllers.actions import Action, Create, Replace, Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.ownership import controller_uid, reference_to
from fairlead.controllers.policystatus import core

Json = dict[str, Any]

_TOGETHER_S = 0.5
_OWN_STATUS = {each.kind: each for each in (CLUSTERNETWORKPOLICIES, ADMINNETWORKPOLICIES, BASELINEADMINNETWORKPOLICIES)}
_RESOURCES = {NETWORKPOLICIES.kind: NETWORKPOLICIES, **_OWN_STATUS}


class PolicyStatusController(Controller):
    """Keeps the conditions of all kinds of policies. Keys: (kind, `namespace/name`)."""

    name = "policy-status-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = self.follow(NODES)
        self._nodes.on_change(self._node_changed)
        self._reports = self.follow(NODEPOLICYREPORTS)
        self._reports.on_change(self._report_changed)
        self._companions = self.follow(NETWORKPOLICYSTATUSES)
        self._companions.on_change(partial(self._changed, NETWORKPOLICIES.kind))
        self._policies = {NETWORKPOLICIES.kind: self.follow(NETWORKPOLICIES)}
        # The others may not be installed: nobody waits for their lists.
        self._policies |= {kind: context.informers.of(resource) for kind, resource in _OWN_STATUS.items()}
        for kind, informer in self._policies.items():
            informer.on_change(partial(self._changed, kind))

    async def reconcile(self, key: Key) -> None:
        """Write what became of one policy."""
        kind, name = key
        namespace, _, own = name.partition("/")
        policy = self._policies[kind].store.get((namespace, own))
        if policy is None:
            return
        # Lists do not say the kind of each object, which Events name.
        policy = {"apiVersion": _RESOURCES[kind].api_version, "kind": kind, **policy}
        entries = {node: self._entry(node, f"{kind}/{name}") for _, node in self._nodes.store}
        if kind in _OWN_STATUS:
            await self.perform(key, self._on_itself(kind, policy, entries))
        else:
            await self.perform(key, self._on_companion((namespace, own), policy, entries))

    def _on_itself(self, kind: str, policy: Json, entries: dict[str, Json | None]) -> list[Action]:
        former = (policy.get("status") or {}).get("conditions")
        ours = core.conditions(policy, entries, self.context.now())
        conditions = core.merged(policy, ours)
        if conditions == former:
            return []
        status = {**(policy.get("status") or {}), "conditions": conditions}
        return [Status(_OWN_STATUS[kind], {**policy, "status": status}), *core.events(policy, former, ours)]

    def _on_companion(self, key: Key, policy: Json, entries: dict[str, Json | None]) -> list[Action]:
        companion = self._companions.store.get(key)
        if companion is not None and controller_uid(companion) != policy["metadata"]["uid"]:
            # Of a policy that is gone; the garbage collector removes it, and we hear of that.
            return []
        former = ((companion or {}).get("status") or {}).get("conditions")
        subject = {**policy, "status": {"conditions": former}}
        ours = core.conditions(subject, entries, self.context.now())
        if ours == former:
            return []
        told = core.events(policy, former, ours)
        if companion is not None:
            return [Replace(NETWORKPOLICYSTATUSES, {**companion, "status": {"conditions": ours}}), *told]
        made = {
            "apiVersion": NETWORKPOLICYSTATUSES.api_version,
            "kind": NETWORKPOLICYSTATUSES.kind,
            "metadata": {
                "namespace": key[0],
                "name": key[1],
                "ownerReferences": [reference_to(policy, NETWORKPOLICIES)],
            },
            "status": {"conditions": ours},
        }
        return [Create(NETWORKPOLICYSTATUSES, made, tolerant=True), *told]

    def _entry(self, node: str, policy: str) -> Json | None:
        report = self._reports.store.get(("", node))
        found: Json | None = (report.get("policies") or {}).get(policy) if report else None
        return found

    def _changed(self, kind: str, old: Json | None, new: Json | None) -> None:
        """A policy, or its companion, has changed."""
        current = new or old
        assert current is not None
        self._queue_policy(kind, current)

    def _queue_policy(self, kind: str, named: Json) -> None:
        metadata = named["metadata"]
        self.queue.add_after((kind, f"{metadata.get('namespace', '')}/{metadata['name']}"), _TOGETHER_S)

    def _report_changed(self, old: Json | None, new: Json | None) -> None:
        before, after = ((each or {}).get("policies") or {} for each in (old, new))
        for reference in before.keys() | after.keys():
            if before.get(reference) != after.get(reference):
                kind, _, name = reference.partition("/")
                if kind in self._policies:
                    self.queue.add_after((kind, name), _TOGETHER_S)

    def _node_changed(self, old: Json | None, new: Json | None) -> None:
        if old is not None and new is not None:
            return
        for kind, informer in self._policies.items():
            for policy in informer.store.values():
                self._queue_policy(kind, policy)
