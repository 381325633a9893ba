"""What every new pod gets from its cluster: account and its token, priority, tolerations of a node's short absence.

Source: the ServiceAccount, Priority and DefaultTolerationSeconds admission plugins.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.admission.service_account import set_account
from fairlead.apiserver.api import Api
from fairlead.apiserver.authz.node_graph import MIRROR
from fairlead.apiserver.errors import forbidden

Json = dict[str, Any]

_ABSENCE_S = 300
_ABSENCE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit_pod(api: Api) -> Plugin:
    """Return the admission function."""

    def admit(attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or attributes.served.table != "pods":
            return
        spec = attributes.obj.get("spec")
        if not isinstance(spec, dict):
            return
        if MIRROR not in (attributes.obj["metadata"].get("annotations") or {}):
            set_account(api, attributes, spec)
        _set_priority(api, attributes, spec)
        _set_tolerations(spec)

    return admit


def _set_priority(api: Api, attributes: Attributes, spec: Json) -> None:
    name = spec.get("priorityClassName")
    value, policy = 0, "PreemptLowerPriority"
    if name:
        found = api.store.latest("scheduling.k8s.io/priorityclasses", "", name)
        if found is None:
            raise forbidden(attributes.served.resource, attributes.name, f"no PriorityClass with name {name} was found")
        value, policy = found.obj.get("value", 0), found.obj.get("preemptionPolicy", policy)
    else:
        for entry in api.store.entries("scheduling.k8s.io/priorityclasses"):
            if entry.obj.get("globalDefault"):
                spec["priorityClassName"] = entry.key[1]
                value, policy = entry.obj.get("value", 0), entry.obj.get("preemptionPolicy", policy)
    given = spec.get("priority")
    if given is not None and given != value:
        why = (
            f"the integer value of priority ({given}) must not be provided in pod spec; priority admission controller "
        )
        why += f"computed {value} from the given PriorityClass name"
        raise forbidden(attributes.served.resource, attributes.name, why)
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", policy)


def _set_tolerations(spec: Json) -> None:
    tolerations: list[Json] = list(spec.get("tolerations") or ())
    for taint in _ABSENCE_TAINTS:
        if not any(_tolerates(one, taint) for one in tolerations):
            tolerations.append(
                {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _ABSENCE_S}
            )
    spec["tolerations"] = tolerations


def _tolerates(toleration: Json, taint: str) -> bool:
    return toleration.get("key") in (taint, None, "") and toleration.get("effect") in ("NoExecute", None, "")
