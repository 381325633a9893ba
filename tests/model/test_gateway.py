"""What Gateways and routes mean: attachment, conflicts, references, precedence; and that increments equal a compilation from scratch."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml

from fairlead.api.decode import CLUSTER_SCOPED, decode
from fairlead.model.compile import Compiler
from fairlead.model.gateway import status, versions
from fairlead.model.gateway.durations import milliseconds
from fairlead.model.gateway.hosts import intersection, most_exact
from fairlead.model.gateway.ingress_classes import CONTROLLER as INGRESS_CONTROLLER
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, service_name
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.tables import TABLES
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

BASE = f"""
kind: GatewayClass
metadata: {{name: ours}}
spec: {{controllerName: {CONTROLLER}}}
---
kind: GatewayClass
metadata: {{name: theirs}}
spec: {{controllerName: example.com/other}}
---
kind: Node
metadata: {{name: n1}}
status: {{addresses: [{{type: InternalIP, address: 10.10.0.11}}]}}
---
kind: Service
metadata: {{name: app}}
spec: {{ports: [{{port: 80}}], clusterIP: 10.96.0.5}}
"""


def events(text: str) -> list[Event]:
    found: list[Event] = []
    for obj in yaml.safe_load_all(text):
        kind, metadata = obj["kind"], obj["metadata"]
        metadata.setdefault("namespace", "" if kind in CLUSTER_SCOPED else "default")
        found.append(ObjectChanged(kind, (metadata["namespace"], metadata["name"]), decode(kind, obj)))
    return found


def world(*texts: str) -> Snapshot:
    return fold(Snapshot(settings=Settings(node="n1")), [each for text in (BASE, *texts) for each in events(text)])


def gateway(name: str = "web", listeners: str = "[{name: http, port: 80, protocol: HTTP}]", cls: str = "ours") -> str:
    door = f"""
