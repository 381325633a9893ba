"""The strategy of custom resources: metadata is checked as everywhere, the rest by the schema of the definition."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from fairlead.apiserver.jsonpath import find
from fairlead.apiserver.kinds import metadata_rules
from fairlead.apiserver.kinds.ages import age
from fairlead.apiserver.kinds.duplicates import duplicate_fields
from fairlead.apiserver.kinds.field_error import FieldError, invalid
from fairlead.apiserver.kinds.field_types import metadata_schema
from fairlead.apiserver.kinds.registry import Kind
from fairlead.apiserver.kinds.wire import drop_unknown_metadata, unknown_metadata
from fairlead.apiserver.patch.schema import DeclaredFields, FieldSchema, PatchSchema

if TYPE_CHECKING:
    from fairlead.apiserver.schema.resource import ResourceSchema

Json = dict[str, Any]

_NAME_COLUMN: Json = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}
_AGE_COLUMN: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


class CustomStrategy:
    """One version of one CustomResourceDefinition; `version` is its entry in spec.versions."""

    custom = True

    def __init__(self, kind: Kind, version: Json) -> None:
        self._kind = kind
        self._declared: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self._owned: FieldSchema | None = None
        self._scale: Json = (version.get("subresources") or {}).get("scale") or {}
        self._printed: list[Json] = version.get("additionalPrinterColumns") or [_AGE_COLUMN]

    @cached_property
    def _schema(self) -> ResourceSchema:
        # Imported with the first object: an idle server needs no schemas.
        from fairlead.apiserver.schema.resource import ResourceSchema

        return ResourceSchema(self._declared or None)

    def type_error(self, obj: Json, body: bytes | None) -> str | None:
        """See Strategy."""
        metadata = obj.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            return f"{self._kind.resource.kind}.metadata: must be an object"
        for key, wanted in (("labels", dict), ("annotations", dict), ("finalizers", list), ("ownerReferences", list)):
            value = (metadata or {}).get(key)
            if value is not None and not isinstance(value, wanted):
                return f"{self._kind.resource.kind}.metadata.{key}: must be {'a map' if wanted is dict else 'a list'}"
            if isinstance(value, dict) and not all(isinstance(item, str) for item in value.values()):
                return f"{self._kind.resource.kind}.metadata.{key}: values must be strings"
        for key in ("name", "namespace", "generateName", "uid", "resourceVersion"):
            if not isinstance((metadata or {}).get(key) or "", str):
                return f"{self._kind.resource.kind}.metadata.{key}: must be a string"
        return None

    def unknown_fields(self, obj: Json, body: bytes | None) -> list[str]:
        """See Strategy."""
        paths = [*unknown_metadata(obj.get("metadata") or {}), *self._schema.unknown_fields(obj)]
        repeated = duplicate_fields(body) if body is not None else []
        return [f'duplicate field "{path}"' for path in repeated] + [f'unknown field "{path}"' for path in paths]

    def default(self, obj: Json) -> None:
        """See Strategy."""
        if isinstance(obj.get("metadata"), dict):
            drop_unknown_metadata(obj["metadata"])
        self._schema.settle(obj)

    def prepare_for_create(self, obj: Json) -> None:
        """See Strategy."""
        if self._kind.has_status:
            # What a client says of the status counts for nothing; the schema may say something.
            obj.pop("status", None)
            self._schema.default(obj)
        obj["metadata"]["generation"] = 1

    def prepare_for_update(self, new: Json, old: Json) -> None:
        """See Strategy."""
        if self._kind.has_status:
            _take(new, old, "status")
        skipped = {"metadata", "status"} if self._kind.has_status else {"metadata"}
        keys = (new.keys() | old.keys()) - skipped
        if any(new.get(key) != old.get(key) for key in keys):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_for_status_update(self, new: Json, old: Json) -> None:
        """See Strategy."""
        managed = new["metadata"].get("managedFields")
        for key in (new.keys() | old.keys()) - {"status"}:
            _take(new, old, key)
        new["metadata"] = dict(old["metadata"])
        if managed:
            new["metadata"]["managedFields"] = managed

    def validate_create(self, obj: Json) -> list[FieldError]:
        """See Strategy."""
        errors = metadata_rules.validate_metadata(self._kind, obj["metadata"])
        return errors + self._replicas(obj) + self._schema.check(obj)

    def validate_update(self, new: Json, old: Json) -> list[FieldError]:
        """See Strategy."""
        errors = metadata_rules.validate_metadata_update(self._kind, new["metadata"], old["metadata"])
        return errors + self._replicas(new) + self._schema.check(new, old)

    def validate_status_update(self, new: Json, old: Json) -> list[FieldError]:
        """See Strategy."""
        errors = metadata_rules.validate_metadata_update(self._kind, new["metadata"], old["metadata"])
        return errors + self._replicas(new, "statusReplicasPath") + self._schema.check_status(new, old)

    def _replicas(self, obj: Json, *paths: str) -> list[FieldError]:
        """Return what is wrong with the numbers that the scale subresource shows."""
        errors = []
        for name in paths or ("specReplicasPath", "statusReplicasPath"):
            path = str(self._scale.get(name) or "")
            count = next(iter(find(obj, path)), 0) if path else 0
            if isinstance(count, int) and not 0 <= count < 2**31:
                text = "should be a non-negative integer" if count < 0 else "should be less than or equal to 2147483647"
                errors.append(invalid(path, count, text))
        return errors

    def columns(self) -> list[Json]:
        """See Strategy."""
        return [_NAME_COLUMN] + [
            {
                "name": one["name"],
                "type": one["type"],
                "format": one.get("format", ""),
                "description": one.get(
                    "description", f"Custom resource definition column (in JSONPath format): {one['jsonPath']}"
                ),
                "priority": one.get("priority", 0),
            }
            for one in self._printed
        ]

    def cells(self, obj: Json, now: datetime) -> list[Any]:
        """See Strategy."""
        return [obj["metadata"]["name"], *(_cell(obj, one, now) for one in self._printed)]

    def patch_schema(self) -> PatchSchema | None:
        """See Strategy."""
        return None

    def field_schema(self) -> FieldSchema:
        """See Strategy."""
        if self._owned is None:
            self._owned = DeclaredFields(self._declared, metadata=metadata_schema())
        return self._owned


def _take(into: Json, source: Json, key: str) -> None:
    if key in source:
        into[key] = source[key]
    else:
        into.pop(key, None)


def _cell(obj: Json, column: Json, now: datetime) -> Any:
    found = find(obj, column["jsonPath"])
    if not found:
        return None
    value = found[0]
    match column["type"]:
        case "date":
            return age(value, now) if isinstance(value, str) else None
        case "integer" | "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            if len(found) > 1:
                return ",".join(map(str, found))
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
