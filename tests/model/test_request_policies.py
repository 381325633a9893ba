"""Which SecurityPolicy and TrafficPolicy decide about which requests, and what routes say of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.drivers.xds.jose import Issuer
from tests.model.test_gateway import gateway, route, world

from fairlead.api import credentials
from fairlead.api.meta import ObjectMeta
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway import status
from fairlead.model.gateway.stage import GatewayStage
from fairlead.plan.gateway.policy import RequestPolicy
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold

RULES = "[{name: a, matches: [{path: {value: /a}}]}, {name: b, matches: [{path: {value: /b}}]}]"
ROUTE = f"""
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: web}}], rules: {RULES}}}
"""


def policy(name: str, target: str, spec: str, kind: str = "SecurityPolicy", year: int = 2026) -> str:
    of, _, rest = target.partition("/")
    name_of, _, section = rest.partition("/")
    part = f", sectionName: {section}" if section else ""
    return f"""
kind: {kind}
metadata: {{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{targetRefs: [{{group: gateway.networking.k8s.io, kind: {of}, name: {name_of}{part}}}], {spec}}}
"""


def cidr(prefix: str) -> str:
    return f"clientCIDRs: {{allow: [{prefix}]}}"


GATEWAY = policy("g", "Gateway/web", cidr("10.0.0.0/8"))
CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "none": ([], {"/a": "", "/b": ""}),
    "Gateway": ([GATEWAY], {"/a": "10.0.0.0/8", "/b": "10.0.0.0/8"}),
    "listener": (
        [GATEWAY, policy("l", "Gateway/web/http", cidr("11.0.0.0/8"))],
        {"/a": "11.0.0.0/8", "/b": "11.0.0.0/8"},
    ),
    "another listener": ([policy("l", "Gateway/web/other", cidr("11.0.0.0/8"))], {"/a": "", "/b": ""}),
    "route": ([GATEWAY, policy("r", "HTTPRoute/r", cidr("12.0.0.0/8"))], {"/a": "12.0.0.0/8", "/b": "12.0.0.0/8"}),
    "rule": (
        [GATEWAY, policy("r", "HTTPRoute/r", cidr("12.0.0.0/8")), policy("s", "HTTPRoute/r/b", cidr("13.0.0.0/8"))],
        {"/a": "12.0.0.0/8", "/b": "13.0.0.0/8"},
    ),
    "oldest": (
        [policy("a", "HTTPRoute/r", cidr("12.0.0.0/8")), policy("z", "HTTPRoute/r", cidr("13.0.0.0/8"), year=2020)],
        {"/a": "13.0.0.0/8", "/b": "13.0.0.0/8"},
    ),
    "exempt": ([GATEWAY, policy("s", "HTTPRoute/r/a", "exempt: [clientCIDRs]")], {"/a": "", "/b": "10.0.0.0/8"}),
    "another route": ([policy("r", "HTTPRoute/s", cidr("12.0.0.0/8"))], {"/a": "", "/b": ""}),
    "not valid": ([GATEWAY, policy("s", "HTTPRoute/r/a", cidr("x"))], {"/a": "500", "/b": "10.0.0.0/8"}),
    "a zone": ([GATEWAY, policy("s", "HTTPRoute/r/a", cidr("'fe80::%eth0/10'"))], {"/a": "500", "/b": "10.0.0.0/8"}),
    "rules about tokens of another": (
        [
            policy("s", "HTTPRoute/r/a", "jwt: {providers: [{name: p, issuer: i, localJWKS: {inline: '%s'}}]}"),
            policy(
                "r", "HTTPRoute/r",
                "jwt: {providers: [{name: p, issuer: i, localJWKS: {inline: '%s'}}]}, "
                "authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {jwt: {provider: p}}}]}",
            ),
        ],
        {"/a": "500", "/b": "access"},
    ),
}  # fmt: skip
JWKS = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'


def stage(*texts: str) -> GatewayStage:
    found = GatewayStage()
    found.update(world(gateway(), ROUTE, *(each.replace("%s", JWKS) for each in texts)), None)
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_which_policy_decides(case: str) -> None:
    texts, wanted = CASES[case]
    rows: Any = stage(*texts).tables()["gateway_hosts"]
    (host,) = rows.values()
    assert {each.path: _told(each) for each in host.routes} == wanted


def _told(route: Any) -> str:
    if route.policy is None:
        return "500" if route == route.closed else ""
    found: RequestPolicy = route.policy
    if found.access is not None:
        return "access"
    assert found == RequestPolicy(addresses=found.addresses)
    assert found.addresses is not None
    return str((found.addresses.allow or ("",))[0])


def test_a_route_says_which_policies_decide() -> None:
    found = stage(
        GATEWAY,
        policy("s", "HTTPRoute/r/b", cidr("13.0.0.0/8")),
        policy("t", "HTTPRoute/r", "maxRequestBytes: 5", "TrafficPolicy"),
    )
    bound = found.described(("HTTPRoute", ("default", "r")))
    assert bound is not None
    ((_, conditions),) = status.route_parents(bound, found.affected)
    said = conditions[-1]
    assert (said.type, said.status, said.reason) == ("fairlead.dev/PolicyAffected", True, "PolicyAffected")
    assert said.message.split("; ") == [
        "clientCIDRs: SecurityPolicy/default/g (rule a)",
        "maxRequestBytes: TrafficPolicy/default/t (rule a)",
        "clientCIDRs: SecurityPolicy/default/s (rule b)",
        "maxRequestBytes: TrafficPolicy/default/t (rule b)",
    ]
    shut = stage(policy("s", "HTTPRoute/r", cidr("x")))
    bound = shut.described(("HTTPRoute", ("default", "r")))
    assert bound is not None
    ((_, conditions),) = status.route_parents(bound, shut.affected)
    assert (conditions[-1].reason, conditions[-1].message[:34]) == (
        "PolicyInvalid",
        "requests are answered with 500: Se",
    )


def test_only_what_a_policy_governs_changes() -> None:
    other = route("other", "{name: web}", "hostnames: [other.example],", "app")
    found = GatewayStage()
    before = world(gateway(), ROUTE, other)
    found.update(before, None)
    after = world(gateway(), ROUTE, other, policy("r", "HTTPRoute/r", cidr("12.0.0.0/8")))
    # The same objects but for the policy: tables that are equal are the same ones.
    tables = {name: getattr(before, name) for name in before.__struct_fields__ if name not in ("token", "steps")}
    changed = type(after)(**(tables | {"security_policies": after.security_policies}))
    keys = found.update(changed, frozenset())
    assert keys is not None
    assert {key[1] for key in keys["gateway_hosts"]} == {"*"}


def test_rules_that_would_grow_beyond_measure_are_refused() -> None:
    prefixes = ", ".join(f"10.{at}.0.0/16" for at in range(100))
    both = f"{{action: Deny, principal: {{clientCIDRs: [{prefixes}]}}}}, {{action: Allow}}"
    for count, wanted in ((2, ""), (30, "spec.authorization.rules: too many conditions")):
        found = stage(policy("s", "HTTPRoute/r", f"authorization: {{rules: [{', '.join([both] * count)}]}}"))
        said = [each.message for each in found.diagnostics() if each.object == "SecurityPolicy/default/s"]
        assert [each[: len(wanted)] for each in said] == ([wanted] if wanted else [])


def test_digests_of_credentials_tell_nothing() -> None:
    secret = {
        "metadata": {"name": "s", "annotations": {"a": "secret"}},
        "stringData": {"auth": "ann:{SHA}x", "k": "secret"},
    }
    found = credentials.reduced(secret)
    assert "secret" not in str(found)
    data = credentials.data_of(secret)
    assert found["digest"] == data.digest
    assert "secret" not in repr(data)


def test_other_keys_for_tokens_cost_the_policies_that_name_them() -> None:
    local = "localJWKS: {valueRef: {kind: ConfigMap, name: keys}}"
    text = policy("p", "HTTPRoute/r", f"jwt: {{providers: [{{name: a, issuer: i, {local}}}]}}")
    before = world(gateway(), ROUTE, text)
    found = GatewayStage()
    found.update(before, None)
    for at, changed in enumerate([None, {"gateway_jwt"}]):
        material = TrustMaterial(
            metadata=ObjectMeta(name="keys", namespace="default"), problem="none", jwks=Issuer(f"i{at}").jwks
        )
        after = fold(before, [ObjectChanged("ConfigMap", ("default", "keys"), material)])
        rows = found.update(after, after.services_changed_since(before.token))
        assert (set(rows) if rows is not None else None) == changed
        before = after
