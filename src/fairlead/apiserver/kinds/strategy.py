"""What happens to an object of each kind when it is written: defaults, what the server sets itself, and what it refuses.

The entry points of the server core. A write goes `type_errors` → `check_fields` → `default` → `prepare_for_create` or
`prepare_for_update` → `validate_create` or `validate_update`; the core sets uid, creationTimestamp, name and namespace before
`prepare_for_create`. Objects are plain dicts, changed in place by `default` and `prepare_*`, never by `validate_*`.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds import decoding, lifecycle, metadata_rules, rules, wire
from fairlead.apiserver.kinds.defaults import DEFAULTS
from fairlead.apiserver.kinds.duplicates import duplicate_fields
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.kinds.registry import Kind

__all__ = [
    "FieldError",
    "check_fields",
    "default",
    "prepare_for_create",
    "prepare_for_status_update",
    "prepare_for_update",
    "type_errors",
    "validate_create",
    "validate_status_update",
    "validate_update",
]


def type_errors(kind: Kind, obj: dict[str, Any], body: bytes | None = None) -> str | None:
    """Return the text of a 400 for the first value whose JSON type is wrong, None if all fit.

    With `body` (the request as received) the text shows the bytes around the error, as the real server does.
    """
    return decoding.type_errors(kind, obj, body)


def check_fields(kind: Kind, obj: dict[str, Any], body: bytes | None = None) -> list[str]:
    """Return one text per unknown field, and with `body` (JSON) per duplicate field, worded as fieldValidation words them."""
    found = duplicate_fields(body) if body is not None else []
    return [f'unknown field "{path}"' for path in wire.unknown_fields(kind, obj)] + [
        f'duplicate field "{path}"' for path in found
    ]


def default(kind: Kind, obj: dict[str, Any]) -> None:
    """Make `obj` what the real server holds after decoding: unknown and empty fields gone, defaults filled in. Idempotent."""
    wire.normalize(kind, obj)
    set_defaults = DEFAULTS.get((kind.resource.group, kind.resource.kind))
    if set_defaults is not None:
        set_defaults(obj)


def prepare_for_create(kind: Kind, obj: dict[str, Any]) -> None:
    """Set what the server decides on creation: first status, generation, and what follows from metadata.uid."""
    lifecycle.prepare_for_create(kind, obj)


def prepare_for_update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> None:
    """Keep in `new` what an ordinary update may not change (status, system metadata, allocated values); count generations."""
    lifecycle.prepare_for_update(kind, new, old)


def prepare_for_status_update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> None:
    """Keep in `new` everything but status and the metadata that a status update may change."""
    lifecycle.prepare_for_status_update(kind, new, old)


def validate_create(kind: Kind, obj: dict[str, Any]) -> list[FieldError]:
    """Return why `obj` (defaulted and prepared) may not be created; empty when it may."""
    errors = metadata_rules.validate_metadata(kind, obj.get("metadata", {}))
    check = rules.ON_CREATE.get((kind.resource.group, kind.resource.kind))
    return errors + (check(obj) if check is not None else [])


def validate_update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
    """Return why `old` may not become `new`; empty when it may."""
    errors = metadata_rules.validate_metadata_update(kind, new.get("metadata", {}), old.get("metadata", {}))
    key = (kind.resource.group, kind.resource.kind)
    on_update = rules.ON_UPDATE.get(key)
    if on_update is not None:
        return errors + on_update(new, old)
    check = rules.ON_CREATE.get(key)
    return errors + (check(new) if check is not None else [])


def validate_status_update(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
    """Return why the status of `old` may not become that of `new`."""
    errors = metadata_rules.validate_metadata_update(kind, new.get("metadata", {}), old.get("metadata", {}))
    check = rules.ON_STATUS.get((kind.resource.group, kind.resource.kind))
    return errors + (check(new, old) if check is not None else [])
