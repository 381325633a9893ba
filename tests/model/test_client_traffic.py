"""ClientTrafficPolicies: what each says, which holds where, and what those are told that hold nowhere."""

from __future__ import annotations

import pytest
from tests.model.test_gateway import gateway, stage
from tests.model.test_listener_sets import listener_set, listeners, open_gateway

from fairlead.model.gateway import status
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.gateway.listener import GatewayListener

SECRET = "kind: Secret\nmetadata: {name: c}\ndigest: abc\n"
TLS = "tls: {certificateRefs: [{name: c}]}"
TWO = f"[{{name: a, port: 443, protocol: HTTPS, hostname: a.x, {TLS}}}, {{name: b, port: 443, protocol: HTTPS, hostname: b.x, {TLS}}}]"


def policy(spec: str, name: str = "p", target: str = "kind: Gateway, name: web", year: int = 2024) -> str:
    return f"""
kind: ClientTrafficPolicy
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, {target}}}], {spec}}}
"""


def said(found: GatewayStage, name: str = "p") -> tuple[bool, str, str]:
    ((_, (accepted, *_)),) = status.policy_ancestors(found.policies.state("ClientTrafficPolicy", ("default", name)))
    return accepted.status, accepted.reason, accepted.message


def rows(found: GatewayStage) -> list[GatewayListener]:
    return [row for row in found.tables()["gateway_listeners"].values() if isinstance(row, GatewayListener)]


WRONG: dict[str, tuple[str, str]] = {
    "mode": ("proxyProtocol: {mode: Sometimes}", "spec.proxyProtocol.mode: 'Sometimes' is not supported"),
    "nobody is trusted": ("forwardedFor: {}", "needs either trustedHops or trustedCIDRs"),
    "both": ("forwardedFor: {trustedHops: 1, trustedCIDRs: [10.0.0.0/8]}", "needs either"),
    "hops": ("forwardedFor: {trustedHops: 17}", "17 is not between 1 and 16"),
    "no range": ("forwardedFor: {trustedCIDRs: [10.0.0.1/8]}", "is no prefix such as"),
    "too many ranges": (
        f"forwardedFor: {{trustedCIDRs: [{', '.join(['10.0.0.0/8'] * 65)}]}}",
        "65 is not between 1 and 64",
    ),
    "version": ("tls: {minVersion: '1.0'}", "use 1.2, 1.3"),
    "versions": ("tls: {minVersion: '1.3', maxVersion: '1.2'}", "1.2 is below minVersion 1.3"),
    "cipher": ("tls: {cipherSuites: [RC4-MD5]}", "'RC4-MD5' is not supported"),
    "ALPN": ("tls: {alpnProtocols: [spdy/3]}", "'spdy/3' is not supported"),
    "redirect": ("httpsRedirect: {statusCode: 200}", "must be 301, 302, 307 or 308"),
    "port": ("httpsRedirect: {port: 0}", "0 is not between 1 and 65535"),
    "headers": ("headers: {maxKiB: 0}", "0 is not between 1 and 8192"),
    "underscores": ("headers: {underscores: Keep}", "spec.headers.underscores"),
    "duration": ("timeouts: {idle: 1y}", "spec.timeouts.idle"),
    "connections": ("connections: {max: 0}", "spec.connections.max"),
    "probes": ("connections: {keepAlive: {idle: 1ms}}", "spec.connections.keepAlive.idle"),
    "slashes": ("paths: {escapedSlashes: Eat}", "spec.paths.escapedSlashes"),
    "external": ("externalTrafficPolicy: Global", "spec.externalTrafficPolicy"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_is_wrong_holds_nowhere(case: str) -> None:
    spec, words = WRONG[case]
    found = stage(gateway(), policy(spec))
    accepted, reason, message = said(found)
    assert (accepted, reason) == (False, "Invalid")
    assert words in message
    assert rows(found) == rows(stage(gateway()))


def test_a_section_goes_before_the_whole_and_the_oldest_first() -> None:
    found = stage(
        gateway(listeners=TWO),
        SECRET,
        policy("tls: {minVersion: '1.3'}", "whole", year=2025),
        policy("headers: {maxKiB: 8}", "late", year=2026),
        policy("headers: {maxKiB: 9}", "section", "kind: Gateway, name: web, sectionName: b"),
        policy("paths: {}", "nowhere", "kind: Gateway, name: web, sectionName: none"),
    )
    (row,) = rows(found)
    assert {chain.server_names[0]: (chain.client.tls_min, chain.client.headers_kib) for chain in row.chains} == {
        "a.x": ("1.3", 0),
        "b.x": ("1.2", 9),
    }
    assert said(found, "whole")[:2] == said(found, "section")[:2] == (True, "Accepted")
    assert said(found, "late")[:2] == (False, "Conflicted")
    assert said(found, "nowhere")[:2] == (False, "TargetNotFound")


def test_without_tls_the_listener_that_goes_first_decides_for_its_port() -> None:
    theirs = policy("headers: {maxKiB: 9}", "theirs", "kind: ListenerSet, name: s")
    found = stage(open_gateway(), listener_set("s", listeners("a.x")), theirs)
    assert [chain.client.headers_kib for row in rows(found) for chain in row.chains] == [0]
    accepted, reason, message = said(found, "theirs")
    assert (accepted, reason) == (False, "Conflicted") and "listener l0" in message
    # What says the same, and where requests are sent, is each listener's own.
    ours = policy("headers: {maxKiB: 9}")
    found = stage(open_gateway(), listener_set("s", listeners("a.x")), theirs, ours)
    assert [chain.client.headers_kib for row in rows(found) for chain in row.chains] == [9]
    assert said(found, "theirs")[0]
    redirect = policy("httpsRedirect: {}", "theirs", "kind: ListenerSet, name: s")
    found = stage(open_gateway(), listener_set("s", listeners("a.x")), redirect)
    hosts = {key[1]: [each.redirect for each in row.routes] for key, row in found.tables()["gateway_hosts"].items()}  # type: ignore[union-attr]
    assert said(found, "theirs")[0]
    assert hosts["*"] == [] and [each.status for each in hosts["a.x"]] == [301]


def test_what_is_done_before_a_connection_is_read_is_the_ports() -> None:
    found = stage(
        gateway(listeners=TWO), SECRET, policy("proxyProtocol: {}", target="kind: Gateway, name: web, sectionName: b")
    )
    assert said(found)[:2] == (False, "Conflicted")
    assert rows(found) == rows(stage(gateway(listeners=TWO), SECRET))
    found = stage(gateway(listeners=TWO), SECRET, policy("proxyProtocol: {}"))
    assert [row.socket.proxy_protocol for row in rows(found)] == ["required"]


def test_the_services_own_policy_goes_with_whole_gateways() -> None:
    found = stage(gateway(), policy("externalTrafficPolicy: Cluster"))
    assert (said(found)[0], found.clients.external(("default", "web"))) == (True, "Cluster")
    found = stage(
        gateway(), policy("externalTrafficPolicy: Cluster", target="kind: Gateway, name: web, sectionName: http")
    )
    assert (said(found)[1], found.clients.external(("default", "web"))) == ("Invalid", "Local")
