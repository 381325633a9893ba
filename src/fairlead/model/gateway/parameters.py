"""Which settings hold for a Gateway, by its own parametersRef and its class's, and which proxy it has by them. Pure.

Source: ParametersReference, LocalParametersReference. What cannot be followed leaves nothing served: what it asks for is nobody's guess.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.api.gateway import GatewayClass, Parameters
from fairlead.api.gatewayparameters import GatewayParameters, GatewayParametersSpec
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, Verdict
from fairlead.model.gateway.names import kind_name, proxy_name
from fairlead.world.events import ObjectKey

MOST_PROXIES = 16
"""Of Gateways' own: each costs every node a process."""
_GROUP, _KIND = "fairlead.dev", "GatewayParameters"
_SHARED, _DEDICATED = "Shared", "Dedicated"

Objects = Mapping[ObjectKey, GatewayParameters]


def class_verdict(of_class: GatewayClass, objects: Objects) -> Verdict:
    """Return whether Gateways of a class of ours can be what the class asks for."""
    ref = of_class.spec.parameters_ref
    return _read(ref, "spec.parametersRef", ref.namespace if ref else None, objects)[1]


def with_settings(bound: BoundGateway, of_class: GatewayClass, objects: Objects) -> BoundGateway:
    """Return a Gateway as its settings and its class's wish; nothing of it serves if these are not known."""
    ref = of_class.spec.parameters_ref
    general, verdict = _read(ref, "spec.parametersRef", ref.namespace if ref else None, objects)
    if verdict.problem:
        problem = f"GatewayClass {of_class.metadata.name}: {verdict.problem}"
        return _refused(bound, msgspec.structs.replace(verdict, problem=problem))
    infrastructure = bound.api.spec.infrastructure
    ref = infrastructure.parameters_ref if infrastructure else None
    own, verdict = _read(ref, "spec.infrastructure.parametersRef", bound.key[0], objects)
    if verdict.problem:
        return _refused(bound, verdict)
    dedicated = (own.proxy or general.proxy) == _DEDICATED
    return msgspec.structs.replace(bound, proxy=proxy_name(bound.key)) if dedicated else bound


def placed(gateways: Mapping[ObjectKey, BoundGateway]) -> dict[ObjectKey, BoundGateway]:
    """Return the Gateways, those that there is no proxy left for marked: the oldest go first."""
    wishing = [each for each in gateways.values() if each.proxy and any(listener.usable for listener in each.listeners)]
    wishing.sort(key=lambda each: each.age)
    problem = f"{MOST_PROXIES} older Gateways have proxies of their own, and nodes run no more"
    unplaced = Verdict("NoResources", f"{problem}; use GatewayParameters with proxy: {_SHARED}")
    late = {each.key: msgspec.structs.replace(each, unplaced=unplaced) for each in wishing[MOST_PROXIES:]}
    return {**gateways, **late}


def _read(
    ref: Parameters | None, field: str, namespace: str | None, objects: Objects
) -> tuple[GatewayParametersSpec, Verdict]:
    """Return the settings that a reference means, and what is wrong with it."""
    nothing = GatewayParametersSpec()
    if ref is None:
        return nothing, Verdict()
    if (ref.group, ref.kind) != (_GROUP, _KIND):
        problem = f"{field}: {kind_name(ref.group, ref.kind)} holds no settings that are known; use {_GROUP}/{_KIND}"
        return nothing, Verdict("InvalidParameters", problem)
    if namespace is None:
        problem = f"{field}.namespace: there is none, and {_KIND} are objects of namespaces"
        return nothing, Verdict("InvalidParameters", problem)
    found = objects.get((namespace, ref.name))
    if found is None:
        return nothing, Verdict("InvalidParameters", f"{field}: {_KIND} {namespace}/{ref.name} does not exist")
    if found.spec.proxy not in (None, _SHARED, _DEDICATED):
        problem = (
            f"{_KIND} {namespace}/{ref.name}, spec.proxy: {found.spec.proxy[:64]!r} is not {_SHARED} or {_DEDICATED}"
        )
        return nothing, Verdict("InvalidParameters", problem)
    return found.spec, Verdict()


def _refused(bound: BoundGateway, verdict: Verdict) -> BoundGateway:
    wrong = Verdict("Invalid", verdict.problem)

    def idle(listeners: tuple[BoundListener, ...]) -> tuple[BoundListener, ...]:
        return tuple(msgspec.structs.replace(each, accepted=wrong, conflicted=Verdict()) for each in listeners)

    return msgspec.structs.replace(
        bound,
        refused=verdict,
        own=idle(bound.own),
        sets=tuple(msgspec.structs.replace(each, listeners=idle(each.listeners)) for each in bound.sets),
    )