kind: Service
metadata: {{name: {service_name(name)}, labels: {{{GATEWAY_LABEL}: {name}}}}}
spec: {{ports: [{{port: 80, targetPort: 20000}}, {{port: 443, targetPort: 20001}}, {{port: 80, targetPort: 20002, protocol: UDP}}]}}
"""
    return f"""
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: {cls}, listeners: {listeners}}}
---{door}"""


def route(
    name: str = "r",
    parent: str = "{name: web}",
    extra: str = "",
    namespace: str = "default",
    to: str = "app",
    kind: str = "HTTPRoute",
    created: str = "2026-01-01",
) -> str:
    return f"""
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}T00:00:00Z'}}
spec: {{parentRefs: [{parent}], {extra} rules: [{{backendRefs: [{{name: {to}, port: 80}}]}}]}}
"""


def stage(*texts: str) -> GatewayStage:
    found = GatewayStage()
    found.update(world(*texts), None)
    return found


REASONS: dict[str, tuple[str, str, str]] = {
    "attached": (gateway(), route(), "Accepted"),
    "no such listener": (gateway(), route(parent="{name: web, sectionName: other}"), "NoMatchingParent"),
    "no such port": (gateway(), route(parent="{name: web, port: 81}"), "NoMatchingParent"),
    "from another namespace": (
        gateway(), route(parent="{name: web, namespace: default}", namespace="other"), "NotAllowedByListeners",
    ),
    "no host in common": (
        gateway(listeners="[{name: a, port: 80, protocol: HTTP, hostname: a.example}]"),
        route(extra="hostnames: [b.example],"), "NoMatchingListenerHostname",
    ),
    "a kind that the listener does not take": (
        gateway(listeners="[{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}]"),
        route(), "NotAllowedByListeners",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS, ids=str)
def test_why_a_route_attaches_or_not(case: str) -> None:
    at, what, reason = REASONS[case]
    (bound,) = stage(at, what).bound.values()
    ((_, conditions),) = status.route_parents(bound)
    accepted = conditions[0]
    assert (accepted.type, accepted.status, accepted.reason) == ("Accepted", reason == "Accepted", reason)


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("{name: app, port: 80}", "ResolvedRefs"),
        ("{name: app, port: 81}", "BackendNotFound"),
        ("{name: nobody, port: 80}", "BackendNotFound"),
        ("{name: app, namespace: other, port: 80}", "RefNotPermitted"),
        ("{kind: Bucket, group: x.io, name: app}", "InvalidKind"),
    ],
)
def test_why_a_reference_resolves_or_not(ref: str, reason: str) -> None:
    text = f"""
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{ref}]}}]}}
"""
    (bound,) = stage(gateway(), text).bound.values()
    ((_, (_, resolved)),) = status.route_parents(bound)
    assert (resolved.status, resolved.reason) == (reason == "ResolvedRefs", reason)


def test_a_grant_lets_references_cross_namespaces() -> None:
    other = "kind: Service\nmetadata: {name: app, namespace: other}\nspec: {ports: [{port: 80}]}\n"
    grant = """
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service, name: app}]
"""
    text = route().replace("name: app, port", "name: app, namespace: other, port")
    (bound,) = stage(gateway(), text, other, grant).bound.values()
    assert list(bound.targets) == ["other/app/80"]
    (bound,) = stage(gateway(), text, other, grant.replace("name: app", "name: another")).bound.values()
    assert list(bound.targets) == []


def test_gateways_of_others_are_left_alone() -> None:
    found = stage(gateway(cls="theirs"), route())
    assert (found.gateways, found.bound, found.tables()) == ({}, {}, {})


CONFLICTS: dict[str, tuple[str, list[str]]] = {
    "none": ("[{name: a, port: 80, protocol: HTTP}, {name: b, port: 443, protocol: HTTP}]", ["", ""]),
    "hosts": ("[{name: a, port: 80, protocol: HTTP, hostname: a.x}, {name: b, port: 80, protocol: HTTP}]", ["", ""]),
    "same host": ("[{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]", ["HostnameConflict"] * 2),
    "protocols": (
        "[{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTPS, hostname: x.y}]",
        ["ProtocolConflict"] * 2,
    ),
    "TCP and UDP": ("[{name: a, port: 53, protocol: TCP}, {name: b, port: 53, protocol: UDP}]", ["", ""]),
    "TCP twice": ("[{name: a, port: 53, protocol: TCP}, {name: b, port: 53, protocol: TCP}]", ["ProtocolConflict"] * 2),
    "UDP twice": ("[{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: UDP}]", ["ProtocolConflict"] * 2),
    "TCP and TLS": (
        "[{name: a, port: 80, protocol: TCP}, {name: b, port: 80, protocol: TLS, hostname: a.x, tls: {mode: Passthrough}}]",
        ["ProtocolConflict"] * 2,
    ),
    "TCP and HTTP": ("[{name: a, port: 80, protocol: TCP}, {name: b, port: 80, protocol: HTTP}]", ["ProtocolConflict"] * 2),
    "TLS and HTTPS of other hosts": (
        "[{name: a, port: 443, protocol: HTTPS, hostname: a.x}, "
        "{name: b, port: 443, protocol: TLS, hostname: b.x, tls: {mode: Passthrough}}]",
        ["", ""],
    ),
    "TLS and HTTPS of one host": (
        "[{name: a, port: 443, protocol: HTTPS, hostname: a.x}, "
        "{name: b, port: 443, protocol: TLS, hostname: a.x, tls: {mode: Passthrough}}]",
        ["HostnameConflict"] * 2,
    ),
    "two modes of one host": (
        "[{name: a, port: 443, protocol: TLS, hostname: a.x}, "
        "{name: b, port: 443, protocol: TLS, hostname: a.x, tls: {mode: Passthrough}}]",
        ["HostnameConflict"] * 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS, ids=str)
def test_listeners_that_are_in_conflict_lose_both(case: str) -> None:
    listeners, reasons = CONFLICTS[case]
    (found,) = stage(gateway(listeners=listeners)).gateways.values()
    assert [each.conflicted.reason for each in found.listeners] == reasons


KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "TCP": ("{name: a, port: 80, protocol: TCP}", ("TCPRoute",), ""),
    "UDP": ("{name: a, port: 80, protocol: UDP}", ("UDPRoute",), ""),
    "TLS": ("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}", ("TLSRoute",), ""),
    "a kind of another protocol beside": (
        "{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}}",
        ("TLSRoute",),
        "InvalidRouteKinds",
    ),
    "TLS that ends here without a certificate": (
        "{name: a, port: 443, protocol: TLS}", ("TLSRoute",), "InvalidCertificateRef",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_the_kinds_that_a_listener_takes(case: str) -> None:
    listener, kinds, reason = KINDS[case]
    (found,) = stage(gateway(listeners=f"[{listener}]")).gateways.values()
    supported = status.listener_status(found.listeners[0], 0)["supportedKinds"]
    assert tuple(each["kind"] for each in supported) == kinds
    assert found.listeners[0].resolved.reason == reason


def test_routes_of_connections_attach_to_their_own_protocol_alone() -> None:
    listeners = "[{name: h, port: 80, protocol: HTTP}, {name: u, port: 80, protocol: UDP}]"
    for kind, reason in (("TCPRoute", "NotAllowedByListeners"), ("UDPRoute", "Accepted")):
        text = f"""
