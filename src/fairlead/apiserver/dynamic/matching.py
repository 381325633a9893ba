"""Which requests a webhook or a policy is about: rules, selectors, and the same object in another version. Pure but for look-ups.

Source: k8s.io/apiserver's admission/plugin/webhook/predicates and admissionregistration.k8s.io/v1 (Rule, MatchResources).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.apiserver.admission.chain import Attributes
from fairlead.apiserver.api import Api
from fairlead.apiserver.errors import failure
from fairlead.apiserver.served import Served
from fairlead.base import selectors
from fairlead.base.selectors import LabelSelector

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Operations, and resources by group, version, name and scope; `*` is any."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    scope: str = "*"
    names: frozenset[str] = frozenset()

    def matches(self, attributes: Attributes, served: Served) -> bool:
        """Tell whether the rule is about a request, taken as one to `served`."""
        resource = served.resource
        return (
            bool({"*", attributes.operation} & self.operations)
            and bool({"*", resource.group} & self.groups)
            and bool({"*", resource.version} & self.versions)
            and any(
                name in ("*", resource.plural) and below in ("*", attributes.subresource)
                for name, below in self.resources
            )
            and (self.scope == "*" or (self.scope == "Namespaced") == bool(namespace_of(attributes)))
            and (not self.names or attributes.name in self.names)
        )


def rule(obj: Json) -> Rule:
    """Return a RuleWithOperations or NamedRuleWithOperations."""
    resources = tuple((name, below) for name, _, below in (one.partition("/") for one in obj.get("resources") or ()))
    return Rule(
        operations=frozenset(obj.get("operations") or ()),
        groups=frozenset(obj.get("apiGroups") or ()),
        versions=frozenset(obj.get("apiVersions") or ()),
        resources=resources,
        scope=obj.get("scope") or "*",
        names=frozenset(obj.get("resourceNames") or ()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a webhook, a policy or a binding is about. `rules` None: everything."""

    rules: tuple[Rule, ...] | None
    excluded: tuple[Rule, ...] = ()
    equivalent: bool = True
    namespaces: LabelSelector = field(default_factory=lambda: selectors.from_object({}))
    objects: LabelSelector = field(default_factory=lambda: selectors.from_object({}))

    def match(self, api: Api, attributes: Attributes) -> Served | None:
        """Return as which resource a request is matched, None when it is not; raises 404 for a namespace that is absent."""
        found = self._resource(api, attributes)
        if found is None or not self._namespace(api, attributes) or not self._object(attributes):
            return None
        return found

    def _resource(self, api: Api, attributes: Attributes) -> Served | None:
        served = attributes.served
        if any(one.matches(attributes, served) for one in self.excluded):
            return None
        if self.rules is None or any(one.matches(attributes, served) for one in self.rules):
            return served
        if not self.equivalent:
            return None
        for other in api.catalog:
            if other.table == served.table and other is not served:
                if any(one.matches(attributes, other) for one in self.excluded):
                    return None
                if any(one.matches(attributes, other) for one in self.rules):
                    return other
        return None

    def _namespace(self, api: Api, attributes: Attributes) -> bool:
        if not self.namespaces.requirements:
            return True
        if attributes.served.table == "namespaces":
            return self.namespaces.matches(_labels(attributes.obj or attributes.old or {}))
        if not attributes.namespace:
            return True
        return self.namespaces.matches(_labels(namespace_object(api, attributes.namespace)))

    def _object(self, attributes: Attributes) -> bool:
        if not self.objects.requirements:
            return True
        return any(self.objects.matches(_labels(one)) for one in (attributes.obj, attributes.old) if one)


def constraints(obj: Json, *, rules: str = "resourceRules") -> Constraints:
    """Return the constraints of a webhook (`rules`) or of MatchResources (`resourceRules`)."""
    listed = obj.get(rules)
    return Constraints(
        rules=None if listed is None else tuple(rule(one) for one in listed),
        excluded=tuple(rule(one) for one in obj.get("excludeResourceRules") or ()),
        equivalent=obj.get("matchPolicy") != "Exact",
        namespaces=selectors.from_object(obj.get("namespaceSelector") or {}),
        objects=selectors.from_object(obj.get("objectSelector") or {}),
    )


def namespace_of(attributes: Attributes) -> str:
    """Return the namespace that a request is in; one about a Namespace is in that one."""
    return attributes.name if attributes.served.table == "namespaces" else attributes.namespace


def namespace_object(api: Api, name: str) -> Json:
    """Return a Namespace; raises 404."""
    entry = api.store.latest("namespaces", "", name)
    if entry is None:
        raise failure(404, "NotFound", f'namespaces "{name}" not found', {"name": name, "kind": "namespaces"})
    return entry.obj


def converted(obj: Json, served: Served, target: Served) -> Json:
    """Return an object of one version in another one of the same resource; what a subresource takes has one version."""
    if served is target or obj.get("kind") not in (None, served.resource.kind):
        return obj
    stored = served.to_storage(obj) if served.to_storage else obj
    return target.from_storage(stored) if target.from_storage else stored


def _labels(obj: Json) -> dict[str, str] | None:
    labels: dict[str, str] | None = (obj.get("metadata") or {}).get("labels")
    return labels


def ordered(entries: Iterable[Any]) -> list[Any]:
    """Return stored configurations in the order in which they are asked: by name."""
    return sorted(entries, key=lambda entry: entry.key)
