"""When a plan may be applied: never before the world is known.

A plan that was compiled from half of the services would remove the other half. So nothing is applied before every kind of object has
been listed once, by the API server or by the record that the agent's last run left.
"""

from __future__ import annotations

from fairlead.world.snapshot import TABLES, Snapshot

KINDS = frozenset(TABLES)


class Gate:
    """Opens when each kind has been listed, and stays open."""

    def __init__(self) -> None:
        self._missing = set(KINDS)

    def note_listed(self, kind: str) -> None:
        """Note that all objects of a kind are known."""
        self._missing.discard(kind)

    @property
    def missing(self) -> frozenset[str]:
        """Return the kinds that have not been listed."""
        return frozenset(self._missing)

    @property
    def closed(self) -> str | None:
        """Return why no plan may be applied yet, None when one may."""
        if self._missing:
            return f"waiting for the API server: {', '.join(sorted(self._missing))} not listed yet"
        return None


def attach_problem(snapshot: Snapshot) -> str | None:
    """Return why pods cannot be attached in this world, None when they can."""
    name = snapshot.settings.node
    node = snapshot.nodes.get(name)
    if node is None:
        return f"Node {name} is not registered"
    if not node.pod_cidrs:
        return f"Node {name} has no spec.podCIDRs yet"
    return None
