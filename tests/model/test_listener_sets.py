"""Listeners that ListenerSets add to Gateways: who may, who goes first, what is refused and what is said about it (GEP-1713)."""

from __future__ import annotations

import random

import pytest
from tests.model.test_gateway import events, gateway, route, stage, world

from fairlead.model.compile import Compiler
from fairlead.model.gateway import merging, status
from fairlead.model.gateway.doors import NodeState
from fairlead.model.gateway.names import set_name
from fairlead.model.gateway.stage import GatewayStage
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold

ALL = "allowedListeners: {namespaces: {from: All}}"
TLS = "tls: {certificateRefs: [{name: c}]}"
HTTP = "[{name: http, port: 80, protocol: HTTP}]"


def open_gateway(listeners: str = HTTP, allowed: str = ALL) -> str:
    return gateway(listeners=listeners).replace("gatewayClassName: ours,", f"gatewayClassName: ours, {allowed},")


def listeners(*hosts: str, port: int = 80, protocol: str = "HTTP") -> str:
    return "".join(
        f"{{name: l{at}, port: {port}, protocol: {protocol}, hostname: {host}}}, " for at, host in enumerate(hosts)
    )


def listener_set(
    name: str, inner: str, namespace: str = "default", year: int = 2024, parent: str = "{name: web, namespace: default}"
) -> str:
    return f"""
kind: ListenerSet
metadata: {{name: {name}, namespace: {namespace}, generation: 3, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{parentRef: {parent}, listeners: [{inner}]}}
"""


def namespace(name: str, labels: str = "{}") -> str:
    return f"kind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n"


