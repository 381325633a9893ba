"""The filter ExternalAuth of HTTPRoutes as what requests have to pass. Pure. Source: GEP-1494."""

from __future__ import annotations

from fairlead.api.httproute import AuthByGrpc, AuthByHttp, ExternalAuthFilter
from fairlead.model.gateway import values
from fairlead.model.gateway.backends import Backends, host_of
from fairlead.model.gateway.values import RuleError
from fairlead.plan.gateway.policy import ExternalAuth

_ALWAYS = ("authorization",)
"""What a server that speaks HTTP is told of in any case."""
_MOST_BODY = 1 << 20


def external_auth(wanted: ExternalAuthFilter, field: str, backends: Backends) -> ExternalAuth | None:
    """Return who decides, None where the reference leads nowhere (then `backends` says why); raises RuleError."""
    body = values.number(
        wanted.forward_body.max_size if wanted.forward_body else 0, 0, _MOST_BODY, f"{field}.forwardBody"
    )
    if wanted.protocol == "GRPC":
        target = backends.resolve(wanted.backend_ref, f"{field}.backendRef", protocol="h2c")
        headers = _names((wanted.grpc or AuthByGrpc()).allowed_headers, f"{field}.grpc.allowedHeaders")
        if target is None:
            return None
        return ExternalAuth(cluster=target.name, host=host_of(target), grpc=True, headers=headers, body_bytes=body)
    if wanted.protocol != "HTTP":
        raise RuleError(f"{field}.protocol: {wanted.protocol[:64]!r} is neither HTTP nor GRPC")
    http = wanted.http or AuthByHttp()
    copied = _names(http.allowed_response_headers, f"{field}.http.allowedResponseHeaders")
    if not copied:
        # All of them would include those that say where a message ends.
        raise RuleError(f"{field}.http.allowedResponseHeaders: name the headers; all cannot be copied safely")
    target = backends.resolve(wanted.backend_ref, f"{field}.backendRef")
    if target is None:
        return None
    return ExternalAuth(
        cluster=target.name,
        host=host_of(target),
        path=values.path(http.path, f"{field}.http.path").rstrip("/") if http.path else "",
        headers=(*_ALWAYS, *_names(http.allowed_headers, f"{field}.http.allowedHeaders")),
        to_backend=copied,
        body_bytes=body,
    )


def _names(found: tuple[str, ...] | None, field: str) -> tuple[str, ...]:
    return tuple(values.changed_header(each, f"{field}[{at}]") for at, each in enumerate(values.bounded(found, field)))
