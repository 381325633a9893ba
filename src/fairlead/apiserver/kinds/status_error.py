"""The Status object with which the API server answers an object that breaks the rules (422) or cannot be decoded (400)."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.kinds.registry import Kind

# The measured server knew Ingress and NetworkPolicy under their first group too and names that one in errors.
_ERROR_GROUPS = {("networking.k8s.io", "Ingress"): "extensions", ("networking.k8s.io", "NetworkPolicy"): "extensions"}


def invalid(kind: Kind, name: str, errors: list[FieldError]) -> dict[str, Any]:
    """Return the 422 Status for `errors`, which must not be empty; repeated errors are told once."""
    group = _ERROR_GROUPS.get((kind.resource.group, kind.resource.kind), kind.resource.group)
    qualified = f"{kind.resource.kind}.{group}" if group else kind.resource.kind
    distinct = list(dict.fromkeys(str(error) for error in errors))
    text = distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind.resource.kind
    details["causes"] = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    return _status(f'{qualified} "{name}" is invalid: {text}', "Invalid", 422, details)


def bad_request(message: str) -> dict[str, Any]:
    """Return the 400 Status with `message`."""
    return _status(message, "BadRequest", 400, None)


def _status(message: str, reason: str, code: int, details: dict[str, Any] | None) -> dict[str, Any]:
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    status |= {"message": message, "reason": reason}
    if details is not None:
        status["details"] = details
    return status | {"code": code}
