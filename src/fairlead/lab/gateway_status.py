"""What a lab's Gateways say of themselves, for `fairlead status`: addresses, listeners, attached routes, and what is wrong. Pure.

Gateways are their users' objects, not components: one that cannot serve is shown, and the lab is healthy all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.api.resources import GATEWAY_KINDS
from fairlead.model.gateway.names import CONTROLLER

Json = dict[str, Any]
KINDS = frozenset((*GATEWAY_KINDS, "Ingress"))
"""Of objects whose problems are a Gateway's business."""
_ONLY_FALSE = "fairlead.dev/"
"""How types of conditions begin that are there only to say that something is wrong."""
_POSITIVE = frozenset(("Accepted", "Programmed", "ResolvedRefs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerItem:
    """A listener. `problem` says why it does not serve as it should; empty when it does."""

    name: str
    port: int
    protocol: str
    routes: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayItem:
    """A Gateway. `problem` says why not every node serves what it asks for; empty when all do."""

    namespace: str
    name: str
    programmed: bool
    addresses: tuple[str, ...]
    listeners: tuple[ListenerItem, ...]
    problem: str

    @property
    def detail(self) -> str:
        """Return one line for people."""
        parts = [", ".join(self.addresses)] if self.addresses else []
        parts += [
            f"{each.name} {each.port}/{each.protocol}: {each.routes} route{'' if each.routes == 1 else 's'}"
            for each in self.listeners
        ]
        wrong = dict.fromkeys(
            [self.problem, *(f"{each.name}: {each.problem}" for each in self.listeners if each.problem)]
        )
        return "; ".join([*parts, *(each for each in wrong if each)])


def gateways(found: Iterable[Json], classes: Iterable[Json]) -> Iterator[GatewayItem]:
    """Yield the Gateways of classes of ours, by namespace and name."""
    ours = {each["metadata"]["name"] for each in classes if each["spec"].get("controllerName") == CONTROLLER}
    for each in sorted(found, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"])):
        if each["spec"].get("gatewayClassName") in ours:
            yield _gateway(each)


def _gateway(obj: Json) -> GatewayItem:
    metadata, state = obj["metadata"], obj.get("status") or {}
    conditions = {each["type"]: each for each in state.get("conditions") or ()}
    programmed = conditions.get("Programmed", {})
    current = programmed.get("observedGeneration", 0) >= metadata.get("generation", 0)
    told = {each["name"]: each for each in state.get("listeners") or ()}
    problem = _problem(conditions) if current else "the controller has not looked at this generation yet"
    return GatewayItem(
        namespace=metadata["namespace"],
        name=metadata["name"],
        programmed=current and programmed.get("status") == "True",
        addresses=tuple(each["value"] for each in state.get("addresses") or ()),
        listeners=tuple(_listener(each, told.get(each["name"], {})) for each in obj["spec"].get("listeners") or ()),
        problem=problem,
    )


def _listener(spec: Json, told: Json) -> ListenerItem:
    return ListenerItem(
        name=spec["name"],
        port=spec["port"],
        protocol=spec["protocol"],
        routes=told.get("attachedRoutes", 0),
        problem=_problem({each["type"]: each for each in told.get("conditions") or ()}),
    )


def _problem(conditions: Mapping[str, Json]) -> str:
    for kind, each in conditions.items():
        if each["status"] == "False" and (kind in _POSITIVE or kind.startswith(_ONLY_FALSE)):
            return str(each.get("message") or each["reason"])
    return ""