kind: {kind}
metadata: {{name: r}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{{name: app, port: 80}}]}}]}}
"""
        (bound,) = stage(gateway(listeners=listeners), text).bound.values()
        ((_, (accepted, resolved)),) = status.route_parents(bound)
        assert accepted.reason == reason
        # The Service has a port 80 of TCP alone.
        assert resolved.reason == ("ResolvedRefs" if kind == "TCPRoute" else "BackendNotFound")


def test_another_backend_of_connections_touches_no_listener() -> None:
    text = """
kind: TLSRoute
metadata: {name: r}
spec: {parentRefs: [{name: web}], hostnames: [a.x], rules: [{backendRefs: [{name: app, port: 80}]}]}
"""
    listeners = "[{name: s, port: 443, protocol: TLS, tls: {mode: Passthrough}}]"
    compiler = Compiler()
    snapshot = world(gateway(listeners=listeners), text)
    compiler.compile(snapshot)
    plan: Any = compiler.compile(fold(snapshot, events(text.replace("name: app", "name: other")))).plan
    touched = {table: keys for table, keys in plan.delta.keys.items() if table.startswith("gateway") and keys}
    assert touched["gateway_forwards"] == {("default/web/443/s/a.x",)}
    assert not touched.keys() & {"gateway_listeners", "gateway_hosts"}


def test_a_host_belongs_to_the_most_exact_listener_alone() -> None:
    listeners = "[{name: all, port: 80, protocol: HTTP}, {name: own, port: 80, protocol: HTTP, hostname: own.example}]"
    found = stage(
        gateway(listeners=listeners), route(parent="{name: web, sectionName: all}", extra="hostnames: [own.example],")
    )
    hosts = {key[1]: len(row.routes) for key, row in found.tables()["gateway_hosts"].items()}  # type: ignore[union-attr]
    assert hosts == {"*": 0, "own.example": 0}


def test_programmed_waits_for_every_node() -> None:
    from fairlead.model.gateway.doors import NodeState

    (found,) = stage(gateway()).gateways.values()

    def programmed(**nodes: NodeState | None) -> tuple[bool, str]:
        serving = status.Serving(addresses=("203.0.113.10",), nodes=nodes)
        condition = status.gateway_conditions(found, serving)[-1]
        return condition.status, condition.message

    good = NodeState(generation=found.api.metadata.generation, ports=("80/TCP",))
    assert programmed(a=good, b=good) == (True, "")
    assert programmed(a=good, b=None) == (False, "waiting for 1 of 2 nodes: b")
    assert programmed(a=good, b=NodeState(generation=-1, ports=("80/TCP",)))[0] is False
    assert programmed(a=NodeState(generation=0, errors={"80/TCP": "Envoy: no"})) == (
        False,
        "node a, port 80/TCP: Envoy: no",
    )
    assert programmed() == (False, "no node serves yet")


PARAMETERS = "parametersRef: {group: example.com, kind: Settings, name: fast}"


@pytest.mark.parametrize(
    ("of_class", "of_gateway"), [("", PARAMETERS), (PARAMETERS, "")], ids=["the Gateway's", "its class's"]
)
def test_settings_that_nobody_knows_are_not_left_out(of_class: str, of_gateway: str) -> None:
    """Source: GatewayReasonInvalidParameters, GatewayClassReasonInvalidParameters."""
    text = f"""
kind: GatewayClass
metadata: {{name: set}}
spec: {{controllerName: {CONTROLLER}, {of_class}}}
---
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: set
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
  infrastructure: {{{of_gateway}}}
