"""Which objects a list or a watch is about: namespace, labels, fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fairlead.apiserver.store.records import Change, Entry, EventType
from fairlead.base.selectors import LabelSelector

_COMMON = frozenset({"metadata.name", "metadata.namespace"})
_BY_TABLE: Mapping[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        }
    ),
    "nodes": frozenset({"spec.unschedulable"}),
    "namespaces": frozenset({"status.phase", "name"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "replicationcontrollers": frozenset({"status.replicas"}),
    "apps/replicasets": frozenset({"status.replicas"}),
    "batch/jobs": frozenset({"status.successful"}),
    "certificates.k8s.io/certificatesigningrequests": frozenset({"spec.signerName"}),
    "events": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
}
_PATHS: Mapping[str, tuple[str, ...]] = {
    "name": ("metadata", "name"),
    "source": ("source", "component"),
    "status.successful": ("status", "succeeded"),
}
_BOOLEANS = frozenset({"spec.unschedulable", "spec.hostNetwork"})
_NUMBERS = frozenset({"status.replicas", "status.successful"})


class FieldSelectorError(ValueError):
    """A field selector that cannot be parsed or names a field that this resource does not offer."""


class FieldRequirement(msgspec.Struct, frozen=True):
    """One field compared with one value."""

    field: str
    value: str
    equal: bool

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Tell whether the object satisfies this."""
        return (field_text(obj, self.field) == self.value) is self.equal


def field_text(obj: Mapping[str, Any], field: str) -> str:
    """Return a field as selectors compare it: absent is empty, an absent boolean is "false", an absent number "0"."""
    found: Any = obj
    for part in _PATHS.get(field) or field.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None:
        if field in _BOOLEANS:
            return "false"
        if field == "reportingComponent":
            return str((obj.get("source") or {}).get("component") or "")
        return "0" if field in _NUMBERS else ""
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found)


class Selection(msgspec.Struct, frozen=True):
    """What of a table is wanted; without any part set, everything."""

    namespace: str | None = None
    labels: LabelSelector | None = None
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def filters(self) -> bool:
        """Whether more than the namespace decides."""
        return self.labels is not None or bool(self.fields)

    def matches(self, entry: Entry) -> bool:
        """Tell whether one version of an object is selected."""
        if self.namespace is not None and entry.key[0] != self.namespace:
            return False
        return self._matches_content(entry)

    def classify(self, change: Change) -> EventType | None:
        """Return what `change` means to a reader of this selection; None: nothing."""
        if self.namespace is not None and change.entry.key[0] != self.namespace:
            return None
        if not self.filters:
            return change.type
        before = change.previous is not None and self._matches_content(change.previous)
        if change.type == "DELETED":
            return "DELETED" if before else None
        if self._matches_content(change.entry):
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None

    def _matches_content(self, entry: Entry) -> bool:
        for requirement in self.fields:
            if requirement.field == "metadata.name":
                if (entry.key[1] == requirement.value) is not requirement.equal:
                    return False
            elif not requirement.matches(entry.obj):
                return False
        return self.labels is None or self.labels.matches(entry.obj["metadata"].get("labels"))


def parse_fields(text: str, table: str, extra: Iterable[str] = ()) -> tuple[FieldRequirement, ...]:
    """Return what a `fieldSelector` of requests to `table` says; raises FieldSelectorError in the real server's words."""
    offered = _COMMON | _BY_TABLE.get(table, frozenset()) | frozenset(extra)
    found = []
    for part in _split(text):
        field, operator, value = _terms(part)
        field = field.strip()
        if field not in offered:
            raise FieldSelectorError(f"field label not supported: {field}")
        if field in _BOOLEANS:
            value = value.lower()
        found.append(FieldRequirement(field, value, operator != "!="))
    return tuple(found)


def _terms(part: str) -> tuple[str, str, str]:
    for position in range(len(part)):
        for operator in ("!=", "==", "="):
            if part.startswith(operator, position):
                return part[:position], operator, _unescape(part[position + len(operator) :])
    raise FieldSelectorError(f"invalid selector: '{part}'; can't understand '{part}'")


def _split(text: str) -> list[str]:
    parts, current, position = [], "", 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            current += text[position : position + 2]
            position += 2
            continue
        if text[position] == ",":
            parts.append(current)
            current = ""
        else:
            current += text[position]
        position += 1
    return [part for part in [*parts, current] if part.strip()]


def _unescape(value: str) -> str:
    found, position = "", 0
    while position < len(value):
        if value[position] == "\\" and position + 1 < len(value) and value[position + 1] in ",=\\":
            position += 1
        found += value[position]
        position += 1
    return found
