"""Which policies apply where, which lose and why, and what their statuses say of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.model.test_gateway import events, gateway, route, world

from fairlead.model.gateway import status
from fairlead.model.gateway.attachment import MOST_ANCESTORS
from fairlead.model.gateway.stage import GatewayStage
from fairlead.world.events import Event, ObjectChanged
from fairlead.world.fold import fold

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
    state = found.policies.state("BackendTrafficPolicy", ("default", name))
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


def _random_event(rng: random.Random) -> Event:
    name = rng.choice("pqr")
    match rng.randrange(6):
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
        assert found.tables() == scratch.tables()
        assert {name: told(found, name) for name in "pqr"} == {name: told(scratch, name) for name in "pqr"}
        restated = {name for _, (_, name) in found.policies.take_restated()}
        assert {name for name in "pqr" if told(found, name) != before[name]} <= restated
        assert found.diagnostics() == scratch.diagnostics()
        snapshot = after