"""
    snapshot = world(text, route())
    stage = GatewayStage()
    stage.update(snapshot, None)
    found = stage.gateways["default", "web"]
    serving = status.Serving(addresses=("203.0.113.10",))
    accepted, programmed = status.gateway_conditions(found, serving)
    assert (accepted.type, accepted.status, accepted.reason) == ("Accepted", False, "InvalidParameters")
    assert (programmed.type, programmed.status, programmed.reason) == ("Programmed", False, "Invalid")
    assert "parametersRef: example.com/Settings" in accepted.message
    (of_listener, *_) = status.listener_conditions(found.own[0], found, serving)
    assert not of_listener.status
    assert not stage.tables().get("gateway_listeners")
    (condition, _) = status.class_conditions(snapshot.gateway_classes["", "set"], snapshot.gateway_parameters, {})
    assert (condition.status, condition.reason) == ((False, "InvalidParameters") if of_class else (True, "Accepted"))


def test_what_a_reference_is_told() -> None:
    bare = "{name: one}, {kind: ConfigMap, name: two}"
    listener = f"[{{name: a, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{bare}]}}}}]"
    outside = "{kind: Service, metadata: {name: app}, spec: {type: ExternalName, externalName: a.example}}"
    found = GatewayStage()
    found.update(world(gateway(listeners=listener), route(), outside), None)
    # Of several that are wrong the first is told, as everywhere.
    told = found.gateways["default", "web"].own[0].resolved.problem
    assert told == "tls.certificateRefs[0]: there is no Secret default/one of type kubernetes.io/tls"
    ((_, (_, resolved)),) = status.route_parents(found.bound["HTTPRoute", ("default", "r")])
    assert resolved.message == (
        "spec.rules[0].backendRefs[0]: Service default/app is of type ExternalName, which has no endpoints; name another"
    )
    found.update(world(gateway(listeners=listener.replace("{name: one}, ", ""))), None)
    told = found.gateways["default", "web"].own[0].resolved.problem
    assert told == "tls.certificateRefs[0]: ConfigMap is no kind of certificate; use a Secret"


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("v1.6.1", ""),
        ("v1.6.0", ""),
        ("v1.6.1-rc.1", "gateways.gateway.networking.k8s.io is of 'v1.6.1-rc.1'; v1.6 is served"),
        ("v1.60.1", "is of 'v1.60.1'"),
        ("", "is of no version (annotation gateway.networking.k8s.io/bundle-version)"),
        ("v" * 10_000, "'; v1.6 is served"),
    ],
)
def test_versions_of_definitions(version: str, told: str) -> None:
    found = versions.verdict({"gateways.gateway.networking.k8s.io": version, "httproutes.x": "v1.6.1"})
    assert told in found.problem
    assert (found.reason, len(found.problem) < 200) == ("UnsupportedVersion" if told else "", True)
    assert "may be read" in versions.verdict({}).problem


def test_conditions_that_others_wrote_stay() -> None:
    def written(*types: str) -> list[dict[str, object]]:
        return [{"type": each, "status": "True", "reason": "R", "lastTransitionTime": "then"} for each in types]

    former = written("example.com/RateLimited", "Accepted", "fairlead.dev/Partial", "a.example/Scanned")
    found = status.with_times([status.Condition("Accepted", True, "Accepted")], former, 3, "now")
    assert [each["type"] for each in found] == ["Accepted", "example.com/RateLimited", "a.example/Scanned"]
    assert found[1:] == written("example.com/RateLimited", "a.example/Scanned")
    assert found == status.with_times([status.Condition("Accepted", True, "Accepted")], found, 3, "later")


@pytest.mark.parametrize(
    ("listener", "names", "wanted"),
    [
        ("", None, ("*",)),
        ("a.x", None, ("a.x",)),
        ("", ("B.x",), ("b.x",)),
        ("*.x", ("a.x", "*.x", "*.y", "x", "b.a.x"), ("a.x", "*.x", "b.a.x")),
        ("a.x", ("*.x", "b.x"), ("a.x",)),
        ("*.b.x", ("*.x",), ("*.b.x",)),
        ("a.x", ("b.x",), ()),
    ],
)
def test_hosts_in_common(listener: str, names: tuple[str, ...] | None, wanted: tuple[str, ...]) -> None:
    assert intersection(listener, names) == wanted


def test_the_most_exact_host() -> None:
    names = ["", "*.x", "*.b.x", "a.b.x"]
    cases = {"a.b.x": "a.b.x", "c.b.x": "*.b.x", "c.x": "*.x", "z": "", "*": ""}
    assert {domain: most_exact(names, domain) for domain in cases} == cases


@pytest.mark.parametrize(("text", "wanted"), [("1h2m3s4ms", 3_723_004), ("0s", 0), ("500ms", 500), ("10s", 10_000)])
def test_durations(text: str, wanted: int) -> None:
    assert milliseconds(text) == wanted


@pytest.mark.parametrize("text", ["", "1", "-1s", "1.5s", "1d", "100000s", "1s1s1s1s1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        milliseconds(text)


_NGINX = "nginx.ingress.kubernetes.io"
ANNOTATIONS = (
    "",
    f"{_NGINX}/canary: 'true', {_NGINX}/canary-weight: '30'",
    f"{_NGINX}/use-regex: 'true'",
    f"{_NGINX}/server-alias: b.x",
    f"{_NGINX}/auth-url: x",
    f"{_NGINX}/load-balance: round_robin",
    f"{_NGINX}/ssl-redirect: 'true'",
)


def _random_policy(rng: random.Random, number: int) -> Event:
    """A policy of requests, good or bad, or a Secret that some of them need."""
    if rng.randrange(4) == 0:
        problem = rng.choice(("", "no users"))
        return events(f"kind: Credentials\nmetadata: {{name: c}}\ndigest: d\nusers_problem: '{problem}'")[0]
    kind, target = rng.choice((("Gateway", f"g{number}"), ("HTTPRoute", f"h{number}"), ("GRPCRoute", f"g{number}")))
    section = rng.choice(("", ", sectionName: a", ", sectionName: http"))
    ref = f"{{group: gateway.networking.k8s.io, kind: {kind}, name: {target}{section}}}"
    backend = f"backendRef: {{name: {rng.choice(('app', 's0', 's1'))}, port: 80}}"
    what, spec = rng.choice(
        (
            ("SecurityPolicy", "clientCIDRs: {allow: [10.0.0.0/8]}"),
            ("SecurityPolicy", "clientCIDRs: {allow: [nonsense]}"),
            ("SecurityPolicy", "basicAuth: {users: {name: c}}"),
            ("SecurityPolicy", f"extAuth: {{http: {{{backend}}}}}"),
            ("SecurityPolicy", f"jwt: {{providers: [{{name: a, issuer: i, remoteJWKS: {{{backend}}}}}]}}"),
            ("SecurityPolicy", "exempt: [clientCIDRs, jwt]"),
            ("TrafficPolicy", "maxRequestBytes: 100"),
            ("TrafficPolicy", "rateLimit: {rules: []}"),
        )
    )
    created = rng.choice(("2026-01-01", "2026-01-02"))
    metadata = f"{{name: p{rng.randrange(3)}, creationTimestamp: '{created}'}}"
    return events(f"kind: {what}\nmetadata: {metadata}\nspec: {{targetRefs: [{ref}], {spec}}}")[0]


def _random_l4_route(rng: random.Random) -> Event:
    kind, hosts = rng.choice((("TCPRoute", ""), ("UDPRoute", ""), ("TLSRoute", "x"), ("TLSRoute", "x")))
    if hosts:
        names = rng.choice(("a.x", "a.x, '*.y'", "'*.x'", "b.x"))
        hosts = f"hostnames: [{names}],"
    refs = ", ".join(f"{{name: {rng.choice(('app', 's0', 's1'))}, port: 80, weight: {rng.randrange(3)}}}" for _ in "ab")
    text = f"""
