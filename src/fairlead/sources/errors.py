"""What the API server answers when it refuses, as exceptions named by what a caller can do about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A request that the API server refused. `status` is the metav1.Status object of the answer."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__(status.get("message") or status.get("reason") or "unknown error")
        self.status = status

    @property
    def code(self) -> int:
        """Return the HTTP status code."""
        return int(self.status.get("code") or 0)

    @property
    def reason(self) -> str:
        """Return the machine-readable reason, for example `NotFound`."""
        return str(self.status.get("reason") or "")


class NotFound(ApiError):
    """The object, its namespace or its kind does not exist."""


class AlreadyExists(ApiError):
    """An object of this name exists."""


class Conflict(ApiError):
    """The object changed since it was read, or a precondition failed: read again and retry."""


class Gone(ApiError):
    """The resourceVersion is older than the server's history: list again."""


class Invalid(ApiError):
    """The object breaks a rule; the message names field and rule."""


class Forbidden(ApiError):
    """The identity may not do this, or the state of the cluster forbids it."""


class Unreachable(Exception):
    """The API server does not answer: no connection, or it broke before the answer."""


_BY_REASON: Mapping[str, type[ApiError]] = {
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Expired": Gone,
    "Gone": Gone,
    "Invalid": Invalid,
    "Forbidden": Forbidden,
}
_BY_CODE: Mapping[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 422: Invalid, 403: Forbidden}


def from_status(status: Mapping[str, Any]) -> ApiError:
    """Return the exception for a metav1.Status object of a failure."""
    kind = _BY_REASON.get(str(status.get("reason"))) or _BY_CODE.get(int(status.get("code") or 0)) or ApiError
    return kind(status)
