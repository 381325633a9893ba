"""How a strategic merge patch treats each field of a built-in kind: which lists merge and by which key.

Source: the patchStrategy and patchMergeKey declarations upstream, as `wire` holds them.
"""

from __future__ import annotations

from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.kinds.wire import Field, Message, message, message_of


class PatchSchema:
    """The rules of one field and of what is below it (for a list: of its items).

    `merge_key` names the key of a list that merges by key; `strategies` holds "merge", "replace", "retainKeys" as declared.
    """

    __slots__ = ("_message", "merge_key", "strategies")

    def __init__(self, below: Message | None, declared: Field | None = None) -> None:
        self._message = below
        self.merge_key: str | None = declared.merge_key if declared else None
        self.strategies: frozenset[str] = declared.strategies if declared else frozenset()

    def field(self, name: str) -> PatchSchema:
        """Return the rules of the field `name` below; plain ones for fields that are not known."""
        found = self._message.by_json.get(name) if self._message else None
        if found is None:
            return _PLAIN
        return PatchSchema(None if found.shape == "map" else message(found.type), found)


_PLAIN = PatchSchema(None)


def patch_schema(kind: Kind) -> PatchSchema:
    """Return the rules of the objects of `kind`."""
    return PatchSchema(message_of(kind))
