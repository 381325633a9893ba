"""Whose certificates clients of a Gateway must show: what references lead to, and what is said where they lead nowhere."""

from __future__ import annotations

import pytest
from tests.model.test_gateway import gateway, stage, world

from fairlead.model.gateway import status, trust
from fairlead.model.gateway.doors import NodeState
from fairlead.model.gateway.listeners import BoundGateway

HTTPS = "protocol: HTTPS, tls: {certificateRefs: [{name: c}]}"
LISTENERS = (
    f"[{{name: plain, port: 80, protocol: HTTP}}, {{name: a, port: 443, {HTTPS}}}, {{name: b, port: 8443, {HTTPS}}}]"
)
OBJECTS = """
kind: Secret
metadata: {name: c}
digest: abc
---
kind: ConfigMap
metadata: {name: ca}
pem: one
---
kind: ConfigMap
metadata: {name: ca, namespace: other}
pem: two
---
kind: ConfigMap
metadata: {name: empty}
problem: 'data[ca.crt] is missing'
"""
GRANT = """
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], to: [{group: '', kind: ConfigMap}]}
"""


def with_frontend(frontend: str) -> str:
    return gateway(listeners=LISTENERS).replace(
        "gatewayClassName: ours,", f"gatewayClassName: ours, tls: {{frontend: {frontend}}},"
    )


def validation(*refs: str, mode: str = "AllowValidOnly") -> str:
    return f"{{validation: {{mode: {mode}, caCertificateRefs: [{', '.join(refs)}]}}}}"


def ref(name: str, namespace: str = "", group: str = "''", kind: str = "ConfigMap") -> str:
    return f"{{group: {group}, kind: {kind}, name: {name}{f', namespace: {namespace}' if namespace else ''}}}"


def reasons(found: BoundGateway, name: str) -> dict[str, tuple[bool, str]]:
    (listener,) = (each for each in found.own if each.api.name == name)
    state = NodeState(generation=0, ports=("80/TCP", "443/TCP", "8443/TCP"))
    serving = status.Serving(addresses=("203.0.113.10",), nodes={"n1": state})
    return {each.type: (each.status, each.reason) for each in status.listener_conditions(listener, found, serving)}


CASES: dict[str, tuple[str, str, bool]] = {
    "one": (validation(ref("ca")), "ResolvedRefs", True),
    "of another namespace, with consent": (validation(ref("ca", "other")), "ResolvedRefs", True),
    "of another namespace, without": (validation(ref("ca", "third")), "RefNotPermitted", False),
    "there is none": (validation(ref("nobody")), "InvalidCACertificateRef", False),
    "holds none": (validation(ref("empty")), "InvalidCACertificateRef", False),
    "no kind": (validation(ref("ca", kind="Secret")), "InvalidCACertificateKind", False),
    "no group": (validation(ref("ca", group="example.com")), "InvalidCACertificateKind", False),
    "one of two": (validation(ref("ca"), ref("nobody")), "InvalidCACertificateRef", True),
    "none at all": (validation(), "InvalidCACertificateRef", False),
    "no mode": (validation(ref("ca"), mode="Sometimes"), "InvalidCACertificateRef", False),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_references_lead_to(case: str) -> None:
    said, reason, serves = CASES[case]
    found = stage(with_frontend(f"{{default: {said}}}"), OBJECTS, GRANT)
    (bound,) = found.gateways.values()
    for name in ("a", "b"):
        conditions = reasons(bound, name)
        assert conditions["ResolvedRefs"] == (reason == "ResolvedRefs", reason)
        assert conditions["Accepted"] == ((True, "Accepted") if serves else (False, "NoValidCACertificate"))
        assert conditions["Programmed"][0] is serves
    assert (
        reasons(bound, "plain")["Accepted"]
        == reasons(bound, "plain")["ResolvedRefs"][:1] + ("Accepted",)
        == (True, "Accepted")
    )
    assert {row.name for row in found.tables().get("gateway_trusts", {}).values()} == (  # type: ignore[union-attr]
        {each.clients.trust.name for each in bound.own if each.clients} if serves else set()
    )


def test_a_ports_own_word_replaces_the_default() -> None:
    frontend = f"{{default: {validation(ref('ca'))}, perPort: [{{port: 8443, tls: {validation(ref('nobody'))}}}]}}"
    (bound,) = stage(with_frontend(frontend), OBJECTS).gateways.values()
    assert reasons(bound, "a")["Accepted"] == (True, "Accepted")
    assert reasons(bound, "b")["Accepted"] == (False, "NoValidCACertificate")


def test_insecure_fallback_is_told() -> None:
    def told(frontend: str) -> bool:
        (bound,) = stage(with_frontend(frontend), OBJECTS).gateways.values()
        found = {each.type: each for each in status.gateway_conditions(bound, status.Serving())}
        return "InsecureFrontendValidationMode" in found and found["InsecureFrontendValidationMode"].status

    insecure, secure = validation(ref("ca"), mode="AllowInsecureFallback"), validation(ref("ca"))
    assert told(f"{{default: {insecure}}}")
    assert told(f"{{default: {secure}, perPort: [{{port: 8443, tls: {insecure}}}]}}")
    assert not told(f"{{default: {secure}}}")


def test_only_what_is_referred_to_is_wanted() -> None:
    frontend = f"{{default: {validation(ref('ca'), ref('x', 'other'), ref('y', kind='Secret'))}}}"
    assert trust.wanted(world(with_frontend(frontend))) == {("default", "ca"), ("other", "x")}
    assert trust.wanted(world(gateway())) == set()


def test_listeners_that_share_server_names_say_so() -> None:
    names = {"exact": "foo.example.com", "wild": "'*.example.com'", "alone": "foo.example.org"}
    listeners = ", ".join(f"{{name: {name}, port: 443, hostname: {host}, {HTTPS}}}" for name, host in names.items())
    (bound,) = stage(gateway(listeners=f"[{listeners}]"), OBJECTS).gateways.values()
    found = {name: reasons(bound, name).get("OverlappingTLSConfig") for name in names}
    overlapping = (True, "OverlappingHostnames")
    assert found == {"exact": overlapping, "wild": overlapping, "alone": None}


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ("starts: '2026-01-01T00:00:00+00:00', expires: '2026-02-01T00:00:00+00:00'", ""),
        ("starts: '2025-01-01T00:00:00+00:00', expires: '2026-01-15T00:00:00+00:00'", "Expired"),
        ("starts: '2026-01-15T00:00:01+00:00', expires: '2027-01-01T00:00:00+00:00'", "NotYetValid"),
    ],
)
def test_certificates_out_of_their_time_are_told(times: str, reason: str) -> None:
    secret = f"kind: Secret\nmetadata: {{name: c}}\ndigest: abc\n{times.replace(', ', chr(10))}\n"
    at = world(gateway(listeners=LISTENERS), secret)
    (bound,) = stage(gateway(listeners=LISTENERS), secret).gateways.values()
    listener = bound.own[1]
    found = status.certificate_conditions(listener, at.certificates, "2026-01-15T00:00:00.000001+00:00")
    assert [(each.type, each.status, each.reason) for each in found] == (
        [("fairlead.dev/CertificatesValid", False, reason)] if reason else []
    )
    # It is served all the same.
    assert listener.usable
    assert len(list(status.certificate_times(listener, at.certificates))) == 2
