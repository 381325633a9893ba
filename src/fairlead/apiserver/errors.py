"""The refusals of the API, in the words and codes of the real server: clients match on both.

Each function returns the exception to raise; the HTTP layer turns it into the answer. Source: apimachinery's `api/errors`.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.resources import Resource

Json = dict[str, Any]


class StatusError(Exception):
    """A request is answered with this metav1.Status. `headers` go with it."""

    def __init__(self, status: Json, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.headers = headers or {}

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return int(self.status.get("code", 500))


def failure(code: int, reason: str, message: str, details: Json | None = None) -> StatusError:
    """Return the error with any code and reason."""
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        status["reason"] = reason
    if details:
        status["details"] = details
    return StatusError(status | {"code": code})


def success(details: Json | None = None) -> Json:
    """Return the Status object of a request that went well and returns no object."""
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return status | {"details": details} if details else status


def qualified(resource: Resource) -> str:
    """Return `deployments.apps`, as messages name a resource."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: Resource, name: str, **more: Any) -> Json:
    details: Json = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural} | more


def not_found(resource: Resource, name: str) -> StatusError:
    """Return the 404 of an object that does not exist."""
    return failure(404, "NotFound", f'{qualified(resource)} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    """Return the 404 of a resource or path that is not served."""
    return failure(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """Return the 409 of a name that is taken."""
    message = f'{qualified(resource)} "{name}" already exists'
    return failure(409, "AlreadyExists", message, _details(resource, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> StatusError:
    """Return the 409 of a write that was built on something else than the latest version."""
    message = f'Operation cannot be fulfilled on {qualified(resource)} "{name}": {why}'
    return failure(409, "Conflict", message, _details(resource, name))


def forbidden(resource: Resource, name: str, why: str, causes: list[Json] | None = None) -> StatusError:
    """Return the 403 of something that is not allowed."""
    details = _details(resource, name, **({"causes": causes} if causes else {}))
    return failure(403, "Forbidden", f'{qualified(resource)} "{name}" is forbidden: {why}', details)


def bad_request(message: str) -> StatusError:
    """Return the 400 of a request that makes no sense."""
    return failure(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str, str]]) -> StatusError:
    """Return the 422 for `causes` of (field, reason, message)."""
    texts = [f"{field}: {message}" for field, _, message in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [{"reason": reason, "message": message, "field": field} for field, reason, message in causes]
    named = f"{kind}.{group}" if group else kind
    return failure(422, "Invalid", f'{named} "{name}" is invalid: {text}', details)


def expired(message: str, *, continue_: str | None = None) -> StatusError:
    """Return the 410 of a revision whose history is gone; `continue_` lets a list go on inconsistently."""
    error = failure(410, "Expired", message)
    if continue_:
        error.status["metadata"] = {"continue": continue_}
    return error


def too_large_revision(asked: int, current: int) -> StatusError:
    """Return the 504 of a revision that is still to come."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Too large resource version: {asked}, current: {current}"
    return failure(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def unauthorized() -> StatusError:
    """Return the 401 of a credential that is not believed."""
    return failure(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> StatusError:
    """Return the 405 of a verb that the resource does not have."""
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(offered: str) -> StatusError:
    """Return the 406 of an Accept header that nothing offered satisfies."""
    message = f"only the following media types are accepted: {offered}"
    return failure(406, "NotAcceptable", message)


def unsupported_media_type(offered: str) -> StatusError:
    """Return the 415 of a body in a form that is not understood."""
    message = f"the body of the request was in an unknown format - accepted media types include: {offered}"
    return failure(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> StatusError:
    """Return the 413 of a body above `limit` bytes."""
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def request_timeout() -> StatusError:
    """Return the 408 of a body that does not arrive."""
    return failure(408, "Timeout", "the request body did not arrive in time")


def too_many_requests(message: str, retry_after_s: int, causes: list[Json] | None = None) -> StatusError:
    """Return the 429 of something that may work later."""
    details: Json = {"retryAfterSeconds": retry_after_s} | ({"causes": causes} if causes else {})
    error = failure(429, "TooManyRequests", message, details)
    error.headers["Retry-After"] = str(retry_after_s)
    return error


def unavailable(message: str) -> StatusError:
    """Return the 503 of a part that does not answer."""
    return failure(503, "ServiceUnavailable", message)


def internal(message: str) -> StatusError:
    """Return the 500 of a defect; `message` must not hold a traceback."""
    cause = {"message": message}
    return failure(500, "InternalError", f"Internal error occurred: {message}", {"causes": [cause]})


def not_implemented(message: str) -> StatusError:
    """Return the 501 of what this server does not do."""
    return failure(501, "NotImplemented", message)
