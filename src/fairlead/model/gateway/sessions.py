"""Session persistence of a rule as the proxy's sessions. Pure. Source: SessionPersistence of the Gateway API (GEP-1619)."""

from __future__ import annotations

import hashlib

import msgspec

from fairlead.api.httproute import SessionPersistence
from fairlead.model.gateway import values
from fairlead.model.gateway.values import RuleError
from fairlead.plan.gateway.route import GatewayRoute, Session

_PREFIX = "fairlead-"
_LONGEST = 128
_SECOND_MS = 1000


def persistent(action: GatewayRoute, wanted: SessionPersistence | None, field: str, uid: str) -> GatewayRoute:
    """Return what a rule does with its sessions, if it wants some; raises RuleError."""
    if wanted is None:
        return action
    header = wanted.type == "Header"
    if wanted.type not in ("Cookie", "Header"):
        raise RuleError(f"{field}.type: {wanted.type} is not supported; use Cookie or Header")
    lifetime = wanted.cookie_config.lifetime_type if wanted.cookie_config is not None else "Session"
    if wanted.cookie_config is not None and header:
        raise RuleError(f"{field}.cookieConfig: goes with type Cookie")
    if lifetime not in ("Session", "Permanent"):
        raise RuleError(f"{field}.cookieConfig.lifetimeType: {lifetime} is not supported; use Session or Permanent")
    if lifetime == "Permanent" and wanted.absolute_timeout is None:
        raise RuleError(f"{field}.absoluteTimeout: a permanent cookie needs it")
    digest = hashlib.sha256(f"{uid} {action.origin}".encode()).hexdigest()
    name = values.token(wanted.session_name, f"{field}.sessionName") if wanted.session_name else _PREFIX + digest[:8]
    if len(name) > _LONGEST:
        raise RuleError(f"{field}.sessionName: has at most {_LONGEST} characters")
    session = Session(
        name=name.lower() if header else name,
        header=header,
        permanent=lifetime == "Permanent",
        absolute_ms=_timeout(wanted.absolute_timeout, f"{field}.absoluteTimeout"),
        idle_ms=_timeout(wanted.idle_timeout, f"{field}.idleTimeout"),
        key=hashlib.sha256(f"session {uid} {action.origin}".encode()).hexdigest(),
    )
    return msgspec.structs.replace(action, session=session)


def _timeout(text: str | None, field: str) -> int:
    return values.duration(text, field, least_ms=_SECOND_MS) if text is not None else 0
