"""Settings of Gateways: which proxy they have, what is wrong with references, how many there is room for. Pure."""

from __future__ import annotations

import pytest
from tests.model.test_gateway import events, route, world

from fairlead.model.gateway import status
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, proxy_name, service_name
from fairlead.model.gateway.parameters import MOST_PROXIES
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.gateway.listener import GatewayListener, GatewayUdpListener
from fairlead.world.fold import fold
from fairlead.world.snapshot import Snapshot

LISTENERS = "[{name: h, port: 80, protocol: HTTP}, {name: u, port: 53, protocol: UDP}]"


def ref(name: str, *, namespace: str = "", group: str = "fairlead.dev", kind: str = "GatewayParameters") -> str:
    of = f", namespace: {namespace}" if namespace else ""
    return f"parametersRef: {{group: '{group}', kind: {kind}, name: {name}{of}}}"


def parameters(name: str, proxy: str | None, namespace: str = "default") -> str:
    return f"""
kind: GatewayParameters
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{"" if proxy is None else f"proxy: {proxy}"}}}
---"""


def klass(of_class: str = "") -> str:
    return f"""
kind: GatewayClass
metadata: {{name: set}}
spec: {{controllerName: {CONTROLLER}, {of_class}}}
---"""


def gateway(name: str = "web", of_gateway: str = "", *, first_port: int = 20000, created: str = "") -> str:
    return f"""
kind: Gateway
metadata: {{name: {name}, creationTimestamp: '{created}'}}
spec: {{gatewayClassName: set, listeners: {LISTENERS}, infrastructure: {{{of_gateway}}}}}
---
kind: Service
metadata: {{name: {service_name(name)}, labels: {{{GATEWAY_LABEL}: {name}}}}}
spec: {{ports: [{{port: 80, targetPort: {first_port}}}, {{port: 53, targetPort: {first_port + 1}, protocol: UDP}}]}}
"""


def proxies(stage: GatewayStage) -> dict[str, str]:
    """Listener → proxy."""
    tables = stage.tables()
    rows = [*tables.get("gateway_listeners", {}).values(), *tables.get("gateway_udp_listeners", {}).values()]
    return {row.name: row.proxy for row in rows if isinstance(row, GatewayListener | GatewayUdpListener)}


def staged(snapshot: Snapshot) -> GatewayStage:
    found = GatewayStage()
    found.update(snapshot, None)
    return found