kind: {kind}
metadata: {{name: l{rng.randrange(3)}, creationTimestamp: '{rng.choice((2024, 2025))}-01-01T00:00:00Z'}}
spec: {{parentRefs: [{{name: g{rng.randrange(3)}}}], {hosts} rules: [{{backendRefs: [{refs}]}}]}}
"""
    return events(text)[0]


_L4_LISTENERS = """[
  {name: t, port: 80, protocol: TCP}, {name: u, port: 80, protocol: UDP},
  {name: all, port: 443, protocol: TLS, tls: {mode: Passthrough}},
  {name: a, port: 443, protocol: TLS, hostname: a.x, tls: {mode: Passthrough}}
]"""


def _random_event(rng: random.Random) -> Event:
    number = rng.randrange(3)
    if rng.random() < 0.3:
        return _random_l4_route(rng)
    match rng.randrange(10):
        case 0:
            listeners = rng.choice(
                (CONFLICTS["none"][0], CONFLICTS["hosts"][0], CONFLICTS["same host"][0], _L4_LISTENERS, _L4_LISTENERS)
            )
            return rng.choice(events(gateway(f"g{number}", listeners, rng.choice(("ours", "ours", "theirs")))))
        case 1 | 2:
            hosts = rng.choice(("", "hostnames: [a.x, '*.y'],", "hostnames: [b.x],"))
            kind, created = rng.choice(("HTTPRoute", "GRPCRoute")), rng.choice(("2026-01-01", "2026-01-02"))
            to = rng.choice(("app", "s0", "s1"))
            name = f"{kind[0].lower()}{rng.randrange(4)}"
            text = route(name, f"{{name: g{number}}}", hosts, to=to, kind=kind, created=created)
            ref = (
                f"{{type: ExtensionRef, extensionRef: {{group: fairlead.dev, kind: RouteExtension, name: x{number}}}}}"
            )
            text = text.replace("rules: [{", f"rules: [{{filters: [{ref}], ") if rng.random() < 0.3 else text
            return events(text)[0]
        case 3:
            return events(
                f"kind: Service\nmetadata: {{name: s{number}}}\n"
                f"spec: {{ports: [{{port: {rng.choice((80, 81))}}}, {{port: 80, name: u, protocol: UDP}}]}}"
            )[0]
        case 4:
            text = f"""
