"""Policy rules: the index and the containment of rights agree with a reading of each rule word for word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.authz.question import Question, of_path, of_resource, refused, required
from fairlead.apiserver.authz.rules import Rights, Rule, compact, describe, rules_of
from fairlead.apiserver.http.info import parse

WORDS = st.sampled_from(["get", "list", "*"])
GROUPS = st.sampled_from(["", "apps", "*"])
RESOURCES = st.sampled_from(["pods", "pods/log", "*/log", "*/scale", "deployments", "*"])
NAMES = st.sampled_from(["a", "b", ""])
URLS = st.sampled_from(["/api", "/api/*", "/healthz", "*", "/a*"])


def lists(of: st.SearchStrategy[str], least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(of, min_size=least, max_size=3)


POLICY_RULES = st.fixed_dictionaries(
    {"verbs": lists(WORDS, 1)},
    optional={
        "apiGroups": lists(GROUPS),
        "resources": lists(RESOURCES),
        "resourceNames": lists(NAMES),
        "nonResourceURLs": lists(URLS),
    },
)


def naive(rule: dict[str, Any], verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
    """What the documentation of PolicyRule says, one list after the other."""

    def has(field: str, *wanted: str) -> bool:
        return any(one in (rule.get(field) or []) for one in wanted)

    whole = resource + ("/" + subresource if subresource else "")
    return (
        has("verbs", verb, "*")
        and has("apiGroups", group, "*")
        and (has("resources", whole, "*") or (subresource != "" and has("resources", "*/" + subresource)))
        and (not rule.get("resourceNames") or has("resourceNames", name))
    )


def naive_path(rule: dict[str, Any], verb: str, path: str) -> bool:
    for url in rule.get("nonResourceURLs") or []:
        fits = url == "*" or url == path or (url[-1] == "*" and path[: len(url) - 1] == url[:-1])
        if fits and (verb in rule["verbs"] or "*" in rule["verbs"]):
            return True
    return False


@given(
    st.lists(POLICY_RULES, max_size=4),
    st.sampled_from(["get", "list", "create"]),
    st.sampled_from(["", "apps", "batch"]),
    st.sampled_from(["pods", "deployments", "nodes"]),
    st.sampled_from(["", "log", "scale"]),
    st.sampled_from(["", "a", "b", "c"]),
)
def test_the_index_equals_a_reading_of_each_rule(rules, verb, group, resource, subresource, name):
    rights = Rights(rules_of({"rules": rules}))
    expected = any(naive(rule, verb, group, resource, subresource, name) for rule in rules)
    assert rights.allow(verb, group, resource, subresource, name) == expected
    assert any(one.allows(verb, group, resource, subresource, name) for one in rules_of({"rules": rules})) == expected


@given(
    st.lists(POLICY_RULES, max_size=4),
    st.sampled_from(["get", "post"]),
    st.sampled_from(["/api", "/api/v1", "/apis", "/healthz", "/", "/version"]),
)
def test_paths(rules, verb, path):
    expected = any(naive_path(rule, verb, path) for rule in rules)
    assert Rights(rules_of({"rules": rules})).allow_path(verb, path) == expected


@given(st.lists(POLICY_RULES, max_size=3), POLICY_RULES)
def test_who_holds_what_is_granted_can_do_what_it_allows(held, granted):
    rights = Rights(rules_of({"rules": held}))
    (rule,) = rules_of({"rules": [granted]})
    if rights.cover(rule):
        return
    for verb in ("get", "create"):
        for group in ("", "apps", "x"):
            for resource in ("pods", "deployments", "x"):
                for subresource in ("", "log", "scale"):
                    for name in ("", "a", "z"):
                        if naive(granted, verb, group, resource, subresource, name):
                            assert rights.allow(verb, group, resource, subresource, name)
    for path in ("/api", "/api/x", "/healthz", "/", "/abc"):
        if naive_path(granted, "get", path):
            assert rights.allow_path("get", path)


@given(POLICY_RULES)
def test_everybody_holds_what_he_holds(rule):
    (own,) = rules_of({"rules": [rule]})
    assert Rights([own]).cover(own) == []


def test_rules_of_many_combinations_are_neither_lost_nor_multiplied():
    many = tuple(f"r{number}" for number in range(500))
    rule = Rule(("get", "list"), many, many)
    rights = Rights([rule])
    assert rights.allow("get", "r7", "r499", "", "")
    assert not rights.allow("get", "r7", "r500", "", "")
    with pytest.raises(ValueError, match="200000 combinations"):
        rights.cover(rule)


def test_descriptions():
    singles = [Rule(("get",), ("",), ("pods",)), Rule(("list",), ("",), ("pods",)), Rule(("get",), urls=("/metrics",))]
    assert [describe(rule) for rule in compact(singles)] == [
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}',
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
    ]


QUESTIONS = {
    "list": ("GET", "/api/v1/namespaces/d/pods", {}, Question("list", "", "pods", "", "d")),
    "get": (
        "GET",
        "/apis/apps/v1/namespaces/d/deployments/x",
        {},
        Question("get", "apps", "deployments", "", "d", "x"),
    ),
    "subresource": ("PATCH", "/api/v1/nodes/n/status", {}, Question("patch", "", "nodes", "status", "", "n")),
    "a namespace is inside of itself": (
        "GET",
        "/api/v1/namespaces/d",
        {},
        Question("get", "", "namespaces", "", "d", "d"),
    ),
    "watch of one": (
        "GET",
        "/api/v1/namespaces/d/configmaps",
        {"watch": "1", "fieldSelector": "metadata.name=x"},
        Question("watch", "", "configmaps", "", "d", "x", "", "metadata.name=x"),
    ),
    "another selector": (
        "GET",
        "/api/v1/pods",
        {"fieldSelector": "spec.nodeName==n,metadata.name!=x"},
        Question("list", "", "pods", fields="spec.nodeName==n,metadata.name!=x"),
    ),
    "collection": ("DELETE", "/api/v1/namespaces/d/pods", {}, Question("deletecollection", "", "pods", "", "d")),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_questions(case):
    method, path, query, expected = QUESTIONS[case]
    about = parse(method, path, query)
    assert about is not None
    assert of_resource(about, query) == expected


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ("spec.nodeName=n", "n"),
        ("a=b,spec.nodeName==n", "n"),
        ("spec.nodeName!=n", None),
        ("", None),
        ("spec.nodeName", None),
    ],
)
def test_what_a_selector_requires(fields, value):
    assert required(fields, "spec.nodeName") == value


REFUSALS = {
    Question("list", "", "pods", "", "y"): (
        'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"',
        {"kind": "pods"},
    ),
    Question("get", "apps", "deployments", "scale", "y", "web"): (
        'deployments.apps "web" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" '
        'in the namespace "y"',
        {"name": "web", "group": "apps", "kind": "deployments"},
    ),
    Question("list", "", "nodes"): (
        'nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope',
        {"kind": "nodes"},
    ),
    of_path("POST", "/metrics"): ('forbidden: User "x" cannot post path "/metrics"', None),
}


@pytest.mark.parametrize("question", REFUSALS, ids=str)
def test_refusals_in_upstreams_words(question):
    message, details = REFUSALS[question]
    status = refused("x", question, "").status
    assert (status["code"], status["reason"], status["message"], status.get("details")) == (
        403,
        "Forbidden",
        message,
        details,
    )
    assert refused("x", question, "why").status["message"] == f"{message}: why"
