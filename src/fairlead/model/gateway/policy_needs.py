"""What SecurityPolicies need beside the routes that they guard: services that are asked about requests, and keys of tokens. Pure but for what it remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.api.decode import reference
from fairlead.model.gateway.attachment import Reading
from fairlead.model.gateway.backends import Target
from fairlead.model.gateway.security import Security
from fairlead.model.rows import Rows
from fairlead.world.events import ObjectKey


class PolicyNeeds:
    """The needs of all SecurityPolicies."""

    def __init__(self) -> None:
        self._meant: dict[ObjectKey, Security] = {}
        self.targets: Mapping[str, Target] = {}
        """Cluster → what it is, of those that are asked about requests."""

    def __repr__(self) -> str:
        return f"<PolicyNeeds policies={len(self._meant)} targets={len(self.targets)}>"

    def put(self, readings: Iterable[tuple[ObjectKey, Reading]]) -> tuple[set[str], dict[ObjectKey, Rows | None]]:
        """Take all policies; return the clusters that came or went, and the rows of keys that changed, None where they are gone."""
        before, targets = self._meant, self.targets
        self._meant = {key: each.value for key, each in readings if each.value is not None}
        self.targets = {name: target for each in self._meant.values() for name, target in each.targets.items()}
        parts: dict[ObjectKey, Rows | None] = {}
        for key in before.keys() | self._meant.keys():
            old, new = (each[key].jwt if key in each else None for each in (before, self._meant))
            if old != new:
                parts["jwt", "/".join(key)] = (
                    Rows.of([("gateway_jwt", new)], [reference("SecurityPolicy", *key)]) if new is not None else None
                )
        return set(targets.keys() ^ self.targets.keys()), parts
