"""The shell of load balancers' addresses: one Service after the other, so that no address is given twice."""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import SERVICES
from fairlead.controllers import moments
from fairlead.controllers.actions import Event, Status
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key
from fairlead.controllers.loadbalancers import core
from fairlead.sources.informer import key_of

Json = dict[str, Any]


class LoadBalancerController(Controller):
    """Gives Services of type LoadBalancer their addresses; without pools it leaves all of them alone."""

    name = "service-lb-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pools = [core.Pool(cidr) for cidr in context.settings.load_balancer_cidrs]
        self._given: dict[Key, tuple[str, ...]] = {}
        """What Services have, also as far as the informer does not know it yet."""
        self._said: dict[Key, tuple[str, ...]] = {}
        self._services = self.follow(SERVICES)
        self._services.on_change(self._changed)

    async def reconcile(self, key: Key) -> None:
        """Give one Service its addresses, or take them back."""
        if not self._pools:
            return
        service = self._services.store.get(key)
        if service is None or not core.is_ours(service):
            taken_back = self._given.pop(key, None)
            if service is not None and service["spec"].get("type") != "LoadBalancer" and core.held(service):
                await self.perform(key, [Status(SERVICES, {**service, "status": core.status(service, ())})])
            if taken_back:
                self._wake_waiting()
            return
        others = {address: "/".join(owner) for owner, some in self._given.items() if owner != key for address in some}
        decision = core.decide(service, self._pools, others)
        freed = set(self._given.get(key, ())) - set(decision.addresses)
        self._given[key] = decision.addresses
        if decision.problems != self._said.get(key, ()):
            self._said[key] = decision.problems
            await self.perform(
                key, [Event(service, "Warning", "AllocationFailed", problem) for problem in decision.problems]
            )
        if freed:
            self._wake_waiting()
        now = moments.text(self.context.now())
        wanted = core.status(service, decision.addresses, decision.problems, now)
        if (decision.addresses, "; ".join(decision.problems)) != (core.held(service), core.lacking(service)):
            event = Event(service, "Normal", "IPAllocated", f"Assigned IP {', '.join(decision.addresses)}")
            is_new = decision.addresses and decision.addresses != core.held(service)
            await self.perform(key, [Status(SERVICES, {**service, "status": wanted}), *([event] if is_new else [])])

    def _changed(self, old: Json | None, new: Json | None) -> None:
        current = new or old
        assert current is not None
        key = key_of(current)
        if new is not None and core.is_ours(new):
            # Whoever has an address keeps it, in whatever order Services are looked at after a start.
            self._given.setdefault(key, core.held(new))
        if new is None:
            self._said.pop(key, None)
        if any(each is not None and (core.held(each) or core.is_ours(each)) for each in (old, new)):
            self.queue.add(key)

    def _wake_waiting(self) -> None:
        for key, problems in self._said.items():
            if problems:
                self.queue.add(key)
