"""What annotations of several dialects say of the certificates of clients."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.annotations.wishes import ClientCertificates, Mode, Reference
from fairlead.plan.gateway.identity import Fact

_MODES: Mapping[str, Mode | None] = {"on": "required", "off": None, "optional": "optional", "optional_no_ca": "any"}
_MOST_DEPTH = 16


def clients(
    reader: Reader,
    prefix: str,
    told: tuple[tuple[str, Fact], ...],
    *,
    depth: int | None = None,
    subject: str = "",
) -> ClientCertificates | None:
    """Return what is wanted of clients' certificates; `told` are the headers by which backends hear of them, `depth` how long chains are."""
    given = reader.has("auth-tls-secret")
    asked = reader.has("auth-tls-verify-client") or bool(subject)
    found = reader.take("auth-tls-secret", values.reference, None)
    mode = _MODES[reader.take("auth-tls-verify-client", values.one_of(*_MODES), "on")]
    if mode is not None and asked and not given:
        reader.refuse("auth-tls-match-cn" if subject else "auth-tls-verify-client", "needs auth-tls-secret")
    if found is None or mode is None:
        return None
    authorities = Reference(f"{prefix}auth-tls-secret", *found)
    return ClientCertificates(authorities=authorities, mode=mode, depth=depth, subject=subject, told=told)


def depth(text: str) -> int:
    """Return how many authorities may stand between a certificate and one that is believed."""
    return values.number(1, _MOST_DEPTH)(text)


def common_name(text: str) -> str:
    """Return a pattern of RE2's for a part of a subject that has a common name."""
    if "CN=" not in text:
        raise ValueError("must hold CN=, followed by a pattern")
    return values.pattern(text)
