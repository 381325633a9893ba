"""What every Kubernetes object carries (meta/v1 ObjectMeta), as far as the network reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Identity and labels of an object. Without its resourceVersion: objects that say the same are equal."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    """Counts the versions of what the object asks for; 0 for kinds that have none."""
    labels: Mapping[str, str] | None = None
    deletion_timestamp: str | None = None

    def label(self, name: str) -> str | None:
        """Return the value of a label, None when the object lacks it."""
        return self.labels.get(name) if self.labels else None
