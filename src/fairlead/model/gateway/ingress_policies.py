"""Policies that an Ingress's annotations wish for: objects as users write them, attached to its Services and to its routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from fairlead.api.backendtraffic import BackendTrafficPolicy
from fairlead.api.gateway import GROUP, RouteMeta
from fairlead.api.ingress import Ingress
from fairlead.api.policytarget import PolicyTargetRef
from fairlead.api.securitypolicy import SecurityPolicy
from fairlead.api.trafficpolicy import TrafficPolicy
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.ingress_services import services_of
from fairlead.model.gateway.names import PART
from fairlead.world.events import ObjectKey

IngressPolicy: TypeAlias = BackendTrafficPolicy | SecurityPolicy | TrafficPolicy
_LAST = "~"
"""A time after all others."""
TABLES: Mapping[str, str] = {
    "BackendTrafficPolicy": "backend_traffic_policies",
    "SecurityPolicy": "security_policies",
    "TrafficPolicy": "traffic_policies",
}
"""Kind → the field of a snapshot that holds its objects."""


def policies(
    key: ObjectKey, ingress: Ingress, wishes: Wishes, served: Mapping[str, Wishes], routes: Iterable[ObjectKey]
) -> Iterator[tuple[str, ObjectKey, IngressPolicy]]:
    """Yield kind, key and policy; `served` are the wishes of Services that say something themselves.

    Policies that users write go first: these are younger than all of them.
    """
    if wishes.refusals:
        return
    namespace, name = key
    services = services_of(ingress)
    plain = tuple(each for each in services if each not in served)
    for part, names, said in (
        ("traffic", plain, wishes),
        *((f"traffic{PART}{each}", (each,), served[each]) for each in services if each in served),
    ):
        if said.traffic is not None and names and not said.refusals:
            at = (namespace, f"{name}{PART}{part}")
            spec = msgspec.structs.replace(
                said.traffic, target_refs=tuple(PolicyTargetRef(name=each) for each in names)
            )
            yield "BackendTrafficPolicy", at, BackendTrafficPolicy(metadata=_meta(at), spec=spec)
    targets = tuple(PolicyTargetRef(group=GROUP, kind="Ingress", name=each) for _, each in routes)
    if not targets:
        return
    if wishes.security is not None:
        at = (namespace, f"{name}{PART}security")
        security = msgspec.structs.replace(wishes.security, target_refs=targets)
        yield "SecurityPolicy", at, SecurityPolicy(metadata=_meta(at), spec=security)
    if wishes.limits is not None:
        at = (namespace, f"{name}{PART}limits")
        limits = msgspec.structs.replace(wishes.limits, target_refs=targets)
        yield "TrafficPolicy", at, TrafficPolicy(metadata=_meta(at), spec=limits)


def _meta(key: ObjectKey) -> RouteMeta:
    return RouteMeta(namespace=key[0], name=key[1], creation_timestamp=_LAST)