kind: EndpointSlice
metadata: {{name: s{number}-a, labels: {{kubernetes.io/service-name: s{number}}}}}
addressType: IPv4
endpoints: [{{addresses: [10.244.1.{rng.randrange(1, 5)}]}}]
ports: [{{port: 8080}}, {{port: 8081, name: u, protocol: UDP}}]
"""
            return events(text)[0]
        case 5:
            host, cls = rng.choice(("a.x", "'*.y'")), rng.choice(("in", "in", "other"))
            text = f"""
kind: Ingress
metadata: {{name: i{number}, annotations: {{{rng.choice(ANNOTATIONS)}}}}}
spec:
  ingressClassName: {cls}
  tls: [{{hosts: [{rng.choice(("a.x", "c.x"))}], secretName: s}}]
  rules: [{{host: {host}, http: {{paths: [{{path: /, backend: {{service: {{name: s0, port: {{number: 80}}}}}}}}]}}}}]
"""
            return events(text)[0]
        case 6 | 7:
            return _random_policy(rng, number)
        case 8:
            text = f"kind: RouteExtension\nmetadata: {{name: x{number}}}\nspec: {{idleTimeout: {rng.randrange(3)}s}}"
            return events(text)[0]
        case _:
            kind, name = rng.choice(
                (
                    ("SecurityPolicy", f"p{number}"),
                    ("TrafficPolicy", f"p{number}"),
                    ("Credentials", "c"),
                    ("RouteExtension", f"x{number}"),
                    ("HTTPRoute", f"h{number}"),
                    ("GRPCRoute", f"g{number}"),
                    (rng.choice(("TLSRoute", "TCPRoute", "UDPRoute")), f"l{number}"),
                    ("Ingress", f"i{number}"),
                    ("Service", f"s{number}"),
                    ("Gateway", f"g{number}"),
                )
            )
            return ObjectChanged(kind, ("default", name), None)


@pytest.mark.parametrize("seed", range(8))
def test_increments_equal_a_compilation_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    compiler = Compiler()
    door = {"name": service_name("ingress-in"), "labels": {GATEWAY_LABEL: "ingress-in"}, "namespace": "kube-system"}
    service = {"kind": "Service", "metadata": door, "spec": {"ports": [{"port": 80, "targetPort": 20002}]}}
    klass = {"kind": "IngressClass", "metadata": {"name": "in"}, "spec": {"controller": INGRESS_CONTROLLER}}
    snapshot = world(yaml.safe_dump_all([service, klass]))
    previous = compiler.compile(snapshot).plan
    for _ in range(60):
        snapshot = fold(snapshot, [_random_event(rng) for _ in range(rng.randrange(1, 4))])
        plan = compiler.compile(snapshot).plan
        scratch = Compiler().compile(snapshot).plan
        for table in TABLES:
            if not table.startswith("gateway_"):
                continue
            assert plan.table(table) == scratch.table(table)
            if plan.delta is not None:
                before, now = previous.table(table), plan.table(table)
                changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
                assert changed <= plan.delta.keys.get(table, frozenset())
        previous = plan


@pytest.mark.parametrize("seed", range(8))
def test_statuses_follow_increments_as_well(seed: int) -> None:
    rng = random.Random(seed)
    kept, snapshot = GatewayStage(), world()
    kept.update(snapshot, None)
    for _ in range(60):
        before = snapshot
        snapshot = fold(snapshot, [_random_event(rng) for _ in range(rng.randrange(1, 4))])
        kept.update(snapshot, snapshot.services_changed_since(before.token))
        scratch = GatewayStage()
        scratch.update(snapshot, None)
        assert kept.bound.keys() == scratch.bound.keys()
        for key, route in kept.bound.items():
            assert kept.described(key) == scratch.described(key)
            for parent in route.parents:
                assert kept.affected(route, parent.parent) == scratch.affected(route, parent.parent)
        for kind in ("SecurityPolicy", "TrafficPolicy"):
            for policy in kept.policies.of(kind).policies():
                assert kept.policies.state(kind, policy) == scratch.policies.state(kind, policy)


def _accepted(stage: GatewayStage, kind: str, name: str) -> tuple[bool, str, str]:
    bound = stage.described((kind, ("default", name)))
    assert bound is not None
    ((_, (accepted, _)),) = status.route_parents(bound)
    return accepted.status, accepted.reason, accepted.message


def test_http_and_grpc_never_share_a_host_of_a_listener() -> None:
    old = route("old", extra="hostnames: [a.x, b.x],", created="2026-01-01")
    call = route("call", extra="hostnames: ['*.x'],", kind="GRPCRoute", created="2026-01-02")
    new = route("new", extra="hostnames: [c.x],", created="2026-01-03")
    found = stage(gateway(), old, call, new)
    assert _accepted(found, "HTTPRoute", "old")[:2] == (True, "Accepted")
    lost = _accepted(found, "GRPCRoute", "call")
    assert lost[:2] == (False, "Conflicted")
    assert "listener http: HTTPRoute/default/old is older" in lost[2]
    # Whoever has lost keeps no host from anybody.
    assert _accepted(found, "HTTPRoute", "new")[:2] == (True, "Accepted")
    (listener,) = found.gateways["default", "web"].own
    assert found.attached(listener) == 2


def test_a_route_that_loses_to_an_older_one_says_so() -> None:
    old = route("b-old", extra="hostnames: [a.x],", created="2026-01-01")
    new = route("a-new", extra="hostnames: [a.x, b.x],", created="2026-01-02")
    kept = GatewayStage()
    snapshot = world(gateway(), old, new)
    kept.update(snapshot, None)
    kept.take_rebound()
    status_now, reason, words = _accepted(kept, "HTTPRoute", "a-new")
    assert (status_now, reason) == (True, "Accepted")
    assert "rule 0 never decides for host a.x" in words
    assert "b-old" in words
    assert "b.x" not in words
    assert _accepted(kept, "HTTPRoute", "b-old") == (True, "Accepted", "")
    kept.update(fold(snapshot, [ObjectChanged("HTTPRoute", ("default", "b-old"), None)]), frozenset())
    assert ("HTTPRoute", ("default", "a-new")) in kept.take_rebound()
    assert _accepted(kept, "HTTPRoute", "a-new") == (True, "Accepted", "")


def test_a_changed_endpoint_touches_its_cluster_alone() -> None:
    slice_text = """
kind: EndpointSlice
metadata: {name: app-a, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.5]}]
ports: [{port: 8080}]
"""
    compiler = Compiler()
    snapshot = world(gateway(), route(), slice_text)
    compiler.compile(snapshot)
    plan: Any = compiler.compile(fold(snapshot, events(slice_text.replace("1.5", "1.6")))).plan
    touched = {table: keys for table, keys in plan.delta.keys.items() if table.startswith("gateway") and keys}
    assert touched == {"gateway_endpoints": {("default/app/80",)}}
