"""Nobody grants what he does not hold: writes of roles and bindings are compared with the rights of whoever writes them.

Source: the RBAC storage's policybased wrappers. `escalate` on roles and `bind` on a role lift the restriction.
"""

from __future__ import annotations

from fairlead.api.resources import CLUSTERROLES, ROLES
from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.authz.rbac import GROUP
from fairlead.apiserver.authz.rules import Rights, Rule, compact, describe, quoted, rules_of
from fairlead.apiserver.errors import forbidden, not_found
from fairlead.apiserver.identity import MASTERS

_EVERYTHING = [Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",))]
_ROLES = frozenset({f"{GROUP}/roles", f"{GROUP}/clusterroles"})
_BINDINGS = frozenset({f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"})


def admit(authorizer: Authorizer) -> Plugin:
    """Return the admission function."""

    def check(attributes: Attributes) -> None:
        table = attributes.served.table
        if attributes.operation == "DELETE" or table not in _ROLES | _BINDINGS:
            return
        if MASTERS in attributes.identity.groups:
            return
        if table in _ROLES:
            _check_role(authorizer, attributes)
        else:
            _check_binding(authorizer, attributes)

    return check


def _check_role(authorizer: Authorizer, attributes: Attributes) -> None:
    new, old = attributes.obj, attributes.old or {}
    same = all((new.get(field) or None) == (old.get(field) or None) for field in ("rules", "aggregationRule"))
    if attributes.old is not None and same:
        return
    resource = attributes.served.resource
    question = Question("escalate", GROUP, resource.plural, "", attributes.namespace, attributes.name)
    if authorizer.allows(attributes.identity, question):
        return
    if new.get("aggregationRule") and _lacking(authorizer, attributes, "", _EVERYTHING):
        why = "must have cluster-admin privileges to use the aggregationRule"
        raise forbidden(resource, attributes.name, why)
    _confirm(authorizer, attributes, rules_of(new))


def _check_binding(authorizer: Authorizer, attributes: Attributes) -> None:
    new, old = attributes.obj, attributes.old or {}
    if attributes.old is not None and all(new.get(field) == old.get(field) for field in ("roleRef", "subjects")):
        return
    reference = new["roleRef"]
    target = CLUSTERROLES if reference["kind"] == "ClusterRole" else ROLES
    question = Question("bind", GROUP, target.plural, "", attributes.namespace, reference["name"])
    if authorizer.allows(attributes.identity, question):
        return
    rules = authorizer.rbac.role_rules(reference["kind"], attributes.namespace, reference["name"])
    if rules is None:
        raise not_found(target, reference["name"])
    _confirm(authorizer, attributes, rules)


def _confirm(authorizer: Authorizer, attributes: Attributes, rules: list[Rule]) -> None:
    resource = attributes.served.resource
    try:
        lacking = _lacking(authorizer, attributes, attributes.namespace, rules)
    except ValueError as error:
        raise forbidden(resource, attributes.name, str(error)) from None
    if lacking:
        identity = attributes.identity
        lines = sorted({describe(rule) for rule in compact(lacking)})
        why = f'user "{identity.user}" (groups={quoted(identity.groups)}) is attempting to grant RBAC permissions not currently held:\n'
        raise forbidden(resource, attributes.name, why + "\n".join(lines))


def _lacking(authorizer: Authorizer, attributes: Attributes, namespace: str, rules: list[Rule]) -> list[Rule]:
    held = Rights(authorizer.rbac.rules(attributes.identity, namespace))
    return [single for rule in rules for single in held.cover(rule)]
