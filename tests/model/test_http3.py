"""HTTP/3 in the plan and in conditions: which listeners have it, why others have not, and that increments equal a compilation from scratch."""

from __future__ import annotations

import itertools

import pytest
import yaml
from tests.model.test_gateway import BASE, route
from tests.pki import Authority

from fairlead.api import trust_material
from fairlead.api.certificate import reduced
from fairlead.api.decode import CLUSTER_SCOPED, decode
from fairlead.controllers.gateway import services
from fairlead.model.compile import Compiler
from fairlead.model.gateway import status
from fairlead.model.gateway.doors import NodeState
from fairlead.model.gateway.names import GATEWAY_LABEL, service_name
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.gateway.listener import GatewayQuicListener
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan
from fairlead.plan.tables import TABLES
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

AUTHORITY = Authority()
SECRETS = "---\n".join((AUTHORITY.issue("a.x").secret("s"), AUTHORITY.configmap("ca")))
TLS = "tls: {certificateRefs: [{name: s}]}"
HTTPS = f"{{name: https, port: 443, protocol: HTTPS, {TLS}}}"
OTHER = f"{{name: other, port: 443, protocol: HTTPS, hostname: b.x, {TLS}}}"
UDP = "{name: udp, port: 443, protocol: UDP}"
CLIENTS = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"


def events(text: str) -> list[Event]:
    found: list[Event] = []
    for obj in filter(None, yaml.safe_load_all(text)):
        kind, metadata = obj["kind"], obj["metadata"]
        metadata.setdefault("namespace", "" if kind in CLUSTER_SCOPED else "default")
        reduce = {"Secret": reduced, "ConfigMap": trust_material.reduced}.get(kind, lambda each: each)
        found.append(ObjectChanged(kind, (metadata["namespace"], metadata["name"]), decode(kind, reduce(obj))))
    return found


def gateway(*listeners: str, more: str = "") -> str:
    return f"""
---
kind: Gateway
metadata: {{name: web}}
spec: {{gatewayClassName: ours, listeners: [{", ".join(listeners)}]{more}}}
"""


def door(*ports: str) -> str:
    return f"""
---
kind: Service
metadata: {{name: {service_name("web")}, labels: {{{GATEWAY_LABEL}: web}}}}
spec: {{ports: [{", ".join(ports)}]}}
"""


def policy(spec: str = "http3: {}", *sections: str) -> str:
    ref = "group: gateway.networking.k8s.io, kind: Gateway, name: web"
    refs = [f"{{{ref}, sectionName: {each}}}" for each in sections] or [f"{{{ref}}}"]
    return f"""
---
kind: ClientTrafficPolicy
metadata: {{name: p}}
spec: {{targetRefs: [{", ".join(refs)}], {spec}}}
"""


TCP_DOOR, UDP_DOOR = "{port: 443, targetPort: 20001}", "{port: 443, targetPort: 20002, protocol: UDP}"
WEB = BASE + "---\n" + SECRETS + "---\n" + route() + door(TCP_DOOR, UDP_DOOR)


def world(*texts: str) -> Snapshot:
    return fold(Snapshot(settings=Settings(node="n1")), [each for text in texts for each in events(text)])


def plan(*texts: str) -> Plan:
    return Compiler().compile(world(WEB, *texts)).plan


def served(found: Plan) -> list[str]:
    """The listeners that have a chain over QUIC."""
    rows = [each for each in found.table("gateway_quic_listeners").values() if isinstance(each, GatewayQuicListener)]
    assert all((each.name, each.port, each.public_port) == ("default/web/443/quic", 20002, 443) for each in rows)
    return [chain.name.rpartition("/")[2] for each in rows for chain in each.chains]


def told(found: Plan) -> dict[str, int]:
    """Host → the port of which its clients are told."""
    return {each.domain: each.http3 for each in found.table("gateway_hosts").values() if isinstance(each, GatewayHost)}


VALIDATION = f", tls: {{frontend: {{default: {{validation: {{{CLIENTS}}}}}}}}}"
FALLBACK = VALIDATION.replace(CLIENTS, f"{CLIENTS}, mode: AllowInsecureFallback")
CASES = {
    "nobody asks": (gateway(HTTPS), [], None),
    "a Gateway": (gateway(HTTPS) + policy(), ["https"], ""),
    "a listener of two": (gateway(HTTPS, OTHER) + policy("http3: {}", "https"), ["https"], ""),
    "the other listener": (gateway(HTTPS, OTHER) + policy("http3: {}", "other"), ["other"], None),
    "no certificate": (gateway(HTTPS.replace("name: s", "name: gone")) + policy(), [], None),
    "clients' certificates": (gateway(HTTPS, more=VALIDATION) + policy(), [], "ClientCertificates"),
    "clients' certificates, if they like": (gateway(HTTPS, more=FALLBACK) + policy(), [], "ClientCertificates"),
    "PROXY protocol": (gateway(HTTPS) + policy("http3: {}, proxyProtocol: {}"), [], "ProxyProtocol"),
    "datagrams": (gateway(HTTPS, UDP) + policy(), [], "PortInUse"),
    "datagrams elsewhere": (gateway(HTTPS, UDP.replace("443", "53")) + policy(), ["https"], ""),
    "TLS 1.2": (gateway(HTTPS) + policy("http3: {}, tls: {maxVersion: '1.2'}"), [], None),
    "a bad policy": (gateway(HTTPS) + policy("http3: {}, timeouts: {idle: soon}"), [], None),
    "no TLS": (gateway("{name: https, port: 443, protocol: HTTP}") + policy(), [], None),
}


