"""ValidatingAdmissionPolicies: what they judge, by which parameters, and what their bindings make of it."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_client import Answer, Http, acting_as, config_map

Json = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
ABOUT = "ValidatingAdmissionPolicy 'p' with binding 'b'"


def policy(*validations: Json | str, **spec: Any) -> Json:
    listed = [{"expression": one} if isinstance(one, str) else one for one in validations]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [RULE]}, "validations": listed, **spec},
    }


def binding(*actions: str, name: str = "b", **spec: Any) -> Json:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": "p", "validationActions": list(actions or ("Deny",)), **spec},
    }


async def bind(http: Http, a_policy: Json, *bindings: Json) -> None:
    await http.ok("POST", f"{GROUP}/validatingadmissionpolicies", a_policy)
    for one in bindings or (binding(),):
        await http.ok("POST", f"{GROUP}/validatingadmissionpolicybindings", one)


async def create(http: Http, name: str = "m", **data: str) -> Answer:
    return await http("POST", MAPS, config_map(name, **data), **acting_as("bob", "system:masters"))


HOLDS = "object.data.x == '1'"
DENIED: dict[str, tuple[Json, int, str, str]] = {
    "as the expression": (policy(HOLDS), 422, "Invalid", f"failed expression: {HOLDS}"),
    "in a message": (policy({"expression": HOLDS, "message": "x is one"}), 422, "Invalid", "x is one"),
    "in a message that is made": (
        policy({"expression": HOLDS, "message": "m", "messageExpression": "'x is ' + object.data.x"}),
        422,
        "Invalid",
        "x is 2",
    ),
    "in the message, where making one fails": (
        policy({"expression": HOLDS, "message": "m", "messageExpression": "object.nope"}),
        422,
        "Invalid",
        "m",
    ),
    "for a reason": (policy({"expression": HOLDS, "reason": "Forbidden", "message": "m"}), 403, "Forbidden", "m"),
    "by an error": (
        policy("object.nope == 1"),
        422,
        "Invalid",
        "expression 'object.nope == 1' resulted in error: no such key: nope",
    ),
    "by a variable": (
        policy(
            "variables.doubled != '22'", variables=[{"name": "doubled", "expression": "object.data.x + object.data.x"}]
        ),
        422,
        "Invalid",
        "failed expression: variables.doubled != '22'",
    ),
    "by a variable that has no value": (
        policy("variables.a == 1", variables=[{"name": "a", "expression": "object.nope"}]),
        422,
        "Invalid",
        "expression 'object.nope' resulted in error: no such key: nope",
    ),
    "by the namespace": (
        policy("namespaceObject.metadata.name != 'default'"),
        422,
        "Invalid",
        "failed expression: namespaceObject.metadata.name != 'default'",
    ),
    "by the user": (
        policy("request.userInfo.username != 'bob'"),
        422,
        "Invalid",
        "failed expression: request.userInfo.username != 'bob'",
    ),
}


@pytest.mark.parametrize("case", DENIED)
async def test_denials(case: str, http: Http):
    a_policy, code, reason, message = DENIED[case]
    await bind(http, a_policy)
    answer = await create(http, x="2")
    assert (answer.code, answer.body["reason"]) == (code, reason)
    assert answer.message == f'configmaps "m" is forbidden: {ABOUT} denied request: {message}'
    assert answer.body["details"]["causes"] == [{"message": message}]


async def test_what_holds_is_allowed_and_a_policy_without_binding_is_asleep(http: Http):
    await http.ok("POST", f"{GROUP}/validatingadmissionpolicies", policy(HOLDS))
    assert (await create(http, "a", x="2")).code == 201
    await http.ok("POST", f"{GROUP}/validatingadmissionpolicybindings", binding())
    assert (await create(http, "b", x="2")).code == 422
    assert (await create(http, "c", x="1")).code == 201
    await http.ok("DELETE", f"{GROUP}/validatingadmissionpolicybindings/b")
    assert (await create(http, "d", x="2")).code == 201


async def test_updates_see_what_was(http: Http):
    await bind(http, policy("oldObject == null || object.data.x >= oldObject.data.x"))
    assert (await create(http, x="2")).code == 201
    assert (await http("PUT", f"{MAPS}/m", config_map("m", x="1"))).code == 422
    assert (await http("PUT", f"{MAPS}/m", config_map("m", x="3"))).code == 200


ACTIONS: dict[str, tuple[tuple[str, ...], int, list[str]]] = {
    "warn": (("Warn",), 201, [f'299 - "Validation failed for {ABOUT}: m"']),
    "audit": (("Audit",), 201, []),
    "audit and deny": (("Audit", "Deny"), 422, []),
}


@pytest.mark.parametrize("case", ACTIONS)
async def test_what_a_binding_makes_of_it(case: str, http: Http):
    actions, code, warnings = ACTIONS[case]
    await bind(http, policy({"expression": HOLDS, "message": "m"}), binding(*actions))
    answer = await create(http, x="2")
    assert (answer.code, answer.headers.getall("Warning", [])) == (code, warnings)


NOT_ASKED: dict[str, tuple[Json, Json]] = {
    "another operation": (
        policy("false", matchConstraints={"resourceRules": [RULE | {"operations": ["DELETE"]}]}),
        binding(),
    ),
    "another resource": (
        policy("false", matchConstraints={"resourceRules": [RULE | {"resources": ["secrets"]}]}),
        binding(),
    ),
    "another name": (policy("false", matchConstraints={"resourceRules": [RULE | {"resourceNames": ["n"]}]}), binding()),
    "an exception": (
        policy(
            "false",
            matchConstraints={"resourceRules": [RULE], "excludeResourceRules": [RULE | {"resourceNames": ["m"]}]},
        ),
        binding(),
    ),
    "a condition": (
        policy("false", matchConditions=[{"name": "c", "expression": "object.metadata.name != 'm'"}]),
        binding(),
    ),
    "a binding for other namespaces": (
        policy("false"),
        binding(matchResources={"namespaceSelector": {"matchLabels": {"x": "y"}}}),
    ),
    "errors that are ignored": (policy("object.nope", failurePolicy="Ignore"), binding()),
}


@pytest.mark.parametrize("case", NOT_ASKED)
async def test_what_is_not_judged(case: str, http: Http):
    a_policy, a_binding = NOT_ASKED[case]
    await bind(http, a_policy, a_binding)
    assert (await create(http, x="2")).code == 201


RIGHTS: dict[str, tuple[str, bool]] = {
    "what roles grant": (
        "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()",
        True,
    ),
    "what they do not": (
        "authorizer.group('').resource('secrets').namespace('default').name('x').check('get').allowed()",
        False,
    ),
    "a subresource": ("authorizer.group('').resource('pods').subresource('exec').check('create').allowed()", False),
    "a path": ("authorizer.path('/healthz').check('get').allowed()", True),
    "the request itself": ("authorizer.requestResource.check('create').allowed()", True),
    "the request itself, otherwise": ("authorizer.requestResource.check('escalate').allowed()", False),
    "an account": ("authorizer.serviceAccount('default', 'default').path('/metrics').check('get').allowed()", False),
    "a reason": ("authorizer.requestResource.check('create').reason().startsWith('RBAC: allowed by')", True),
    "no question": ("authorizer.group('').check('get').allowed()", False),
}


@pytest.mark.parametrize("case", RIGHTS)
async def test_rights_of_who_asks(case: str, http: Http):
    expression, expected = RIGHTS[case]
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}
    await http.ok("POST", f"{RBAC}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}
    await http.ok("POST", f"{RBAC}/rolebindings", {"metadata": {"name": "r"}, "roleRef": role, "subjects": [subject]})
    await bind(http, policy(expression))
    answer = await http("POST", MAPS, config_map("m"), **acting_as("bob"))
    assert answer.code == (201 if expected else 422), answer.body


PARAMS = {
    "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    "matchConditions": [{"name": "not-the-params", "expression": "!object.metadata.name.startsWith('limits')"}],
}
LIMIT = {
    "expression": "int(object.data.x) <= int(params.data.most)",
    "messageExpression": "'at most ' + params.data.most",
}


async def test_parameters(http: Http):
    ref = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await http.ok("POST", MAPS, config_map("limits", most="5"))
    await bind(http, policy(LIMIT, **PARAMS), binding(paramRef=ref))
    assert (await create(http, "a", x="5")).code == 201
    assert (await create(http, "b", x="6")).message.endswith("denied request: at most 5")
    await http.ok("PUT", f"{MAPS}/limits", config_map("limits", most="9"))
    assert (await create(http, "b", x="6")).code == 201
    await http.ok("DELETE", f"{MAPS}/limits")
    answer = await create(http, "c", x="1")
    assert answer.message.endswith(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )


async def test_every_selected_parameter_counts(http: Http):
    for number in ("3", "7"):
        await http.ok("POST", MAPS, config_map(f"limits-{number}", labels={"l": "y"}, most=number))
    ref = {"selector": {"matchLabels": {"l": "y"}}, "parameterNotFoundAction": "Allow"}
    await bind(http, policy(LIMIT, **PARAMS), binding(paramRef=ref))
    assert (await create(http, "a", x="3")).code == 201
    assert (await create(http, "b", x="5")).message.endswith("at most 3")
    assert (await create(http, "c", x="8")).code == 422
    for number in ("3", "7"):
        await http.ok("DELETE", f"{MAPS}/limits-{number}")
    assert (await create(http, "d", x="99")).code == 201


async def test_an_expression_that_costs_too_much(http: Http):
    everything = "['a','b','c','d','e','f','g','h']"
    loop = "x"
    for name in "abcdefgh":
        loop = f"{everything}.all({name}, {loop})"
    await bind(http, policy(loop.replace("x)", "true)", 1)))
    answer = await create(http, x="1")
    assert answer.code == 422 and "running out of cost budget" in answer.message


REFUSED: dict[str, tuple[Json, str]] = {
    "a faulty expression": (policy("1 +"), "spec.validations[0].expression: Invalid value"),
    "an unknown variable": (policy("foo == 1"), "undeclared reference to 'foo'"),
    "nothing to judge": (policy(), "must contain at least one item"),
    "no constraints": (policy("true", matchConstraints=None), "spec.matchConstraints: Required value"),
    "a faulty variable": (
        policy("true", variables=[{"name": "a b", "expression": "1"}]),
        "name is not a valid CEL identifier",
    ),
    "deny and warn": (binding("Deny", "Warn"), "must not contain both Deny and Warn"),
    "no action": (binding() | {"spec": {"policyName": "p"}}, "spec.validationActions: Required value"),
    "an unknown action": (binding("Scold"), 'spec.validationActions[0]: Unsupported value: "Scold"'),
    "a parameter by nothing": (
        binding(paramRef={"parameterNotFoundAction": "Deny"}),
        "one of name or selector must be specified",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_configurations_that_are_refused(case: str, http: Http):
    body, words = REFUSED[case]
    plural = "validatingadmissionpolicies" if body["kind"].endswith("Policy") else "validatingadmissionpolicybindings"
    answer = await http("POST", f"{GROUP}/{plural}", body)
    assert answer.code == 422 and words in answer.message, answer.body
