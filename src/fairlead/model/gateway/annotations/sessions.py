"""Cookies by which a client's requests go to one endpoint."""

from __future__ import annotations

from fairlead.api.httproute import SessionCookie, SessionPersistence


def by_cookie(name: str | None, lasting: str = "") -> SessionPersistence:
    """Return the session of a cookie's name; without a duration, or for 0s, it ends with the client's own."""
    if lasting in ("", "0s"):
        return SessionPersistence(session_name=name)
    permanent = SessionCookie(lifetime_type="Permanent")
    return SessionPersistence(session_name=name, absolute_timeout=lasting, cookie_config=permanent)
