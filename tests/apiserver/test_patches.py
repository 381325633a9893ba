"""Patches as pure functions of documents."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.kinds import merge_keys, registry
from fairlead.apiserver.patch import document
from fairlead.apiserver.patch.strategic import strategic_merge

POD = merge_keys.patch_schema(registry.by_kind("v1", "Pod"))
DEPLOYMENT = merge_keys.patch_schema(registry.by_kind("apps/v1", "Deployment"))
A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}

STRATEGIC: dict[str, tuple[Any, Any, Any]] = {
    "merges maps": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"b": "2"}}},
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
    ),
    "null removes": (
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    "lists merge by key": (
        {"spec": {"containers": [A, B]}},
        {"spec": {"containers": [{"name": "b", "image": "2"}]}},
        {"spec": {"containers": [A, {"name": "b", "image": "2"}]}},
    ),
    "new items are appended": (
        {"spec": {"containers": [A]}},
        {"spec": {"containers": [B]}},
        {"spec": {"containers": [A, B]}},
    ),
    "items are deleted by key": (
        {"spec": {"containers": [A, B]}},
        {"spec": {"containers": [{"$patch": "delete", "name": "a"}]}},
        {"spec": {"containers": [B]}},
    ),
    "a list is replaced": (
        {"spec": {"containers": [A, B]}},
        {"spec": {"containers": [{"$patch": "replace"}, C]}},
        {"spec": {"containers": [C]}},
    ),
    "a map is replaced": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    "order is set, the server's items stay near": (
        {"spec": {"containers": [A, B, C]}},
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "c", "image": "2"}],
            }
        },
        {"spec": {"containers": [B, {"name": "c", "image": "2"}, A]}},
    ),
    "primitive lists lose what is named": (
        {"metadata": {"finalizers": ["x/a", "x/b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}},
        {"metadata": {"finalizers": ["x/b"]}},
    ),
    "primitive lists are united": (
        {"metadata": {"finalizers": ["x/a"]}},
        {"metadata": {"finalizers": ["x/b", "x/a"]}},
        {"metadata": {"finalizers": ["x/a", "x/b"]}},
    ),
    "lists without a key are replaced": (
        {"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}},
        {"spec": {"containers": [{"name": "a", "args": ["3"]}]}},
        {"spec": {"containers": [{"name": "a", "args": ["3"]}]}},
    ),
    "ports merge by their number": (
        {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}},
        {
            "spec": {
                "containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 90}]}]
            }
        },
        {
            "spec": {
                "containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 90}]}]
            }
        },
    ),
    "only retained keys stay": (
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}},
    ),
}


@pytest.mark.parametrize("case", STRATEGIC)
def test_strategic(case: str):
    before, patch, after = STRATEGIC[case]
    assert strategic_merge(copy.deepcopy(before), patch, POD) == after


def test_retained_keys_of_a_strategy():
    before = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(before, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"image": "no name"}]}},
        {"metadata": {"labels": {"$patch": "sideways"}}},
        {"spec": {"volumes": [{"$retainKeys": "x", "name": "v"}]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": 5}},
        {"spec": {"$setElementOrder/volumes": [["v"]], "volumes": [{"name": "v"}]}},
        {"spec": {"$setElementOrder/volumes": 5, "volumes": [{"name": "v"}]}},
    ],
)
def test_strategic_refuses(patch: Any):
    with pytest.raises(StatusError) as caught:
        strategic_merge({"spec": {"volumes": [{"name": "v"}]}}, patch, POD)
    assert caught.value.code == 400


# RFC 7386, appendix A.
MERGE = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), MERGE)
def test_merge(before: Any, patch: Any, after: Any):
    assert document.merge_patch(copy.deepcopy(before), patch) == after


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        ([{"op": "fly", "path": "/a"}], 400),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "remove", "path": "/nothing/here"}], 422),
        ([{"op": "add", "path": "/b", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patch_refuses(operations: Any, code: int):
    with pytest.raises(StatusError) as caught:
        document.json_patch({"a": 1}, operations)
    assert caught.value.code == code


KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    st.integers(0, 3) | st.booleans() | st.text("xy", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=3)


@given(DOCUMENTS, DOCUMENTS)
def test_json_patch_does_what_a_diff_says(before: Any, after: Any):
    assert document.json_patch(copy.deepcopy(before), jsonpatch.make_patch(before, after).patch) == after


@given(DOCUMENTS, DOCUMENTS)
def test_strategic_merge_is_merge_patch_where_nothing_is_special(before: Any, patch: Any):
    from fairlead.apiserver.patch.schema import PLAIN

    expected = document.merge_patch(copy.deepcopy(before), copy.deepcopy(patch))
    assert strategic_merge(copy.deepcopy(before), copy.deepcopy(patch), PLAIN) == expected


NAMED = st.dictionaries(
    st.sampled_from("abcd"), st.fixed_dictionaries({}, optional={"image": KEYS, "args": st.lists(KEYS)})
)


def as_containers(named: dict[str, Any]) -> list[Any]:
    return [{"name": name, **fields} for name, fields in named.items()]


@given(NAMED, NAMED, st.sets(st.sampled_from("abcd")), st.permutations("abcd") | st.none())
def test_lists_merge_by_name_as_the_rules_say(before: Any, changes: Any, deleted: set[str], order: list[str] | None):
    """Against the rules put down once more: items merge by name, are deleted by directive, and stand in the order asked for."""
    removed = deleted - changes.keys()
    patch: dict[str, Any] = {
        "containers": as_containers(changes) + [{"name": name, "$patch": "delete"} for name in sorted(removed)]
    }
    if order is not None:
        patch["$setElementOrder/containers"] = [{"name": name} for name in order]
    after = strategic_merge({"spec": {"containers": as_containers(before)}}, {"spec": patch}, POD)["spec"]["containers"]
    expected = {name: fields | changes.get(name, {}) for name, fields in before.items() if name not in removed}
    expected |= {name: fields for name, fields in changes.items() if name not in before}
    assert {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in after} == expected
    names = [one["name"] for one in after]
    assert names == (list(expected) if order is None else [name for name in order if name in expected])


@given(DOCUMENTS, DOCUMENTS)
def test_patching_twice_changes_nothing_more(before: Any, patch: Any):
    once = document.merge_patch(copy.deepcopy(before), patch)
    assert document.merge_patch(copy.deepcopy(once), patch) == once
