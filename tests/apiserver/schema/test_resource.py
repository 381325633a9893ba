"""Pruning, defaulting, keyed lists, embedded resources and rules of whole objects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.apiserver.schema.resource import ResourceSchema

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
MAP_LIST = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "port"],
    "items": {
        "type": "object",
        "properties": {"name": STRING, "port": {"type": "integer", "default": 80}, "v": INTEGER},
    },
}


def schema(**spec: Any) -> ResourceSchema:
    return ResourceSchema({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}})


def of(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def settled(found: ResourceSchema, obj: dict[str, Any]) -> Any:
    found.settle(obj)
    return obj["spec"]


def refusals(found: ResourceSchema, new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [str(error) for error in found.check(new, old)]


EMBEDDED = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}

PRUNED: dict[str, tuple[dict[str, Any], dict[str, Any], list[str], dict[str, Any]]] = {
    "unknown": ({"a": STRING}, {"a": "x", "b": 1}, ["spec.b"], {"a": "x"}),
    "nested": (
        {"a": {"type": "object", "properties": {"b": STRING}}},
        {"a": {"b": "x", "c": {"d": 1}}},
        ["spec.a.c"],
        {"a": {"b": "x"}},
    ),
    "items": (
        {"a": {"type": "array", "items": {"type": "object", "properties": {"b": STRING}}}},
        {"a": [{"b": "x"}, {"c": 1}, 5]},
        ["spec.a[1].c"],
        {"a": [{"b": "x"}, {}, 5]},
    ),
    "map": (
        {"a": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": STRING}}}},
        {"a": {"x": {"b": "y", "c": 1}}},
        ["spec.a.x.c"],
        {"a": {"x": {"b": "y"}}},
    ),
    "preserved": (
        {
            "a": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"b": {"type": "object"}},
            }
        },
        {"a": {"x": {"y": 1}, "b": {"z": 1}}},
        ["spec.a.b.z"],
        {"a": {"x": {"y": 1}, "b": {}}},
    ),
    "embedded": (
        {"a": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}},
        {"a": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}, "data": 1}},
        ["spec.a.data", "spec.a.spec.x"],
        {"a": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {}}},
    ),
}

DEFAULTED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "absent": ({"a": {"type": "string", "default": "x"}}, {}, {"a": "x"}),
    "present": ({"a": {"type": "string", "default": "x"}}, {"a": ""}, {"a": ""}),
    "null where null is not allowed": ({"a": {"type": "string", "default": "x"}}, {"a": None}, {"a": "x"}),
    "null where null is allowed": (
        {"a": {"type": "string", "nullable": True, "default": "x"}},
        {"a": None},
        {"a": None},
    ),
    "null without default": ({"a": STRING}, {"a": None}, {}),
    "below what is absent": (
        {"a": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}},
        {},
        {},
    ),
    "below a default": (
        {"a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}}},
        {},
        {"a": {"b": 1}},
    ),
    "items": ({"a": MAP_LIST}, {"a": [{"name": "x"}]}, {"a": [{"name": "x", "port": 80}]}),
    "map": (
        {"a": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"default": 1}}}}},
        {"a": {"x": {}}},
        {"a": {"x": {"b": 1}}},
    ),
}

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "set": (
        {"a": {"type": "array", "x-kubernetes-list-type": "set", "items": STRING}},
        {"a": ["x", "y", "x", "x"]},
        ['spec.a[2]: Duplicate value: "x"'],
    ),
    "map by two keys": (
        {"a": MAP_LIST},
        {"a": [{"name": "x", "port": 1}, {"name": "x", "port": 2}, {"name": "x", "port": 1}]},
        ['spec.a[2]: Duplicate value: {"name":"x","port":1}'],
    ),
    "map of no objects": (
        {"a": {**MAP_LIST, "items": {}}},
        {"a": ["x"]},
        ['spec.a[0]: Invalid value: "x": must be an object for an array of list-type map'],
    ),
    "embedded without type": (
        {"a": EMBEDDED},
        {"a": {"metadata": {"labels": {"-": "x"}}}},
        [
            "spec.a.apiVersion: Required value",
            "spec.a.kind: Required value",
            "spec.a.metadata.labels: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and "
            "must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
            "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    ),
    "embedded with a bad type": (
        {"a": EMBEDDED},
        {"a": {"apiVersion": "a/b/c", "kind": 1, "metadata": 5}},
        [
            'spec.a.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
            "spec.a.kind: Invalid value: 1: must be a string",
            "spec.a.metadata: Invalid value: 5: must be an object",
        ],
    ),
}


@pytest.mark.parametrize(("spec", "value", "unknown", "expected"), PRUNED.values(), ids=PRUNED)
def test_what_is_not_specified_goes(spec: Any, value: Any, unknown: list[str], expected: Any) -> None:
    found, obj = schema(**spec), of(**value)
    assert found.unknown_fields(obj) == unknown
    assert settled(found, obj) == expected
    assert obj["metadata"] == {"name": "x"}


@pytest.mark.parametrize(("spec", "value", "expected"), DEFAULTED.values(), ids=DEFAULTED)
def test_defaults(spec: Any, value: Any, expected: Any) -> None:
    assert settled(schema(**spec), of(**value)) == expected


@pytest.mark.parametrize(("spec", "value", "expected"), REFUSED.values(), ids=REFUSED)
def test_lists_and_embedded_resources(spec: Any, value: Any, expected: list[str]) -> None:
    assert refusals(schema(**spec), of(**value)) == expected


def test_an_object_that_held_an_item_twice_may_keep_it() -> None:
    found = schema(a={"type": "array", "x-kubernetes-list-type": "set", "items": STRING})
    assert refusals(found, of(a=["x", "x", "y"]), of(a=["x", "x"])) == []
    assert refusals(found, of(a=["x", "x"]), of(a=["x"])) == ['spec.a[1]: Duplicate value: "x"']


# Rules.


def ruled(type: str = "object", **rule: Any) -> ResourceSchema:
    more: dict[str, Any] = {"properties": {"x": INTEGER, "y": INTEGER}} if type == "object" else {}
    return schema(a={"type": type, "x-kubernetes-validations": [rule], **more})


RULES: dict[str, tuple[dict[str, Any], Any, Any, list[str]]] = {
    "holds": ({"rule": "self.x > 0"}, {"x": 1}, None, []),
    "fails without message": (
        {"rule": "self.x > 0"},
        {"x": 0},
        None,
        ["spec.a: Invalid value: failed rule: self.x > 0"],
    ),
    "message": ({"rule": "self.x > 0", "message": " more "}, {"x": 0}, None, ["spec.a: Invalid value: more"]),
    "messageExpression": (
        {"rule": "self.x > 0", "message": "more", "messageExpression": "'x is ' + string(self.x)"},
        {"x": 0},
        None,
        ["spec.a: Invalid value: x is 0"],
    ),
    "messageExpression that fails": (
        {"rule": "self.x > 0", "message": "more", "messageExpression": "string(self.y)"},
        {"x": 0},
        None,
        ["spec.a: Invalid value: more"],
    ),
    "messageExpression of two lines": (
        {"rule": "self.x > 0", "messageExpression": r"'a\nb'"},
        {"x": 0},
        None,
        ["spec.a: Invalid value: failed rule: self.x > 0"],
    ),
    "reason Forbidden": (
        {"rule": "self.x > 0", "message": "no", "reason": "FieldValueForbidden"},
        {"x": 0},
        None,
        ["spec.a: Forbidden: no"],
    ),
    "reason Required": (
        {"rule": "has(self.y)", "message": "needed", "reason": "FieldValueRequired", "fieldPath": ".y"},
        {"x": 0},
        None,
        ["spec.a.y: Required value: needed"],
    ),
    "reason Duplicate": (
        {"rule": "self.x > 0", "message": "twice", "reason": "FieldValueDuplicate"},
        {"x": 0},
        None,
        ["spec.a: Duplicate value"],
    ),
    "fieldPath": (
        {"rule": "self.x > 0", "message": "more", "fieldPath": ".x"},
        {"x": 0},
        None,
        ["spec.a.x: Invalid value: more"],
    ),
    "error": ({"rule": "self.x > 0"}, {}, None, ["spec.a: Invalid value: no such key: x evaluating rule: self.x > 0"]),
    "transition": (
        {"rule": "self.x >= oldSelf.x", "message": "grows"},
        {"x": 1},
        {"x": 2},
        ["spec.a: Invalid value: grows"],
    ),
    "transition at creation": ({"rule": "self.x >= oldSelf.x"}, {"x": 1}, None, []),
    "transition of what is unchanged": (
        {"rule": "self.x > oldSelf.x", "message": "grows"},
        {"x": 1},
        {"x": 1},
        ["spec.a: Invalid value: grows"],
    ),
    "optionalOldSelf at creation": (
        {"rule": "oldSelf.hasValue() || self.x == 0", "message": "starts at 0", "optionalOldSelf": True},
        {"x": 1},
        None,
        ["spec.a: Invalid value: starts at 0"],
    ),
    "optionalOldSelf at update": (
        {"rule": "oldSelf.optMap(o, self.x >= o.x).orValue(true)", "message": "grows", "optionalOldSelf": True},
        {"x": 1},
        {"x": 2},
        ["spec.a: Invalid value: grows"],
    ),
    "ratcheting": ({"rule": "self.x > 0"}, {"x": 0}, {"x": 0}, []),
    "no ratcheting of what changed": (
        {"rule": "self.x > 0", "message": "more"},
        {"x": 0},
        {"x": -1},
        ["spec.a: Invalid value: more"],
    ),
}


@pytest.mark.parametrize(("rule", "new", "old", "expected"), RULES.values(), ids=RULES)
def test_rule(rule: dict[str, Any], new: Any, old: Any, expected: list[str]) -> None:
    assert refusals(ruled(**rule), of(a=new), None if old is None else of(a=old)) == expected


def test_a_scalar_is_shown() -> None:
    assert refusals(ruled("string", rule="self == 'x'"), of(a="y")) == [
        "spec.a: Invalid value: \"y\": failed rule: self == 'x'"
    ]
    assert refusals(ruled("integer", rule="self == 1"), of(a=2)) == ["spec.a: Invalid value: 2: failed rule: self == 1"]


def test_rules_wait_for_the_types() -> None:
    assert refusals(ruled(rule="self.x > 0"), of(a={"x": "a"})) == [
        'spec.a.x: Invalid value: "string": spec.a.x in body must be of type integer: "string"',
        '<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid; '
        "correct the existing errors to complete validation",
    ]


def test_transitions_follow_the_keys_of_lists() -> None:
    grows = {**INTEGER, "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "grows"}]}
    items = {"type": "object", "properties": {"name": STRING, "port": INTEGER, "v": grows}}
    found = schema(a={**MAP_LIST, "items": items})
    old = of(a=[{"name": "x", "port": 1, "v": 5}, {"name": "y", "port": 1, "v": 5}])
    assert refusals(found, of(a=[{"name": "y", "port": 1, "v": 6}, {"name": "x", "port": 1, "v": 4}]), old) == [
        "spec.a[1].v: Invalid value: 4: grows"
    ]
    assert refusals(found, of(a=[{"name": "x", "port": 2, "v": 1}]), old) == []


def test_values_have_the_types_of_their_formats() -> None:
    found = schema(
        a={
            "type": "object",
            "properties": {
                "at": {"type": "string", "format": "date-time"},
                "for": {"type": "string", "format": "duration"},
                "raw": {"type": "string", "format": "byte"},
                "share": {"type": "number"},
                "on": {"type": "string", "format": "date"},
            },
            "x-kubernetes-validations": [
                {"rule": "self.at.getFullYear() == 2024 && self.__for__ > duration('1h') && self.raw == b'hi'"},
                {"rule": "self.share / 2.0 == 0.5 && self.on < timestamp('2024-05-02T00:00:00Z')"},
            ],
        }
    )
    value = {"at": "2024-05-01T10:00:00Z", "for": "90m", "raw": "aGk=", "share": 1, "on": "2024-05-01"}
    assert refusals(found, of(a=value)) == []


def test_the_order_of_sets_and_maps_does_not_count() -> None:
    same = {"rule": "self == oldSelf", "message": "may not change"}
    for spec, old, new, other in (
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": STRING},
            ["x", "y"],
            ["y", "x"],
            ["y", "z"],
        ),
        (
            MAP_LIST,
            [{"name": "x", "v": 1}, {"name": "y"}],
            [{"name": "y"}, {"name": "x", "v": 1}],
            [{"name": "y"}, {"name": "x"}],
        ),
    ):
        found = schema(a=spec | {"x-kubernetes-validations": [same]})
        assert refusals(found, of(a=new), of(a=old)) == []
        assert refusals(found, of(a=other), of(a=old)) == ["spec.a: Invalid value: may not change"]
    merging = {"rule": "size(self.a + self.b) == 3 && self.a + self.b == ['z', 'x', 'y']"}
    sets = {"type": "array", "x-kubernetes-list-type": "set", "items": STRING}
    found = schema(s={"type": "object", "properties": {"a": sets, "b": sets}, "x-kubernetes-validations": [merging]})
    assert refusals(found, of(s={"a": ["x", "y"], "b": ["y", "z"]})) == []


def test_rules_that_cost_too_much_end() -> None:
    rule = {"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", "message": "small"}
    found = schema(a={"type": "array", "items": INTEGER, "x-kubernetes-validations": [rule, rule]})
    assert refusals(found, of(a=list(range(1000)))) == [
        "spec.a: Invalid value: 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to "
        "call cost exceeds limit for rule: small"
    ]


def test_the_rules_of_an_object_share_a_budget() -> None:
    items = {**INTEGER, "x-kubernetes-validations": [{"rule": "lists.range(500000).size() > 0"}]}
    found = schema(a={"type": "array", "items": items})
    assert refusals(found, of(a=list(range(30)))) == [
        "spec.a[19]: Invalid value: validation failed due to running out of cost budget, no further validation rules will be run"
    ]


def test_what_is_too_deep_to_compare_is_refused() -> None:
    rules = [{"rule": "self == oldSelf", "message": "may not change"}]
    found = schema(
        a={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-validations": rules}
    )
    deep: list[dict[str, Any]] = []
    for _ in range(2):
        inner: dict[str, Any] = {}
        for _ in range(950):
            inner = {"b": inner}
        deep.append(of(a=inner))
    assert refusals(found, *deep) == ['<nil>: Invalid value: "": is nested too deeply to be compared']


# Any schema and any object.

LEAF = st.sampled_from([STRING, INTEGER, {"type": "boolean"}, {"type": "number"}, {"x-kubernetes-int-or-string": True}])
NAMES = st.sampled_from(["a", "b", "c", "apiVersion"])


def _more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.builds(
        lambda properties, preserve, required: {
            "type": "object",
            "properties": properties,
            "required": required,
            **({"x-kubernetes-preserve-unknown-fields": True} if preserve else {}),
        },
        st.dictionaries(NAMES, inner, max_size=3),
        st.booleans(),
        st.lists(NAMES, max_size=1),
    )
    maps = inner.map(lambda one: {"type": "object", "additionalProperties": one})
    lists = st.builds(
        lambda one, kind: {
            "type": "array",
            "items": one,
            "x-kubernetes-list-type": kind,
            "x-kubernetes-list-map-keys": ["a"],
        },
        inner,
        st.sampled_from(["atomic", "set", "map"]),
    )
    bounds = st.sampled_from(
        [{"nullable": True}, {"default": 1}, {"default": {}}, {"enum": [1, "x"]}, {"minimum": 2}, {"maxItems": 1}]
    )
    return st.builds(lambda one, more: one | more, objects | maps | lists | inner, bounds | st.just({}))


SCHEMAS = st.recursive(LEAF, _more, max_leaves=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "x", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, VALUES, VALUES)
def test_any_object_is_settled_once_and_judged(spec: Any, value: Any, old: Any) -> None:
    found = ResourceSchema({"type": "object", "properties": {"spec": spec}})
    obj = {"apiVersion": "x/v1", "kind": "X", "metadata": {}, "spec": value}
    found.settle(obj)
    again = copy.deepcopy(obj)
    assert found.unknown_fields(again) == []
    found.settle(again)
    assert again == obj
    before = {"apiVersion": "x/v1", "kind": "X", "metadata": {}, "spec": old}
    errors = {str(error) for error in found.check(obj)}
    # An update is refused for no reason that its new state alone would not give, and never when nothing changes.
    assert {str(error) for error in found.check(obj, before)} <= errors
    assert [error for error in found.check(obj, copy.deepcopy(obj)) if error.type != "Required"] == []