OWN = "default.web"
CHOICES: dict[str, tuple[str, str, str, str]] = {
    "nobody says": ("", "", "", ""),
    "the class": (ref("own", namespace="default"), "", parameters("own", "Dedicated"), OWN),
    "a class's, of another namespace": (ref("own", namespace="infra"), "", parameters("own", "Dedicated", "infra"), OWN),
    "the Gateway": ("", ref("own"), parameters("own", "Dedicated"), OWN),
    "the Gateway's goes before its class's": (
        ref("own", namespace="default"), ref("shared"), parameters("own", "Dedicated") + parameters("shared", "Shared"), "",
    ),
    "what the Gateway's leave open is the class's": (
        ref("own", namespace="default"), ref("open"), parameters("own", "Dedicated") + parameters("open", None), OWN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES, ids=str)
def test_whose_settings_count(case: str) -> None:
    of_class, of_gateway, objects, proxy = CHOICES[case]
    stage = staged(world(klass(of_class) + objects + gateway(of_gateway=of_gateway)))
    assert proxies(stage) == {"default/web/80": proxy, "default/web/53/udp": proxy}


WRONG: dict[str, tuple[str, str, str, str]] = {
    "no such object": ("", ref("none"), "", "spec.infrastructure.parametersRef: GatewayParameters default/none does not exist"),
    "only in another namespace": (
        "", ref("own"), parameters("own", "Dedicated", "infra"),
        "spec.infrastructure.parametersRef: GatewayParameters default/own does not exist",
    ),
    "the class names none": (
        ref("none", namespace="infra"), "", "",
        "GatewayClass set: spec.parametersRef: GatewayParameters infra/none does not exist",
    ),
    "the class names no namespace": (
        ref("own"), "", parameters("own", "Dedicated"),
        "GatewayClass set: spec.parametersRef.namespace: there is none, and GatewayParameters are objects of namespaces",
    ),
    "another kind": (
        "", ref("x", group="", kind="ConfigMap"), "",
        "spec.infrastructure.parametersRef: ConfigMap holds no settings that are known; use fairlead.dev/GatewayParameters",
    ),
    "a choice that nobody knows": (
        "", ref("own"), parameters("own", "Sidecar"),
        "GatewayParameters default/own, spec.proxy: 'Sidecar' is not Shared or Dedicated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_what_cannot_be_followed_serves_nothing_and_says_why(case: str) -> None:
    of_class, of_gateway, objects, words = WRONG[case]
    stage = staged(world(klass(of_class) + objects + gateway(of_gateway=of_gateway)))
    accepted, programmed = status.gateway_conditions(
        stage.gateways["default", "web"], status.Serving(addresses=("203.0.113.10",))
    )
    assert (accepted.status, accepted.reason, accepted.message) == (False, "InvalidParameters", words)
    assert (programmed.status, programmed.reason) == (False, "Invalid")
    assert not proxies(stage)


def test_settings_that_change_are_followed() -> None:
    snapshot = world(klass(ref("own", namespace="default")) + gateway(), route())
    stage = staged(snapshot)
    assert not proxies(stage)
    for proxy, wanted in (("Dedicated", OWN), ("Shared", "")):
        before = snapshot
        snapshot = fold(before, events(parameters("own", proxy).removesuffix("---")))
        stage.update(snapshot, snapshot.services_changed_since(before.token))
        assert set(proxies(stage).values()) == {wanted}
        assert stage.tables() == staged(snapshot).tables()


def test_the_youngest_of_too_many_gateways_have_no_proxy_and_say_so() -> None:
    texts = [
        gateway(f"g{at:02}", ref("own"), first_port=20000 + 2 * at, created=f"2026-01-{28 - at:02}T00:00:00Z")
        for at in range(MOST_PROXIES + 1)
    ]
    stage = staged(world(klass() + parameters("own", "Dedicated") + "---".join(texts)))
    assert len(set(proxies(stage).values())) == MOST_PROXIES
    # The one that was made first of all is the last by name.
    assert f"default.g{MOST_PROXIES:02}" in proxies(stage).values()
    late = stage.gateways["default", "g00"]
    serving = status.Serving(addresses=("203.0.113.10",))
    accepted, programmed = status.gateway_conditions(late, serving)
    assert (accepted.status, programmed.status, programmed.reason) == (True, False, "NoResources")
    assert programmed.message.startswith("16 older Gateways have proxies of their own")
    assert status.listener_conditions(late.own[0], late, serving)[3].message == programmed.message
    assert [each.message for each in stage.diagnostics() if each.object == "Gateway/default/g00"] == [
        programmed.message
    ]


def test_a_port_of_the_nodes_that_two_services_name_is_the_older_gateways() -> None:
    """Two proxies of one user would share it, and each other's clients."""
    old, young = (
        gateway(name, ref("own"), created=f"2026-01-0{day}T00:00:00Z") for name, day in (("a-young", 2), ("old", 1))
    )
    stage = staged(world(klass() + parameters("own", "Dedicated") + old + "---" + young))
    assert proxies(stage) == {"default/old/80": "default.old", "default/old/53/udp": "default.old"}
    assert stage.holders == {("TCP", 20000): ("default", "old"), ("UDP", 20001): ("default", "old")}


def test_names_of_proxies_are_folders_and_no_two_gateways_have_the_same() -> None:
    keys = [("a", "b"), ("a", "b.c"), ("a", "b-c"), ("a-b", "c"), *((n * 63, m * 253) for n in "ab" for m in "ab")]
    names = [proxy_name(each) for each in keys]
    assert len(set(names)) == len(keys)
    assert max(map(len, names)) <= 200
    assert not any("/" in each or each.startswith(".") for each in names)
