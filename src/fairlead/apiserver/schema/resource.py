"""One version of a custom resource by its schema: what is unknown, pruned, defaulted and refused.

Source: k8s.io/apiextensions-apiserver, pkg/registry/customresource. Compiled with the first request: a server that starts compiles nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.schema import defaulting, embedded, judgement, lists, pruning, values
from fairlead.apiserver.schema.node import MISSING, Node, compile_schema

Json = dict[str, Any]

_BLOCKING = frozenset({"NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid"})
_UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

_TOO_DEEP = FieldError(values.NOWHERE, "Invalid", "", "is nested too deeply to be compared")


class ResourceSchema:
    """The schema of one version; None as `schema` allows everything."""

    def __init__(self, schema: Json | None) -> None:
        self._schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    @cached_property
    def root(self) -> Node:
        """The compiled schema."""
        return compile_schema(self._schema)

    def unknown_fields(self, obj: Json) -> list[str]:
        """Return the paths that would be pruned."""
        return pruning.unknown_fields(obj, self.root)

    def settle(self, obj: Json) -> None:
        """Prune and default `obj` in place; a second time changes nothing."""
        pruning.prune(obj, self.root)
        pruning.drop_nulls(obj, self.root)
        self.default(obj)

    def default(self, obj: Json) -> None:
        """Fill in the defaults of `obj` in place."""
        defaulting.default(obj, self.root)

    def check(self, obj: Json, old: Json | None = None) -> list[FieldError]:
        """Return why `obj` is refused; with `old`, what is unchanged is not held against it."""
        try:
            return self._complete(values.check(obj, self.root, MISSING if old is None else old), obj, old)
        except RecursionError:
            return [_TOO_DEEP]

    def check_status(self, obj: Json, old: Json) -> list[FieldError]:
        """Return why the status of `obj` is refused. Only the status is held against the schema, rules see the whole object."""
        node = self.root.properties.get("status")
        found: list[FieldError] = []
        try:
            if node is not None and "status" in obj:
                found = values.check(obj["status"], node, old.get("status", MISSING), prefix="status")
            return self._complete(found, obj, old)
        except RecursionError:
            return [_TOO_DEEP]

    def _complete(self, found: list[FieldError], obj: Json, old: Json | None) -> list[FieldError]:
        found += embedded.check(obj, self.root)
        # An object whose lists hold items twice since before may keep them.
        if old is None or next(lists.check(old, self.root), None) is None:
            found += lists.check(obj, self.root)
        if not self.root.rules_below:
            return found
        if any(error.type in _BLOCKING for error in found):
            return [*found, FieldError(values.NOWHERE, "Invalid", "null", _UNCHECKED)]
        return found + judgement.judge(obj, self.root, MISSING if old is None else old)