@pytest.mark.parametrize("case", CASES)
def test_which_listeners_have_it_and_why_others_have_not(case: str) -> None:
    text, wanted, reason = CASES[case]
    found = plan(text)
    assert served(found) == wanted
    # Whoever is told of it finds it.
    decider = {"*": "https", "b.x": "other"}
    assert {host: port for host, port in told(found).items() if port} == {
        host: 443 for host, name in decider.items() if name in wanted
    }
    stage = GatewayStage()
    stage.update(world(WEB, text), None)
    (bound,) = stage.gateways.values()
    listener = next(each for each in bound.own if each.api.name == "https")
    verdict = stage.clients.http3(listener)
    assert (verdict.reason if verdict is not None else None) == reason
    (condition, *_) = [*status.http3_conditions(listener, bound, status.Serving(), verdict), None]
    assert (condition is None) == (reason is None)
    if reason:
        assert condition is not None and (condition.status, condition.reason) == (False, reason) and condition.message
    ports = services.desired(bound, None, (), {}, http3={each.port for each in stage.clients.over_quic(bound)})["spec"][
        "ports"
    ]
    assert [each["name"] for each in ports if each["protocol"] == "UDP" and each["port"] == 443] == (
        ["port-443-udp"] if wanted or case == "datagrams" else []
    )


def test_a_bad_combination_names_the_field() -> None:
    found = Compiler().compile(world(WEB, gateway(HTTPS), policy("http3: {}, tls: {maxVersion: '1.2'}"))).diagnostics
    assert [each.message for each in found if "ClientTrafficPolicy" in each.object] == [
        "spec.http3: needs TLS 1.3, which spec.tls.maxVersion excludes (RFC 9001, 4.2)"
    ]


def test_nobody_is_told_before_the_service_leads_there() -> None:
    found = plan(gateway(HTTPS), policy(), door(TCP_DOOR))
    assert (served(found), told(found)) == ([], {"*": 0})


def test_the_condition_waits_for_every_node_and_programmed_does_not() -> None:
    stage = GatewayStage()
    stage.update(world(WEB, gateway(HTTPS), policy()), None)
    (bound,) = stage.gateways.values()
    (listener,) = bound.own

    def found(*ports: str, **errors: str) -> tuple[bool, bool, str]:
        state = NodeState(generation=bound.api.metadata.generation, ports=ports, errors=errors)
        serving = status.Serving(addresses=("203.0.113.10",), nodes={"n1": state})
        programmed = status.listener_conditions(listener, bound, serving)[3]
        (http3,) = status.http3_conditions(listener, bound, serving, stage.clients.http3(listener))
        assert (programmed.type, http3.type) == ("Programmed", "fairlead.dev/HTTP3")
        return programmed.status, http3.status, http3.message

    assert found("443/TCP", "443/UDP") == (True, True, "")
    assert found("443/TCP") == (True, False, "waiting for 1 of 1 nodes: n1")
    assert found("443/TCP", **{"443/UDP": "Envoy: no"}) == (True, False, "node n1, port 443/UDP: Envoy: no")


def test_increments_equal_a_compilation_from_scratch() -> None:
    texts = [
        gateway(HTTPS),
        policy(),
        door(TCP_DOOR),
        door(TCP_DOOR, UDP_DOOR),
        gateway(HTTPS, UDP),
        gateway(HTTPS, OTHER),
        policy("http3: {}", "other"),
        policy("timeouts: {idle: 1s}"),
        policy("http3: {}, proxyProtocol: {}"),
        gateway(HTTPS, more=VALIDATION),
    ]
    compiler, snapshot = Compiler(), world(WEB)
    compiler.compile(snapshot)
    seen = set()
    for first, second in itertools.permutations(texts, 2):
        for text in (first, second):
            snapshot = fold(snapshot, events(text))
            found, scratch = compiler.compile(snapshot).plan, Compiler().compile(snapshot).plan
            for table in TABLES:
                assert found.table(table) == scratch.table(table), (table, first, second)
            seen.add(tuple(served(found)))
    assert {(), ("https",), ("other",), ("https", "other")} <= seen
