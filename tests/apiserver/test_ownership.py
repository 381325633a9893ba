"""Who owns which fields, and what server-side apply makes of it, as pure functions of documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.kinds import field_types, registry
from fairlead.apiserver.patch import fields
from fairlead.apiserver.patch.apply import apply
from fairlead.apiserver.patch.compare import compare
from fairlead.apiserver.patch.managed import Manager, base_entries, in_order, updated
from fairlead.apiserver.patch.schema import DeclaredFields

Json = dict[str, Any]


def schema_of(api_version: str, kind: str) -> field_types.FieldSchema:
    return field_types.field_schema(registry.by_kind(api_version, kind))


CONFIGMAP, POD, SERVICE = schema_of("v1", "ConfigMap"), schema_of("v1", "Pod"), schema_of("v1", "Service")
DEPLOYMENT = schema_of("apps/v1", "Deployment")


def manager(name: str, operation: str = "Apply", version: str = "v1", subresource: str = "") -> Manager:
    return Manager(name=name, operation=operation, api_version=version, subresource=subresource)


def config(**data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"app": "x"}}, "data": data}


def applied(live: Json, wanted: Json, name: str, *, force: bool = False, schema: Any = CONFIGMAP) -> Json:
    before = copy.deepcopy(live)
    made = apply(live, wanted, schema, manager=manager(name), now="now", force=force)
    assert live == before, "the live object is left alone"
    return made


def owners(obj: Json) -> Json:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())}


BARE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}


def test_apply_takes_back_what_is_no_longer_stated() -> None:
    live = applied(BARE, config(a="1", b="2"), "me")
    live["data"]["foreign"] = "kept"
    live = applied(live, config(a="1"), "me")
    assert live["data"] == {"a": "1", "foreign": "kept"}
    assert owners(live) == {"me": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:data": {"f:a": {}}}}


def test_apply_leaves_what_another_manager_states_too() -> None:
    live = applied(applied(BARE, config(a="1", b="2"), "me"), config(b="2"), "other")
    assert applied(live, config(a="1"), "me")["data"] == {"a": "1", "b": "2"}


def test_a_conflict_names_the_manager_and_the_field_as_upstream() -> None:
    live = applied(BARE, config(a="1"), "me")
    with pytest.raises(StatusError) as caught:
        applied(live, config(a="2"), "other")
    assert caught.value.status["message"] == 'Apply failed with 1 conflict: conflict with "me": .data.a'
    assert caught.value.status["reason"] == "Conflict"
    assert caught.value.status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "me"', "field": ".data.a"}
    ]
    forced = applied(live, config(a="2"), "other", force=True)
    assert forced["data"] == {"a": "2"}
    assert "f:data" not in owners(forced)["me"]


def test_conflicts_are_listed_manager_by_manager() -> None:
    live = config(a="1", b="1", c="1")
    live["metadata"]["managedFields"] = [
        manager("zoe", "Update").entry({"f:data": {"f:a": {}, "f:b": {}}}, "t"),
        manager("amy", "Update", subresource="status").entry({"f:data": {"f:c": {}}}, "t"),
    ]
    with pytest.raises(StatusError) as caught:
        applied(live, config(a="2", b="2", c="2"), "me")
    assert caught.value.status["message"].splitlines() == [
        'Apply failed with 3 conflicts: conflicts with "amy" with subresource "status" using v1:',
        "- .data.c",
        'conflicts with "zoe" using v1:',
        "- .data.a",
        "- .data.b",
    ]


def test_an_object_that_nobody_tracked_belongs_to_its_past() -> None:
    live = config(a="1")
    live["metadata"]["uid"] = "u"
    with pytest.raises(StatusError, match='conflict with "before-first-apply" using v1: .data.a'):
        applied(live, config(a="2"), "me")
    assert set(owners(applied(live, config(a="1"), "me"))) == {"before-first-apply", "me"}


def pod(*names: str, **more: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": name, "image": "1", **more} for name in names]},
    }


def test_apply_merges_lists_by_key() -> None:
    live = applied(BARE | {"kind": "Pod"}, pod("a", "b"), "me", schema=POD)
    live["spec"]["containers"].append({"name": "injected"})
    live = applied(live, pod("b"), "me", schema=POD)
    assert [one["name"] for one in live["spec"]["containers"]] == ["b", "injected"]


def test_ports_are_one_by_number_and_protocol() -> None:
    def service(*ports: Json) -> Json:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": {"ports": list(ports)}}

    live = applied(BARE, service({"port": 53, "protocol": "UDP"}, {"port": 53}), "me", schema=SERVICE)
    live["spec"]["ports"][1]["protocol"] = "TCP"
    live = applied(live, service({"port": 53, "name": "dns"}), "me", schema=SERVICE)
    assert live["spec"]["ports"] == [{"port": 53, "protocol": "TCP", "name": "dns"}]
    assert list(owners(live)["me"]["f:spec"]["f:ports"]) == ['k:{"port":53,"protocol":"TCP"}']


@pytest.mark.parametrize(
    ("containers", "words"),
    [
        ([{"image": "x"}], 'omits key field "name"'),
        ([{"name": "a"}, {"name": "a"}], r'duplicate entries for key \[name="a"\]'),
        ([7], "omits key field"),
        ([{"name": None}], 'omits key field "name"'),
    ],
)
def test_items_without_identity_are_refused(containers: Any, words: str) -> None:
    with pytest.raises(StatusError, match=words) as caught:
        applied(BARE, {"spec": {"containers": containers}}, "me", schema=POD)
    assert caught.value.code == 400


def test_atomic_values_have_one_owner() -> None:
    wanted = pod("a", args=["x", "y"]) | {"kind": "Pod"}
    wanted["spec"]["nodeSelector"] = {"disk": "fast"}
    spec = owners(applied(BARE, wanted, "me", schema=POD))["me"]["f:spec"]
    assert spec["f:nodeSelector"] == {}
    assert spec["f:containers"]['k:{"name":"a"}'] == {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}


def test_custom_resources_declare_how_they_are_owned() -> None:
    declared = DeclaredFields(
        {
            "properties": {
                "spec": {
                    "properties": {
                        "rules": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name", "kind"],
                            "items": {"properties": {"kind": {"default": "Any"}}},
                        },
                        "tags": {"type": "array", "x-kubernetes-list-type": "set"},
                        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"},
                        "plain": {"type": "array", "items": {}},
                    }
                }
            }
        },
        metadata=field_types.metadata_schema(),
    )
    wanted = {
        "metadata": {"finalizers": ["x/y"]},
        "spec": {"rules": [{"name": "a"}], "tags": ["t"], "whole": {"a": 1}, "plain": [1]},
    }
    assert fields.of_value(wanted, declared) == {
        "f:metadata": {"f:finalizers": {'v:"x/y"': {}}},
        "f:spec": {
            "f:rules": {'k:{"name":"a","kind":"Any"}': {".": {}, "f:name": {}}},
            "f:tags": {'v:"t"': {}},
            "f:whole": {},
            "f:plain": {},
        },
    }


# Updates.


def test_a_creation_is_recorded_as_upstream_records_it() -> None:
    created = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "uid": "u", "labels": {"app": "web"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "image": "web:1",
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "resources": {},
                        }
                    ],
                    "securityContext": {},
                },
            },
        },
        "status": {},
    }
    (entry,) = updated([], {}, created, DEPLOYMENT, manager("kubectl-create", "Update", "apps/v1"), "now", ["status"])
    assert entry == {
        "manager": "kubectl-create",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": "now",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"web"}': {
                                ".": {},
                                "f:name": {},
                                "f:image": {},
                                "f:ports": {
                                    ".": {},
                                    'k:{"containerPort":80,"protocol":"TCP"}': {
                                        ".": {},
                                        "f:containerPort": {},
                                        "f:protocol": {},
                                    },
                                },
                                "f:resources": {},
                            }
                        },
                        "f:securityContext": {},
                    },
                },
            },
        },
    }


def test_an_update_takes_what_it_changes_and_nobody_owns_what_is_gone() -> None:
    first = config(a="1", b="1", c="1")
    entries = updated([], {}, first, CONFIGMAP, manager("creator", "Update"), "t1")
    entries = updated(entries, first, config(a="1", b="2", d="1"), CONFIGMAP, manager("editor", "Update"), "t2")
    assert [(entry["manager"], entry["time"], entry["fieldsV1"]) for entry in entries] == [
        ("creator", "t1", {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}}}),
        ("editor", "t2", {"f:data": {"f:b": {}, "f:d": {}}}),
    ]
    assert updated(entries, config(a="1"), config(a="1"), CONFIGMAP, manager("idle", "Update"), "t3") == entries


def test_applies_and_updates_of_one_name_are_two_managers() -> None:
    live = applied(BARE, config(a="1"), "me")
    entries = updated(
        live["metadata"]["managedFields"], live, config(a="2"), CONFIGMAP, manager("me", "Update"), "later"
    )
    assert [(entry["operation"], entry["fieldsV1"].get("f:data")) for entry in entries] == [
        ("Apply", None),
        ("Update", {"f:a": {}}),
    ]


def test_an_untracked_object_stays_untracked_by_updates() -> None:
    assert updated([], config(a="1"), config(a="2"), CONFIGMAP, manager("me", "Update"), "now") == []


ENTRY = manager("me").entry({"f:data": {"f:a": {}}}, "t")


@pytest.mark.parametrize(
    ("given", "subresource", "expected"),
    [
        (None, "", [ENTRY]),
        ([{}], "", []),
        ([ENTRY | {"manager": "you"}], "", [ENTRY | {"manager": "you"}]),
        ([ENTRY | {"manager": "you"}], "status", [ENTRY]),
        ([ENTRY | {"operation": "Steal"}], "", [ENTRY]),
        ([ENTRY | {"fieldsV1": {"k:{no json": {}}}], "", [ENTRY]),
        ([ENTRY | {"fieldsV1": {"spec": {}}}], "", [ENTRY]),
        ([ENTRY | {"fieldsV1": {"f:a": 7}}], "", [ENTRY]),
        (["x"], "", [ENTRY]),
    ],
)
def test_entries_may_be_stated_but_only_well(given: Any, subresource: str, expected: list[Json]) -> None:
    old = {"metadata": {"managedFields": [ENTRY]}}
    assert base_entries({"metadata": {"managedFields": given}}, old, subresource=subresource) == expected


def test_old_updaters_are_taken_together() -> None:
    live: Json = config()
    entries = updated([], {}, live, CONFIGMAP, manager("first", "Update"), "t00")
    for number in range(1, 15):
        new = config(**(live["data"] | {f"k{number}": "v"}))
        entries = updated(entries, live, new, CONFIGMAP, manager(f"m{number}", "Update"), f"t{number:02}")
        live = new
    assert len(entries) == 10
    assert entries[0]["manager"] == "ancient-changes"
    assert {"f:k1", "f:k2", "f:k5"} <= set(entries[0]["fieldsV1"]["f:data"])


# Sets of fields.

NAMES = st.sampled_from(["f:a", "f:b", "f:c"])
SETS = st.recursive(
    st.just({}), lambda inner: st.dictionaries(NAMES | st.just("."), inner, min_size=1, max_size=3), max_leaves=6
).map(lambda found: clean(found))


def clean(node: Json) -> Json:
    below = {name: clean(inner) for name, inner in node.items() if name != "."}
    return {".": {}, **below} if "." in node and below else below


@given(SETS, SETS)
def test_sets_of_fields_behave_as_sets_of_paths(one: Json, other: Json) -> None:
    mine, theirs = set(fields.paths(one)) - {()}, set(fields.paths(other)) - {()}
    assert set(fields.paths(fields.union(one, other))) - {()} == mine | theirs
    assert set(fields.paths(fields.difference(one, other))) - {()} == mine - theirs
    assert set(fields.paths(fields.intersection(one, other))) - {()} == mine & theirs


TEXTS = st.dictionaries(st.sampled_from("abc"), st.text("xy", max_size=1), max_size=3)


@given(TEXTS, TEXTS)
def test_applying_again_changes_nothing(first: Json, second: Json) -> None:
    live = applied(applied(BARE, config(**first), "me"), config(**second), "me")
    assert live.get("data", {}) == second
    assert applied(live, config(**second), "me") == live


@given(TEXTS, TEXTS)
def test_what_differs_is_what_compare_says(before: Json, after: Json) -> None:
    changed, gone = compare({"data": before}, {"data": after}, CONFIGMAP)
    told = {path[1][2:] for path in fields.paths(changed) if len(path) == 2}
    lost = {path[1][2:] for path in fields.paths(gone) if len(path) == 2}
    assert told == {key for key in after if before.get(key) != after[key]}
    assert lost == before.keys() - after.keys()


@given(st.lists(st.tuples(st.sampled_from(["me", "you"]), st.booleans(), TEXTS), max_size=6))
def test_every_field_has_an_owner_and_no_gone_field_has_one(steps: list[tuple[str, bool, Json]]) -> None:
    live: Json = {**BARE, "data": {"z": "0"}}
    live["metadata"] = {"name": "c", "uid": "u"}
    live["metadata"]["managedFields"] = updated([], {}, live, CONFIGMAP, manager("first", "Update"), "t")
    for name, applies, data in steps:
        if applies:
            live = applied(live, config(**data), name, force=True)
            continue
        new = {**live, "data": data}
        entries = updated(live["metadata"]["managedFields"], live, new, CONFIGMAP, manager(name, "Update"), "t")
        live = {**new, "metadata": live["metadata"] | {"managedFields": entries}}
    owned: Json = {}
    for entry in live["metadata"]["managedFields"]:
        owned = fields.union(owned, entry["fieldsV1"])
    assert set(owned.get("f:data", {})) - {"."} == {f"f:{key}" for key in live.get("data") or {}}
    assert live["metadata"]["managedFields"] == in_order(live["metadata"]["managedFields"])
