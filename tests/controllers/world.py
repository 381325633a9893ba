"""An API server made of dicts: it carries out the actions of pure cores at once, so that whole histories can be simulated in microseconds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.api.resources import PODS, Resource
from fairlead.controllers.actions import Action, Again, Create, Delete, Event, Patch, Replace, Status

Json = dict[str, Any]
Key = tuple[str, str]


class World:
    """Objects by resource and name (one namespace). `now` is advanced by the test."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.objects: dict[Resource, dict[str, Json]] = {}
        self.events: list[str] = []
        self.writes = 0
        self._numbers = itertools.count(1)

    def all(self, resource: Resource) -> list[Json]:
        return list(self.objects.get(resource, {}).values())

    def get(self, resource: Resource, name: str) -> Json:
        return self.objects[resource][name]

    def add(self, resource: Resource, obj: Json) -> Json:
        number = next(self._numbers)
        made = _copy(obj)
        metadata = made.setdefault("metadata", {})
        metadata.setdefault("namespace", "default")
        if "name" not in metadata:
            metadata["name"] = f"{metadata.pop('generateName')}{number:05}"
        metadata |= {"uid": f"uid-{number}", "resourceVersion": str(number), "generation": 1}
        metadata["creationTimestamp"] = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"
        if resource == PODS:
            made.setdefault("status", {"phase": "Pending"})
        assert metadata["name"] not in self.objects.setdefault(resource, {}), "AlreadyExists"
        self.objects[resource][metadata["name"]] = made
        return made

    def set(self, resource: Resource, obj: Json) -> Json:
        """Store a changed object, as its owner would write it."""
        obj = _copy(obj)
        former = self.objects[resource][obj["metadata"]["name"]]
        if former.get("spec") != obj.get("spec"):
            obj["metadata"]["generation"] = former["metadata"]["generation"] + 1
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        self.objects[resource][obj["metadata"]["name"]] = obj
        metadata = obj["metadata"]
        ended = resource != PODS or metadata.get("gone")
        if ended and "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self.objects[resource][metadata["name"]]
        return obj

    def change_spec(self, resource: Resource, name: str, **spec: Any) -> None:
        obj = self.get(resource, name)
        self.set(resource, {**obj, "spec": {**obj["spec"], **spec}})

    def remove(self, resource: Resource, name: str) -> None:
        obj = self.objects[resource][name]
        if obj["metadata"].get("finalizers"):
            obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            obj["metadata"]["gone"] = True
        else:
            del self.objects[resource][name]

    def apply(self, actions: Iterable[Action]) -> float | None:
        """Carry out the actions; a write on an outdated version ends them, as it would for real."""
        again: float | None = None
        for action in actions:
            self.writes += not isinstance(action, Again | Event)
            match action:
                case Create(resource, obj):
                    self.add(resource, obj)
                case Delete(resource, obj):
                    found = self.objects[resource].get(obj["metadata"]["name"])
                    if found is None or found["metadata"]["uid"] != obj["metadata"]["uid"]:
                        continue
                    if resource == PODS:
                        self.set(
                            PODS,
                            {**found, "metadata": {**found["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
                        )
                    else:
                        self.remove(resource, obj["metadata"]["name"])
                case Replace(resource, obj):
                    found = self.objects[resource].get(obj["metadata"]["name"])
                    if found is None or found["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                        return again
                    self.set(resource, {**obj, **({"status": found["status"]} if "status" in found else {})})
                case Status(resource, obj):
                    found = self.objects[resource].get(obj["metadata"]["name"])
                    if found is None or found["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                        return again
                    metadata = {**found["metadata"], "annotations": obj["metadata"].get("annotations") or {}}
                    self.set(resource, {**found, "metadata": metadata, "status": obj["status"]})
                case Patch(resource, obj, patch):
                    found = self.objects[resource].get(obj["metadata"]["name"])
                    if found is not None:
                        wanted = patch.get("metadata", {}).get("resourceVersion")
                        if wanted is None or wanted == found["metadata"]["resourceVersion"]:
                            self.set(resource, merge(found, patch))
                case Event(_, _, reason, message):
                    self.events.append(f"{reason}: {message}")
                case Again(after):
                    again = after if again is None else min(again, after)
        return again

    def pod_becomes(self, name: str, phase: str = "Running", *, ready: bool = True) -> None:
        self.writes += 1
        pod = self.get(PODS, name)
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        self.set(PODS, {**pod, "status": {**pod["status"], "phase": phase, "conditions": conditions}})

    def pod_is_gone(self, name: str) -> None:
        """What the kubelet does last: nothing runs any more."""
        self.writes += 1
        self.get(PODS, name)["metadata"]["gone"] = True
        self.remove(PODS, name)


def _copy(obj: Json) -> Json:
    return msgspec.json.decode(msgspec.json.encode(obj))


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
