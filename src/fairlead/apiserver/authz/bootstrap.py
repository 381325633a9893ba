"""The default roles and bindings in the store: made in one transaction, and completed where a later version grants more.

Nobody's own additions are taken away; who sets `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from fairlead.apiserver.api import timestamp
from fairlead.apiserver.authz import default_roles as defaults
from fairlead.apiserver.authz.rbac import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES
from fairlead.apiserver.authz.rules import Rights, compact, rules_of, to_json
from fairlead.apiserver.store.engine import Store
from fairlead.apiserver.store.records import Op

Json = dict[str, Any]

_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


async def ensure(store: Store) -> None:
    """Write what is missing. The namespace kube-system exists."""
    ops = list(_changes(store))
    if ops:
        await store.write(*ops)


def _changes(store: Store) -> Iterator[Op]:
    for table, namespace, wanted in (
        (CLUSTER_ROLES, "", defaults.cluster_roles()),
        (CLUSTER_BINDINGS, "", defaults.cluster_role_bindings()),
        (ROLES, "kube-system", defaults.roles_of_kube_system()),
        (BINDINGS, "kube-system", defaults.role_bindings_of_kube_system()),
    ):
        for obj in wanted:
            name = obj["metadata"]["name"]
            current = store.latest(table, namespace, name)
            if current is None:
                own = {"namespace": namespace} if namespace else {}
                obj["metadata"] |= own | {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
                yield Op(table, (namespace, name), obj, None)
                continue
            if (current.obj["metadata"].get("annotations") or {}).get(_AUTOUPDATE) == "false":
                continue
            more = _missing_rules(current.obj, obj) if "rules" in obj else _missing_subjects(current.obj, obj)
            if more:
                yield Op(table, (namespace, name), current.copy() | more, current)


def _missing_rules(current: Json, wanted: Json) -> Json:
    if "aggregationRule" in current:
        return {}
    held = Rights(rules_of(current))
    missing = [single for rule in rules_of(wanted) for single in held.cover(rule)]
    if not missing:
        return {}
    return {"rules": [*(current.get("rules") or ()), *(to_json(rule) for rule in compact(missing))]}


def _missing_subjects(current: Json, wanted: Json) -> Json:
    if current["roleRef"] != wanted["roleRef"]:
        return {}
    present = current.get("subjects") or []
    missing = [one for one in wanted.get("subjects") or () if one not in present]
    return {"subjects": [*present, *missing]} if missing else {}
