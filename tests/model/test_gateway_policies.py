"""Which policies apply where, which lose and why, and what their statuses say of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.model.test_gateway import events, gateway, route, world
from tests.pki import Authority

from fairlead.api.certificate import Certificate
from fairlead.api.meta import ObjectMeta
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway import status
from fairlead.model.gateway.attachment import MOST_ANCESTORS
from fairlead.model.gateway.stage import GatewayStage
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold

AUTHORITIES = (Authority("one"), Authority("two"))
SERVICE = """
kind: Service
metadata: {name: app}
spec: {ports: [{name: a, port: 80}, {name: b, port: 81}], clusterIP: 10.96.0.5}
"""


def policy(name: str, *targets: str, kind: str = "Random", year: int = 2024, spec: str = "") -> str:
    refs = ", ".join(f"{{group: '', kind: Service, {each}}}" for each in targets)
    return f"""
kind: BackendTrafficPolicy
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{targetRefs: [{refs}], {spec or f"loadBalancing: {{type: {kind}}}"}}}
"""


def both_ports() -> str:
    return """
kind: HTTPRoute
metadata: {name: both}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: app, port: 80}, {name: app, port: 81}]}]
"""


def stage(*texts: str) -> GatewayStage:
    found = GatewayStage()
    found.update(world(SERVICE, gateway(), both_ports(), *texts), None)
    return found


def balancing(found: GatewayStage) -> list[str]:
    rows: Any = found.tables()["gateway_clusters"]
    return [rows[f"default/app/{port}",].traffic.balancing.kind for port in (80, 81)]


def told(found: GatewayStage, name: str) -> list[tuple[str, str, str]]:
    """(ancestor, Accepted, its reason) of each ancestor of a policy."""
    return told_of(found, "BackendTrafficPolicy", name)


def told_of(found: GatewayStage, kind: str, name: str) -> list[tuple[str, str, str]]:
    state = found.policies.state(kind, ("default", name))
    return [
        (f"{ref['kind']}/{ref['name']}", str(conditions[0].status), conditions[0].reason)
        for ref, conditions in status.policy_ancestors(state)
    ]


DEFAULT = "least-request"
CASES: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
    "the whole Service": ([policy("p", "name: app")], ["random"] * 2, {"p": "Accepted"}),
    "one port": ([policy("p", "name: app, sectionName: a")], ["random", DEFAULT], {"p": "Accepted"}),
    "a port goes before the whole": (
        [policy("all", "name: app"), policy("own", "name: app, sectionName: b", kind="RoundRobin")],
        ["random", "round-robin"], {"all": "Accepted", "own": "Accepted"},
    ),
    "the oldest goes first": (
        [policy("a", "name: app", year=2025), policy("b", "name: app", kind="RoundRobin", year=2023)],
        ["round-robin"] * 2, {"a": "Conflicted", "b": "Accepted"},
    ),
    "of equal age the first by name": (
        [policy("b", "name: app"), policy("a", "name: app", kind="RoundRobin")],
        ["round-robin"] * 2, {"a": "Accepted", "b": "Conflicted"},
    ),
    "no such Service": ([policy("p", "name: nobody")], [DEFAULT] * 2, {"p": "TargetNotFound"}),
    "no such port": ([policy("p", "name: app, sectionName: c")], [DEFAULT] * 2, {"p": "TargetNotFound"}),
    "not what it may be attached to": (
        [policy("p", "name: app").replace("kind: Service", "kind: Pod")], [DEFAULT] * 2, {"p": "Invalid"},
    ),
    "what it says is wrong": (
        [policy("p", "name: app", spec="connectTimeout: soon")], [DEFAULT] * 2, {"p": "Invalid"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_which_policy_applies(case: str) -> None:
    texts, wanted, reasons = CASES[case]
    found = stage(*texts)
    assert balancing(found) == wanted
    for name, reason in reasons.items():
        ((ancestor, accepted, said),) = told(found, name)
        assert (accepted, said) == (str(reason == "Accepted"), reason)
        assert ancestor.startswith("Gateway/") == (reason not in ("TargetNotFound", "Invalid") or "wrong" in case)
        problems = [each for each in found.diagnostics() if each.object == f"BackendTrafficPolicy/default/{name}"]
        assert bool(problems) == (reason != "Accepted")


def test_a_policy_of_a_service_that_no_gateway_uses_is_told_of_the_service() -> None:
    found = stage(SERVICE.replace("name: app", "name: idle"), policy("p", "name: idle"))
    assert told(found, "p") == [("Service/idle", "True", "Accepted")]


def test_the_winner_goes_and_the_loser_applies() -> None:
    found = stage()
    snapshot = world(SERVICE, gateway(), both_ports(), policy("a", "name: app"))
    snapshot = fold(snapshot, events(policy("b", "name: app", kind="RoundRobin")))
    found.update(snapshot, None)
    assert told(found, "b") == [("Gateway/web", "False", "Conflicted")]
    found.policies.take_restated()
    after = fold(snapshot, [ObjectChanged("BackendTrafficPolicy", ("default", "a"), None)])
    changed: Any = found.update(after, after.services_changed_since(snapshot.token))
    assert changed["gateway_clusters"] == {("default/app/80",), ("default/app/81",)}
    assert balancing(found) == ["round-robin"] * 2
    assert told(found, "b") == [("Gateway/web", "True", "Accepted")]
    assert {key[1][1] for key in found.policies.take_restated()} == {"a", "b"}


def test_a_service_has_more_gateways_than_a_status_has_room() -> None:
    names = [f"g{at:02}" for at in range(MOST_ANCESTORS + 2)]
    parents = ", ".join(f"{{name: {each}}}" for each in names)
    text = both_ports().replace("{name: web}", parents)
    found = stage(*(gateway(each) for each in names), text, policy("p", "name: app"))
    assert [each[0] for each in told(found, "p")] == [f"Gateway/{each}" for each in names[:MOST_ANCESTORS]]


def test_what_others_wrote_of_a_policy_stays() -> None:
    other = {"ancestorRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": []}
    wanted = status.policy_ancestors(
        stage(policy("p", "name: app")).policies.state("BackendTrafficPolicy", ("default", "p"))
    )
    first = status.merged_ancestors([other], wanted, 3, "2024-01-01T00:00:00Z")
    assert first[0] == other
    assert first[1]["ancestorRef"] == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "default",
        "name": "web",
    }
    assert first[1]["conditions"][0]["observedGeneration"] == 3
    assert status.merged_ancestors(first, wanted, 3, "2025-01-01T00:00:00Z") == first
    assert status.merged_ancestors(first, [], 3, "2025-01-01T00:00:00Z") == [other]


TLS_REASONS: dict[str, tuple[str, str, str]] = {
    # validation, reason of Accepted, reason of ResolvedRefs
    "good": ("caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]", "Accepted", "ResolvedRefs"),
    "the system's": ("wellKnownCACertificates: System", "Accepted", "ResolvedRefs"),
    "one of two": (
        "caCertificateRefs: [{group: '', kind: ConfigMap, name: nobody}, {group: '', kind: ConfigMap, name: ca}]",
        "Accepted", "InvalidCACertificateRef",
    ),
    "missing": (
        "caCertificateRefs: [{group: '', kind: ConfigMap, name: nobody}]", "NoValidCACertificate", "InvalidCACertificateRef",
    ),
    "another kind": (
        "caCertificateRefs: [{group: '', kind: Secret, name: ca}]", "NoValidCACertificate", "InvalidKind",
    ),
    "another group": (
        "caCertificateRefs: [{group: x.io, kind: ConfigMap, name: ca}]", "NoValidCACertificate", "InvalidKind",
    ),
    "other well-known": ("wellKnownCACertificates: example.com/Own", "Invalid", "ResolvedRefs"),
    "an option": ("wellKnownCACertificates: System}, options: {example.com/a: b", "Invalid", "ResolvedRefs"),
    "a name of another type": (
        "wellKnownCACertificates: System, subjectAltNames: [{type: IP, hostname: a.example}]", "Invalid", "ResolvedRefs",
    ),
}  # fmt: skip


def tls_policy(name: str, validation: str, target: str = "name: app", year: int = 2024) -> str:
    return f"""
