"""Rights by roles and bindings equal what a naive reading of all of them says, after every change of any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.authz.rbac import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, Rbac
from fairlead.apiserver.identity import Identity
from fairlead.apiserver.store.records import Change, Entry, encode

Json = dict[str, Any]
NAMESPACES = ("a", "b")
NAMES = ("x", "y")


class Objects:
    """The part of a store that rights are found in: objects, and who is told of their changes."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, str], Entry]] = {}
        self._followers: dict[str, list[Callable[[Change], None]]] = {}
        self._revision = 0

    def get(self, table: str, namespace: str, name: str) -> Entry | None:
        return self.tables.get(table, {}).get((namespace, name))

    def entries(self, table: str, namespace: str | None = None) -> list[Entry]:
        return list(self.tables.get(table, {}).values())

    def follow(self, table: str, follower: Callable[[Change], None]) -> None:
        self._followers.setdefault(table, []).append(follower)

    def put(self, table: str, namespace: str, name: str, obj: Json | None) -> None:
        entries = self.tables.setdefault(table, {})
        key, before = (namespace, name), entries.get((namespace, name))
        if obj is None and before is None:
            return
        self._revision += 1
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        data = encode(obj | {"metadata": metadata}) if obj is not None else before.data if before else b""
        entry = Entry(key, self._revision, data)
        if obj is None:
            del entries[key]
        else:
            entries[key] = entry
        change = Change("DELETED" if obj is None else "MODIFIED" if before else "ADDED", entry, before)
        for follower in self._followers.get(table, ()):
            follower(change)


def naive(objects: Objects, who: Identity, question: Question) -> bool:
    """Every binding, every subject, every rule, word for word."""
    for table in (CLUSTER_BINDINGS, BINDINGS):
        for (namespace, _), entry in objects.tables.get(table, {}).items():
            if namespace and (not question.resource or namespace != question.namespace):
                continue
            if not any(meant(one, namespace, who) for one in entry.obj.get("subjects") or ()):
                continue
            reference = entry.obj["roleRef"]
            everywhere = reference["kind"] == "ClusterRole"
            role = objects.get(
                CLUSTER_ROLES if everywhere else ROLES, "" if everywhere else namespace, reference["name"]
            )
            for rule in role.obj["rules"] if role else ():
                if allows(rule, question):
                    return True
    return False


def meant(subject: Json, namespace: str, who: Identity) -> bool:
    match subject["kind"]:
        case "User":
            return bool(subject["name"] == who.user)
        case "Group":
            return subject["name"] in who.groups
        case _:
            where = subject.get("namespace") or namespace
            return bool(where) and who.user == f"system:serviceaccount:{where}:{subject['name']}"


def allows(rule: Json, question: Question) -> bool:
    if question.verb not in rule["verbs"] and "*" not in rule["verbs"]:
        return False
    if not question.resource:
        return question.path in rule.get("nonResourceURLs", ()) or "*" in rule.get("nonResourceURLs", ())
    names = rule.get("resourceNames") or [question.name]
    return (
        (question.group in rule["apiGroups"] or "*" in rule["apiGroups"])
        and (question.resource in rule["resources"] or "*" in rule["resources"])
        and question.name in names
    )


RULE = st.fixed_dictionaries(
    {
        "verbs": st.lists(st.sampled_from(["get", "list", "*"]), min_size=1, max_size=2),
        "apiGroups": st.lists(st.sampled_from(["", "apps", "*"]), max_size=2),
        "resources": st.lists(st.sampled_from(["pods", "secrets", "*"]), max_size=2),
    },
    optional={
        "resourceNames": st.lists(st.sampled_from(["n", "m"]), max_size=1),
        "nonResourceURLs": st.lists(st.sampled_from(["/api", "*"]), max_size=1),
    },
)
ROLE = st.fixed_dictionaries({"rules": st.lists(RULE, max_size=3)})
SUBJECT = st.one_of(
    st.fixed_dictionaries({"kind": st.sampled_from(["User", "Group"]), "name": st.sampled_from(["u", "g"])}),
    st.fixed_dictionaries(
        {"kind": st.just("ServiceAccount"), "name": st.just("s")}, optional={"namespace": st.sampled_from(NAMESPACES)}
    ),
)


def binding(kinds: list[str]) -> st.SearchStrategy[Json]:
    reference = st.fixed_dictionaries({"kind": st.sampled_from(kinds), "name": st.sampled_from(NAMES)})
    return st.fixed_dictionaries({"roleRef": reference, "subjects": st.lists(SUBJECT, max_size=2)})


def changes(table: str, namespaces: tuple[str, ...], objects: st.SearchStrategy[Json]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(table), st.sampled_from(namespaces), st.sampled_from(NAMES), st.none() | objects)


CHANGES = st.one_of(
    changes(CLUSTER_ROLES, ("",), ROLE),
    changes(ROLES, NAMESPACES, ROLE),
    changes(CLUSTER_BINDINGS, ("",), binding(["ClusterRole"])),
    changes(BINDINGS, NAMESPACES, binding(["ClusterRole", "Role"])),
)
PEOPLE = (
    Identity("u", ("g",)),
    Identity("u"),
    Identity("other", ("g",)),
    Identity("system:serviceaccount:a:s", ("system:serviceaccounts",)),
)
QUESTIONS = (
    Question("get", "", "pods", "", "a", "n"),
    Question("get", "", "pods", "", "b", "n"),
    Question("list", "apps", "secrets", "", "a"),
    Question("list", "", "pods"),
    Question("get", path="/api"),
    Question("get", path="/other"),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, max_size=12))
def test_rights_follow_every_change(sequence: list[tuple[str, str, str, Json | None]]):
    objects = Objects()
    rbac = Rbac(objects)  # type: ignore[arg-type]
    for table, namespace, name, obj in sequence:
        objects.put(table, namespace, name, obj)
        for who in PEOPLE:
            for question in QUESTIONS:
                expected = naive(objects, who, question)
                assert rbac.allow(who, question) == expected, (who, question)
                assert bool(rbac.why(who, question)) == expected
    anew = Rbac(objects)  # type: ignore[arg-type]
    assert all(anew.allow(who, one) == rbac.allow(who, one) for who in PEOPLE for one in QUESTIONS)