ALLOWED: dict[str, tuple[str, str, bool]] = {
    "nothing said": ("", "default", False),
    "none": ("allowedListeners: {namespaces: {from: None}}", "default", False),
    "nothing but the word": ("allowedListeners: {}", "default", False),
    "same": ("allowedListeners: {namespaces: {from: Same}}", "default", True),
    "same, from another": ("allowedListeners: {namespaces: {from: Same}}", "other", False),
    "all": (ALL, "other", True),
    "selector": ("allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", "chosen", True),
    "selector, not chosen": ("allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", "other", False),
    "selector that says nothing": ("allowedListeners: {namespaces: {from: Selector}}", "chosen", False),
    "selector that is none": (
        "allowedListeners: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Near}]}}}", "chosen", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ALLOWED, ids=str)
def test_who_may_add_listeners(case: str) -> None:
    allowed, where, good = ALLOWED[case]
    texts = [namespace("default"), namespace("other"), namespace("chosen", "{a: b}")]
    at = open_gateway(allowed=allowed) if allowed else gateway()
    found = stage(at, *texts, listener_set("s", listeners("a.x"), where))
    (bound,) = found.gateways.values()
    conditions = conditions_of(found, (where, "s"))
    if good:
        assert conditions["Accepted"] == (True, "Accepted")
        assert [each.api.name for each in bound.listeners] == ["http", "l0"]
    else:
        assert conditions == {"Accepted": (False, "NotAllowed"), "Programmed": (False, "NotAllowed")}
        assert [each.api.name for each in bound.listeners] == ["http"]


def conditions_of(found: GatewayStage, key: tuple[str, str]) -> dict[str, tuple[bool, str]]:
    bound = found.sets[key]
    gateway = found.gateways[bound.gateway]
    return {each.type: (each.status, each.reason) for each in status.set_conditions(bound, gateway, serving())}


def serving(sets: dict[str, int] | None = None, *ports: str) -> status.Serving:
    state = NodeState(generation=0, ports=ports or ("80/TCP",), sets=sets or {})
    return status.Serving(addresses=("203.0.113.10",), nodes={"n1": state})


CONFLICTS: dict[str, tuple[str, dict[str, str], dict[str, list[str]]]] = {
    "the Gateway goes first": (
        "[{name: g, port: 80, protocol: HTTP, hostname: a.x}]",
        {"s": listeners("a.x", "b.x")},
        {"g": [""], "s": ["HostnameConflict", ""]},
    ),
    "protocols": (HTTP, {"s": listeners("a.x", protocol="HTTPS")}, {"g": [""], "s": ["ProtocolConflict"]}),
    "a protocol that has lost to the Gateway's keeps no neighbor away": (
        HTTP,
        {"s": f"{listeners('a.x')}{{name: other, port: 80, protocol: HTTPS, hostname: b.x}}"},
        {"g": [""], "s": ["", "ProtocolConflict"]},
    ),
    "the older goes first": (
        HTTP, {"new": listeners("A.x"), "old": listeners("a.x")}, {"g": [""], "old": [""], "new": ["HostnameConflict"]},
    ),
    "of the same age the first by name": (
        HTTP, {"b": listeners("a.x"), "a": listeners("a.x")}, {"g": [""], "a": [""], "b": ["HostnameConflict"]},
    ),
    "within a set both lose, and what is lost keeps nobody away": (
        HTTP,
        {"old": listeners("a.x", "a.x"), "new": listeners("a.x")},
        {"g": [""], "old": ["HostnameConflict"] * 2, "new": [""]},
    ),
    "one without a conflict but of no use keeps its place": (
        HTTP,
        {"old": listeners("a.x", port=443, protocol="HTTPS"), "new": listeners("a.x", port=443, protocol="HTTPS")},
        {"g": [""], "old": [""], "new": ["HostnameConflict"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS, ids=str)
def test_what_goes_first_stands(case: str) -> None:
    own, sets, wanted = CONFLICTS[case]
    years = {"old": 2023, "new": 2025}
    found = stage(
        open_gateway(own), *(listener_set(name, inner, year=years.get(name, 2024)) for name, inner in sets.items())
    )
    (bound,) = found.gateways.values()
    verdicts = {"g": [each.conflicted.reason for each in bound.own]}
    verdicts |= {each.key[1]: [listener.conflicted.reason for listener in each.listeners] for each in bound.sets}
    assert verdicts == wanted
    for each in bound.sets:
        good = any(listener.usable for listener in each.listeners)
        reason = "ListenersNotValid" if not all(listener.usable for listener in each.listeners) else "Accepted"
        assert conditions_of(found, each.key)["Accepted"] == (good, reason)
        for listener in each.listeners:
            if listener.conflicted.problem:
                said = {
                    one.type: (one.status, one.reason) for one in status.listener_conditions(listener, bound, serving())
                }
                reason = listener.conflicted.reason
                assert said["Conflicted"] == (True, reason)
                assert said["Accepted"] == said["Programmed"] == (False, reason)
                # Whose the other is may be nobody's business here.
                assert not any(name in listener.conflicted.problem for name in ("old", "new", "default"))


PARENTS: dict[str, str] = {
    "{kind: ListenerSet, name: s}": "Accepted",
    "{kind: ListenerSet, name: s, sectionName: l1}": "Accepted",
    "{kind: ListenerSet, name: s, sectionName: http}": "NoMatchingParent",
    "{kind: ListenerSet, name: s, port: 81}": "NoMatchingParent",
    "{kind: ListenerSet, name: refused}": "NoMatchingParent",
    "{name: web, sectionName: l0}": "NoMatchingParent",
    "{name: web, sectionName: http}": "Accepted",
}


@pytest.mark.parametrize("parent", PARENTS, ids=str)
def test_routes_attach_to_what_they_name_alone(parent: str) -> None:
    only_here = open_gateway(allowed="allowedListeners: {namespaces: {from: Same}}")
    route = f"""
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{parent.replace("refused}", "refused, namespace: other}")}], rules: [{{backendRefs: [{{name: app, port: 80}}]}}]}}
"""
    found = stage(
        only_here, listener_set("s", listeners("a.x", "b.x")), listener_set("refused", listeners("c.x"), "other"), route
    )
    (bound,) = found.bound.values()
    ((_, conditions),) = status.route_parents(bound)
    assert conditions[0].reason == PARENTS[parent]
    hosts = {host for each in bound.attached for host in each.hosts}
    if conditions[0].status:
        section = next((name for name in ("l1", "http") if f"sectionName: {name}" in parent), "")
        assert hosts == {"": {"a.x", "b.x"}, "l1": {"b.x"}, "http": {"*"}}[section]
    counts = {each.api.name: found.attached(each) for each in next(iter(found.gateways.values())).listeners}
    assert sum(counts.values()) == len(bound.attached)


def test_a_grant_is_for_who_refers() -> None:
    def grant(kind: str, where: str) -> str:
        return f"""
kind: ReferenceGrant
metadata: {{name: {kind.lower()}, namespace: certs}}
spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {where}}}], to: [{{group: '', kind: Secret}}]}}
"""

    secret = "kind: Secret\nmetadata: {name: c, namespace: certs}\ndigest: abc\n"
    tls = "tls: {certificateRefs: [{name: c, namespace: certs}]}"
    own = f"[{{name: own, port: 443, protocol: HTTPS, {tls}}}]"
    inner = f"{{name: s, port: 443, protocol: HTTPS, hostname: a.x, {tls}}}"
    for kind, wanted in (("Gateway", ["", "RefNotPermitted"]), ("ListenerSet", ["RefNotPermitted", ""])):
        found = stage(open_gateway(own), listener_set("s", inner), secret, grant(kind, "default"))
        (bound,) = found.gateways.values()
        assert [each.resolved.reason for each in bound.listeners] == wanted
    # What a set of another namespace calls by its name alone is its own namespace's.
    found = stage(open_gateway(own), listener_set("s", inner.replace(", namespace: certs", ""), "certs"), secret)
    assert [each.resolved.reason for each in found.sets["certs", "s"].listeners] == [""]


def test_a_set_is_programmed_when_every_node_has_heard_of_it() -> None:
    found = stage(open_gateway(), listener_set("s", listeners("a.x")))
    bound = found.sets["default", "s"]
    (gateway,) = found.gateways.values()
    name = set_name(bound.api)

    def programmed(sets: dict[str, int], *ports: str) -> tuple[bool, str]:
        found = status.set_conditions(bound, gateway, serving(sets, *ports))[-1]
        return found.status, found.reason

    assert programmed({}) == (False, "Pending")
    assert programmed({name: 2}) == (False, "Pending")
    assert programmed({name: 3}) == (True, "Programmed")
    assert programmed({name: 3}, "81/TCP") == (False, "Pending")
    # The Gateway's own word is about its own listeners.
    assert status.gateway_conditions(gateway, serving({}))[-1].status
    waiting = status.set_conditions(bound, gateway, status.Serving())[-1]
    assert (waiting.status, waiting.reason) == (False, "ParentNotProgrammed")


def test_a_tenant_cannot_take_all_ports_or_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST_PORTS", 2)
    monkeypatch.setattr(merging, "MOST_LISTENERS", 4)
    greedy = "".join(f"{{name: p{port}, port: {port}, protocol: HTTP}}, " for port in (81, 82))
    found = stage(open_gateway(), listener_set("a", greedy), listener_set("b", listeners("a.x", "b.x", "c.x")))
    reasons = {each.key[1]: [one.accepted.reason for one in each.listeners] for each in found.sets.values()}
    assert reasons == {"a": ["", "PortUnavailable"], "b": ["", "", "TooManyListeners"]}


def test_a_host_belongs_to_the_most_exact_listener_whoever_owns_it() -> None:
    found = stage(
        open_gateway("[{name: all, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]"),
        listener_set("s", listeners("own.example"), "tenant"),
        """
kind: HTTPRoute
metadata: {name: thief}
spec: {parentRefs: [{name: web}], hostnames: [own.example], rules: [{backendRefs: [{name: app, port: 80}]}]}
""",
    )
    hosts = {key[1]: len(row.routes) for key, row in found.tables()["gateway_hosts"].items()}  # type: ignore[union-attr]
    assert hosts == {"*": 0, "own.example": 0}


def _random_event(rng: random.Random) -> Event:
    """Something about ListenerSets, policies and CA certificates; or about anything else that Gateways are made of."""
    number = rng.randrange(3)
    match rng.randrange(8):
        case 0:
            own = rng.choice((HTTP, f"[{{name: t, port: 443, protocol: HTTPS, {TLS}}}]"))
            return rng.choice(events(open_gateway(own, rng.choice((ALL, "allowedListeners: {}")))))
        case 1 | 2:
            inner = rng.choice(
                (listeners("a.x", "b.x"), listeners("a.x"), f"{{name: t, port: 443, protocol: HTTPS, {TLS}}}")
            )
            return events(listener_set(f"s{number}", inner, year=2020 + rng.randrange(3)))[0]
        case 3:
            target = rng.choice(
                ("Gateway, name: web", f"ListenerSet, name: s{number}", "Gateway, name: web, sectionName: http")
            )
            spec = rng.choice(
                ("headers: {maxKiB: 9}", "httpsRedirect: {}", "proxyProtocol: {}", "headers: {maxKiB: 0}")
            )
            text = f"""
kind: ClientTrafficPolicy
metadata: {{name: p{number}}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: {target}}}], {spec}}}
"""
            return events(text)[0]
        case 4:
            parent = rng.choice((f"{{kind: ListenerSet, name: s{number}}}", "{name: web}"))
            return events(route(f"r{number}", parent, rng.choice(("", "hostnames: [a.x],"))))[0]
        case 5:
            return events(f"kind: Secret\nmetadata: {{name: c}}\ndigest: d{number}\n")[0]
        case 6:
            kind, name = rng.choice(
                (("ListenerSet", f"s{number}"), ("ClientTrafficPolicy", f"p{number}"), ("Secret", "c"))
            )
            return ObjectChanged(kind, ("default", name), None)
        case _:
            return events(gateway())[0]


@pytest.mark.parametrize("seed", range(4))
def test_increments_equal_a_compilation_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    compiler, snapshot = Compiler(), world(open_gateway())
    for _ in range(60):
        snapshot = fold(snapshot, [_random_event(rng) for _ in range(rng.randrange(1, 4))])
        found, scratch = compiler.compile(snapshot), Compiler().compile(snapshot)
        for table in ("gateway_listeners", "gateway_hosts", "gateway_clusters", "gateway_certificates"):
            assert found.plan.table(table) == scratch.plan.table(table)
        assert sorted(found.diagnostics) == sorted(scratch.diagnostics)