kind: BackendTLSPolicy
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{targetRefs: [{{group: '', kind: Service, {target}}}], validation: {{hostname: a.example, {validation}}}}}
"""


def bundle(authority: Authority) -> TrustMaterial:
    return TrustMaterial(metadata=ObjectMeta(name="ca", namespace="default"), pem=authority.pem)


@pytest.mark.parametrize("case", TLS_REASONS, ids=str)
def test_what_tls_to_a_backend_is_told(case: str) -> None:
    validation, accepted, resolved = TLS_REASONS[case]
    found = GatewayStage()
    known = ObjectChanged("ConfigMap", ("default", "ca"), bundle(Authority()))
    found.update(fold(world(SERVICE, gateway(), both_ports(), tls_policy("p", validation)), [known]), None)
    state = found.policies.state("BackendTLSPolicy", ("default", "p"))
    ((ancestor, conditions),) = status.policy_ancestors(state)
    assert (ancestor["kind"], ancestor["name"]) == ("Gateway", "web")
    assert [each.reason for each in conditions] == [accepted, resolved]
    assert [each.status for each in conditions] == [accepted == "Accepted", resolved == "ResolvedRefs"]
    rows: Any = found.tables().get("gateway_clusters", {})
    assert [row.tls is not None for row in rows.values()] == ([True] * 2 if accepted == "Accepted" else [])


def test_a_policy_of_the_gateway_api_without_a_gateway_is_told_nothing() -> None:
    found = stage(
        SERVICE.replace("name: app", "name: idle"), tls_policy("p", "wellKnownCACertificates: System", "name: idle")
    )
    assert found.policies.state("BackendTLSPolicy", ("default", "p")).verdicts == ()


@pytest.mark.parametrize("target", ["name: app, sectionName: c", "name: nobody"])
def test_a_policy_of_the_gateway_api_says_that_its_target_is_not_there(target: str) -> None:
    route = both_ports().replace("name: both", "name: more").replace("app", "nobody")
    found = stage(route, tls_policy("p", "wellKnownCACertificates: System", target))
    ((ancestor, (accepted, _)),) = status.policy_ancestors(found.policies.state("BackendTLSPolicy", ("default", "p")))
    assert (ancestor["kind"], ancestor["name"]) == ("Gateway", "web")
    assert (accepted.status, accepted.reason) == (False, "TargetNotFound")
    assert accepted.message.startswith("spec.targetRefs[0]: ")


CLIENTS = {
    "none": ("", []),
    "missing": ("{name: nobody}", ["InvalidClientCertificateRef"]),
    "another kind": ("{kind: ConfigMap, name: own}", ["InvalidClientCertificateRef"]),
    "another namespace": ("{name: own, namespace: other}", ["RefNotPermitted"]),
    "good": ("{name: own}", ["ResolvedRefs"]),
}


@pytest.mark.parametrize("case", CLIENTS, ids=str)
def test_what_a_gateway_with_a_certificate_for_backends_is_told(case: str) -> None:
    ref, wanted = CLIENTS[case]
    tls = f"tls: {{backend: {{clientCertificateRef: {ref}}}}}," if ref else ""
    text = gateway().replace("gatewayClassName", f"{tls} gatewayClassName", 1)
    own = ObjectChanged(
        "Secret", ("default", "own"), Certificate(metadata=ObjectMeta(name="own", namespace="default"), digest="d")
    )
    found = GatewayStage()
    found.update(fold(world(SERVICE, text), [own]), None)
    (bound,) = found.gateways.values()
    conditions = status.gateway_conditions(bound, status.Serving())
    assert [each.reason for each in conditions if each.type == "ResolvedRefs"] == wanted
    assert conditions[0].reason == "Accepted"


def _random_event(rng: random.Random) -> Event:
    name = rng.choice("pqr")
    match rng.randrange(8):
        case 6:
            validation = rng.choice(
                ("wellKnownCACertificates: System", "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]")
            )
            target = rng.choice(("name: app", "name: app, sectionName: a", "name: s"))
            return events(tls_policy(name, validation, target, year=rng.randrange(2020, 2023)))[0]
        case 7:
            found = bundle(AUTHORITIES[rng.randrange(2)]) if rng.randrange(3) else None
            gone = ObjectChanged("BackendTLSPolicy", ("default", name), None)
            return rng.choice((ObjectChanged("ConfigMap", ("default", "ca"), found), gone))
        case 0 | 1:
            targets = rng.sample(
                ["name: app", "name: app, sectionName: a", "name: s", "name: gone"], rng.randrange(1, 3)
            )
            return events(
                policy(name, *targets, kind=rng.choice(("Random", "RoundRobin")), year=rng.randrange(2020, 2023))
            )[0]
        case 2:
            return ObjectChanged("BackendTrafficPolicy", ("default", name), None)
        case 3:
            return events(SERVICE.replace("name: app", f"name: {rng.choice(('s', 'gone'))}"))[0]
        case 4:
            return rng.choice((events(route("r", to="s"))[0], ObjectChanged("HTTPRoute", ("default", "r"), None)))
        case _:
            return rng.choice((events(gateway())[0], ObjectChanged("Service", ("default", "gone"), None)))


@pytest.mark.parametrize("seed", range(6))
def test_increments_equal_a_compilation_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    snapshot = world(SERVICE, gateway(), both_ports())
    found = GatewayStage()
    found.update(snapshot, None)
    for _ in range(60):
        after = fold(snapshot, [_random_event(rng) for _ in range(rng.randrange(1, 4))])
        before = {name: told(found, name) for name in "pqr"}
        found.policies.take_restated()
        found.update(after, after.services_changed_since(snapshot.token))
        scratch = GatewayStage()
        scratch.update(after, None)
        tables, wanted = ({name: rows for name, rows in each.tables().items() if rows} for each in (found, scratch))
        assert tables == wanted
        for kind in ("BackendTrafficPolicy", "BackendTLSPolicy"):
            assert [told_of(found, kind, name) for name in "pqr"] == [told_of(scratch, kind, name) for name in "pqr"]
        restated = {name for _, (_, name) in found.policies.take_restated()}
        assert {name for name in "pqr" if told(found, name) != before[name]} <= restated
        assert found.diagnostics() == scratch.diagnostics()
        snapshot = after
