"""Where a route attaches: what an index of listeners finds is what a look at each of them finds, and costs no such look."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.decode import decode
from fairlead.api.gateway import AllowedRoutes, Gateway, GatewaySpec, Listener, ParentRef, RouteMeta, RouteNamespaces
from fairlead.api.httproute import HTTPRoute, HTTPRouteSpec
from fairlead.api.ingress import Ingress
from fairlead.api.pod import Namespace
from fairlead.model.gateway import routes
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.hosts import intersection
from fairlead.model.gateway.ingress_classes import CONTROLLER
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, Verdict
from fairlead.model.gateway.routes import ParentVerdict, Surroundings, bind, offers_of
from fairlead.model.gateway.stage import GatewayStage
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

GATEWAY = ("default", "web")
TEAM = Namespace(metadata=decode("Namespace", {"metadata": {"name": "team", "labels": {"is": "team"}}}).metadata)
SELECTOR = {"from": "Selector", "selector": {"matchLabels": {"is": "team"}}}
HOSTS = (None, "a.x", "b.x", "A.B.x", "*.x", "*.b.x", "*.a.b.x", "b", "ab.x", "*.b")
NAMES = (*filter(None, HOSTS), "*.c.x", "c.b.x", "", "*", "*.", ".x", "*.*.x", "a.x.", "y*.x", f"{'a.' * 200}x")
LISTENERS = st.builds(
    lambda name, port, protocol, host, allowed, kinds, accepted: BoundListener(
        gateway=GATEWAY,
        api=Listener(
            name=name,
            port=port,
            protocol=protocol,
            hostname=host,
            allowed_routes=AllowedRoutes(namespaces=msgspec.convert(allowed, RouteNamespaces)),
        ),
        kinds=kinds,
        accepted=accepted,
    ),
    st.sampled_from("abc"),
    st.sampled_from((80, 443)),
    st.sampled_from(("HTTP", "HTTPS", "TCP")),
    st.sampled_from(HOSTS),
    st.sampled_from(({"from": "All"}, {"from": "Same"}, SELECTOR, {"from": "None"})),
    st.sampled_from((("HTTPRoute", "GRPCRoute"), ("HTTPRoute",), ("GRPCRoute",))),
    st.sampled_from((Verdict(), Verdict(), Verdict(), Verdict("UnsupportedValue", "port"))),
)
PARENTS = st.builds(
    lambda section, port: ParentRef(namespace=GATEWAY[0], name=GATEWAY[1], section_name=section, port=port),
    st.sampled_from((None, None, "a", "b", "d")),
    st.sampled_from((None, None, 80, 443, 8080)),
)


def by_a_look_at_each(
    listeners: list[BoundListener], ref: ParentRef, namespace: str, hostnames: tuple[str, ...]
) -> tuple[list[tuple[BoundListener, tuple[str, ...]]], str]:
    def allows(each: BoundListener) -> bool:
        source = each.api.allowed_routes.namespaces.source
        admitted = {"All": True, "Same": namespace == GATEWAY[0], "Selector": namespace == "team"}.get(source, False)
        return admitted and "HTTPRoute" in each.kinds and not each.accepted.problem

    named = [each for each in listeners if ref.section_name in (None, each.api.name) and ref.port in (None, each.port)]
    allowed = [each for each in named if allows(each)]
    found = [(each, hosts) for each in allowed if (hosts := intersection(each.hostname, hostnames))]
    if found:
        return found, ""
    if not named:
        return [], "NoMatchingParent"
    return [], "NoMatchingListenerHostname" if allowed else "NotAllowedByListeners"


@given(
    st.lists(LISTENERS, max_size=8),
    PARENTS,
    st.sampled_from(("default", "team", "other")),
    st.lists(st.sampled_from(NAMES), max_size=3),
)
def test_an_index_finds_what_a_look_at_each_listener_finds(
    listeners: list[BoundListener], ref: ParentRef, namespace: str, hostnames: list[str]
) -> None:
    api = Gateway(metadata=RouteMeta(namespace=GATEWAY[0], name=GATEWAY[1]), spec=GatewaySpec(gateway_class_name="c"))
    gateway = BoundGateway(key=GATEWAY, api=api, own=tuple(listeners))
    around = Surroundings({GATEWAY: gateway}, {}, offers_of([gateway]), {("", "team"): TEAM}, Grants({}))
    spec = HTTPRouteSpec(parent_refs=(ref,), hostnames=tuple(hostnames), rules=())
    route = HTTPRoute(metadata=RouteMeta(namespace=namespace, name="r"), spec=spec)

    (verdict,) = bind(("HTTPRoute", (namespace, "r")), route, around, {}, {}).parents
    found, reason = by_a_look_at_each(listeners, ref, namespace, tuple(hostnames))
    if verdict.accepted.reason == "UnsupportedValue":
        # The hosts are none; where they would attach is not said.
        assert (verdict.attached, reason) == ((), "")
        return
    assert _of(verdict) == ([(id(each), hosts) for each, hosts in found], reason)


def _of(verdict: ParentVerdict) -> tuple[list[tuple[int, tuple[str, ...]]], str]:
    return [(id(each.listener), each.hosts) for each in verdict.attached], verdict.accepted.reason


def _ingress(number: int, host: str) -> Event:
    backend: dict[str, Any] = {"service": {"name": "app", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    tls = [{"hosts": [host], "secretName": f"s{number}"}]
    spec = {"ingressClassName": "in", "rules": [rule], "tls": tls}
    key = ("default", f"i{number}")
    ingress = decode("Ingress", {"metadata": {"namespace": key[0], "name": key[1]}, "spec": spec})
    assert isinstance(ingress, Ingress)
    return ObjectChanged("Ingress", key, ingress)


def test_a_route_costs_no_look_at_listeners_of_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def looked(listener: str, hostnames: tuple[str, ...]) -> tuple[str, ...]:
        nonlocal looks
        looks += 1
        return intersection(listener, hostnames)

    monkeypatch.setattr(routes, "intersection", looked)
    metadata = {"name": "in", "annotations": {"fairlead.dev/ingress-dialect": "nginx"}}
    of_class = decode("IngressClass", {"metadata": metadata, "spec": {"controller": CONTROLLER}})
    many = [_ingress(number, f"h{number}.x") for number in range(50)]
    first = fold(Snapshot(settings=Settings(node="n1")), [ObjectChanged("IngressClass", ("", "in"), of_class), *many])
    stage = GatewayStage()
    stage.update(first, None)
    # A host has a route for HTTP and one for HTTPS, and each a listener.
    assert (len(stage.bound), looks) == (100, 100)

    looks = 0
    stage.update(fold(first, [_ingress(3, "*.x")]), None)
    # HTTPS of each other host is the wildcard's too, and the wildcard looks at all of these.
    assert looks == 49 * (1 + 2) + 1 + 50
