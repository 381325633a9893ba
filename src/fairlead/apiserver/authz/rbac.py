"""Roles and their bindings as the rights of each subject: found once, asked on every request, forgotten when either changes.

A question costs a few look-ups, however many bindings the cluster holds. Source: rbac.authorization.k8s.io/v1 and its authorizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.authz.rules import Rights, Rule, rules_of
from fairlead.apiserver.identity import Identity, account_user
from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Change

Json = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"{GROUP}/roles", f"{GROUP}/clusterroles"
BINDINGS, CLUSTER_BINDINGS = f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"
_MOST_SUBJECTS = 2048
"""Identities whose rights are remembered; more are found anew."""

_Subject = tuple[str, str]
"""`User` or `Group`, and the name."""


class Grant(NamedTuple):
    """One binding as one of its subjects has it. `namespace` is empty for a ClusterRoleBinding."""

    namespace: str
    name: str
    kind: str
    role: str
    subject: str
    """As reasons show it: `Group "admins"`."""


class _Subjects(NamedTuple):
    """The rights of one identity: everywhere, and what it is granted inside of namespaces."""

    grants: tuple[Grant, ...]
    everywhere: Rights
    inside: dict[str, Rights]
    problems: str


class Rbac:
    """Answers from what the store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._granted: dict[_Subject, dict[tuple[str, str], list[Grant]]] = {}
        self._known: dict[tuple[str, tuple[str, ...]], _Subjects] = {}
        for table in (ROLES, CLUSTER_ROLES):
            store.follow(table, self._role_changed)
        for table in (BINDINGS, CLUSTER_BINDINGS):
            store.follow(table, self._binding_changed)
            for entry in store.entries(table):
                self._grant(entry.obj)

    def allow(self, identity: Identity, question: Question) -> bool:
        """Tell whether a role of the identity allows what is asked."""
        found = self._of(identity)
        verb, group, resource, subresource, namespace, name, path, *_ = question
        if not resource:
            return found.everywhere.allow_path(verb, path)
        if found.everywhere.allow(verb, group, resource, subresource, name):
            return True
        return bool(namespace) and self._inside(found, namespace).allow(verb, group, resource, subresource, name)

    def why_not(self, identity: Identity) -> str:
        """Return what of the identity's bindings leads nowhere; empty when all lead to roles."""
        return self._of(identity).problems

    def why(self, identity: Identity, question: Question) -> str:
        """Return the binding by which something is allowed, in the real server's words. Cost: linear in the identity's rules."""
        for grant in self._of(identity).grants:
            if grant.namespace and grant.namespace != question.namespace:
                continue
            rights = Rights(self.role_rules(grant.kind, grant.namespace, grant.role) or ())
            if (
                rights.allow_path(question.verb, question.path)
                if not question.resource
                else rights.allow(question.verb, question.group, question.resource, question.subresource, question.name)
            ):
                kind, name = (
                    ("RoleBinding", f"{grant.name}/{grant.namespace}")
                    if grant.namespace
                    else (
                        "ClusterRoleBinding",
                        grant.name,
                    )
                )
                return f'RBAC: allowed by {kind} "{name}" of {grant.kind} "{grant.role}" to {grant.subject}'
        return ""

    def rules(self, identity: Identity, namespace: str) -> list[Rule]:
        """Return the rules that hold for the identity in a namespace; an empty one means the cluster's scope."""
        found: list[Rule] = []
        for grant in self._of(identity).grants:
            if not grant.namespace or grant.namespace == namespace:
                found += self.role_rules(grant.kind, grant.namespace, grant.role) or ()
        return found

    def role_rules(self, kind: str, namespace: str, name: str) -> list[Rule] | None:
        """Return the rules of a role; None when there is no such role."""
        entry = (
            self._store.get(CLUSTER_ROLES, "", name)
            if kind == "ClusterRole"
            else self._store.get(ROLES, namespace, name)
        )
        return None if entry is None else rules_of(entry.obj)

    # What is remembered.

    def _of(self, identity: Identity) -> _Subjects:
        # Each token is an identity of its own, but one with the rights of its user and groups.
        key = (identity.user, identity.groups)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_SUBJECTS:
                self._known.clear()
            found = self._known[key] = self._find(identity)
        return found

    def _find(self, identity: Identity) -> _Subjects:
        subjects: list[_Subject] = [("User", identity.user), *(("Group", group) for group in identity.groups)]
        grants = [
            grant for subject in subjects for several in self._granted.get(subject, {}).values() for grant in several
        ]
        grants.sort(key=lambda grant: (bool(grant.namespace), grant.namespace, grant.name))
        rules: list[Rule] = []
        absent: list[str] = []
        for grant in grants:
            own = self.role_rules(grant.kind, grant.namespace, grant.role)
            if own is None:
                absent.append(f'{grant.kind.lower()}.{GROUP} "{grant.role}" not found')
            elif not grant.namespace:
                rules += own
        absent = list(dict.fromkeys(absent))
        problems = f"RBAC: {absent[0] if len(absent) == 1 else '[' + ', '.join(absent) + ']'}" if absent else ""
        return _Subjects(tuple(grants), Rights(rules), {}, problems)

    def _inside(self, found: _Subjects, namespace: str) -> Rights:
        rights = found.inside.get(namespace)
        if rights is None:
            rules: list[Rule] = []
            for grant in found.grants:
                if grant.namespace == namespace:
                    rules += self.role_rules(grant.kind, namespace, grant.role) or ()
            if not rules:
                # Names of namespaces are the asker's to choose: what is nothing is not remembered.
                return _NOTHING
            rights = found.inside[namespace] = Rights(rules)
        return rights

    def _role_changed(self, _: Change) -> None:
        self._known.clear()

    def _binding_changed(self, change: Change) -> None:
        if change.previous is not None:
            self._revoke(change.previous.obj)
        if change.type != "DELETED":
            self._grant(change.entry.obj)
        self._known.clear()

    def _grant(self, binding: Json) -> None:
        metadata, role = binding["metadata"], binding["roleRef"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        for subject, shown in _subjects(binding):
            grant = Grant(namespace, name, role["kind"], role["name"], shown)
            self._granted.setdefault(subject, {}).setdefault((namespace, name), []).append(grant)

    def _revoke(self, binding: Json) -> None:
        metadata = binding["metadata"]
        for subject, _ in _subjects(binding):
            granted = self._granted.get(subject, {})
            granted.pop((metadata.get("namespace", ""), metadata["name"]), None)
            if not granted:
                self._granted.pop(subject, None)


_NOTHING = Rights()


def _subjects(binding: Json) -> Iterator[tuple[_Subject, str]]:
    """Yield who is meant, and how reasons show it."""
    for one in binding.get("subjects") or ():
        kind, name = one.get("kind"), one.get("name") or ""
        if kind == "ServiceAccount":
            namespace = one.get("namespace") or binding["metadata"].get("namespace", "")
            if namespace:
                yield ("User", account_user(namespace, name)), f'ServiceAccount "{name}/{namespace}"'
        elif kind in ("User", "Group"):
            yield (kind, name), f'{kind} "{name}"'


def unique(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules without repetitions, in order."""
    return list(dict.fromkeys(rules))
