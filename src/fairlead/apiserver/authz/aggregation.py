"""ClusterRoles that are made of others: their rules follow the roles that their selectors match.

Source: the clusterrole-aggregation controller. A change is seen when it is durable; what it leads to is written a moment later.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fairlead.apiserver.authz.rbac import CLUSTER_ROLES
from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Change, Mismatch, Op, Unavailable
from fairlead.base import selectors

Json = dict[str, Any]

log = logging.getLogger(__name__)


class Aggregation:
    """Keeps aggregated roles current while the server runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self._again = False
        store.follow(CLUSTER_ROLES, self._changed)

    def look(self) -> None:
        """Bring all aggregated roles up to date; a server that died may have left some behind."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._settle())

    def _changed(self, _: Change) -> None:
        self.look()

    async def _settle(self) -> None:
        while self._again:
            self._again = False
            try:
                ops = self._ops()
                if ops:
                    await self._store.write(*ops)
            except Mismatch:
                self._again = True
                await asyncio.sleep(0)
            except Unavailable as error:
                log.warning("roles are not aggregated", extra={"error": str(error)})

    def _ops(self) -> list[Op]:
        ops: list[Op] = []
        entries = sorted(self._store.latest_entries(CLUSTER_ROLES), key=lambda entry: entry.key)
        for entry in entries:
            if not (wanted := (entry.obj.get("aggregationRule") or {}).get("clusterRoleSelectors")):
                continue
            chosen = [selectors.from_object(each) for each in wanted]
            rules: list[Json] = []
            for other in entries:
                labels = other.obj["metadata"].get("labels")
                if other is not entry and any(each.matches(labels) for each in chosen):
                    rules += [rule for rule in other.obj.get("rules") or () if rule not in rules]
            if rules != (entry.obj.get("rules") or []):
                ops.append(Op(CLUSTER_ROLES, entry.key, entry.copy() | {"rules": rules}, entry))
        return ops
