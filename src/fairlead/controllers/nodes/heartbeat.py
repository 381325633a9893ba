"""Whether nodes are alive, judged by how long nothing new was heard of them. Pure; the caller passes the time of a steady clock.

Times that a node writes are compared with each other only, never with ours: clocks differ. A node counts from when we first saw it, so that a
restart of the controller condemns nobody. Time in which the API server itself was silent counts for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fairlead.controllers import conditions

Json = dict[str, Any]


@dataclass(slots=True)
class Heartbeats:
    """What was last heard of each node, and when."""

    grace_s: float
    _heard: dict[str, tuple[tuple[str, str], float]] = field(default_factory=dict)

    def hear(self, node: Json, lease: Json | None, now: float) -> None:
        """Take in the state of a node and of its lease."""
        name = node["metadata"]["name"]
        sign = _sign(node, lease)
        known = self._heard.get(name)
        if known is None or known[0] != sign:
            self._heard[name] = sign, now

    def forget(self, name: str) -> None:
        """Forget a node that is gone."""
        self._heard.pop(name, None)

    def excuse(self, pause_s: float) -> None:
        """Do not count `pause_s` seconds, in which nobody could be heard."""
        self._heard = {name: (sign, at + pause_s) for name, (sign, at) in self._heard.items()}

    def silent(self, name: str, now: float) -> bool:
        """Tell whether nothing was heard of the node for the grace period."""
        known = self._heard.get(name)
        return known is not None and now - known[1] > self.grace_s


def _sign(node: Json, lease: Json | None) -> tuple[str, str]:
    ready = conditions.condition(node, "Ready") or {}
    # A condition that we set to Unknown keeps the node's last heartbeat: our own write is no sign of life.
    beat = str(ready.get("lastHeartbeatTime") or "")
    return beat, str(((lease or {}).get("spec") or {}).get("renewTime") or "")
