"""Which references may cross namespaces (ReferenceGrant). Pure; without a grant none may."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.api.gateway import ReferenceGrant
from fairlead.world.events import ObjectKey

From = tuple[str, str, str]
"""Group, kind and namespace of who refers."""


class Grants:
    """All grants by the namespace that they open."""

    def __init__(self, grants: Mapping[ObjectKey, ReferenceGrant]) -> None:
        self._of: dict[str, list[ReferenceGrant]] = {}
        for (namespace, _), grant in grants.items():
            self._of.setdefault(namespace, []).append(grant)

    def permit(self, source: From, group: str, kind: str, namespace: str, name: str) -> bool:
        """Tell whether `source` may refer to an object; within a namespace everybody may."""
        if source[2] == namespace:
            return True
        return any(
            any((each.group, each.kind, each.namespace) == source for each in grant.spec.sources)
            and any(
                (each.group, each.kind) == (group, kind) and each.name in (None, "", name) for each in grant.spec.to
            )
            for grant in self._of.get(namespace, ())
        )
