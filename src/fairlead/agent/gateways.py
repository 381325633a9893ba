"""Which egress gateways answer this node: the agent asks the kernels of all candidates, so that nobody has to tell it.

Neither the API server nor a controller is part of the decision: pods go on leaving through a living gateway when both are gone.
"""

from __future__ import annotations

from fairlead.engine.reconcile import Engine
from fairlead.model.egress import asked
from fairlead.sources.health import Health, lives
from fairlead.world.events import ReachabilityObserved
from fairlead.world.snapshot import Snapshot

PORT = 10256
"""Where nodes serve their health; that it is refused tells as much."""


class GatewayWatch:
    """Tells an engine which candidates do not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read: tuple[object, ...] = ()
        self._health = Health(self._changed, lives)
        engine.on_snapshot(self._on_snapshot)

    def __repr__(self) -> str:
        return f"<GatewayWatch failing={sorted(self._health.failing)}>"

    async def run(self) -> None:
        """Ask forever."""
        await self._health.run()

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        read = (snapshot.egress_gateways, snapshot.nodes)
        if len(self._read) == len(read) and all(a is b for a, b in zip(read, self._read, strict=True)):
            return
        self._read = read
        addresses = asked(snapshot.egress_gateways.values(), snapshot.nodes.values(), snapshot.settings.node)
        self._health.watch((address, PORT) for address in addresses)

    def _changed(self) -> None:
        self._engine.push(ReachabilityObserved(frozenset(address for address, _ in self._health.failing)))
