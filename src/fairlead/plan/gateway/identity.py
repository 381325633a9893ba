"""What backends hear of a client by its certificate, and whose requests they get by that."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Fact: TypeAlias = Literal["certificate", "subject", "issuer", "sha1", "verdict"]
"""The certificate as escaped text in PEM form; names (RFC 2253); a digest; `SUCCESS`, `FAILED:…` or `NONE`."""


class ClientIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What is told, and asked, of certificates that the connection's chain has asked for."""

    headers: tuple[tuple[str, Fact], ...] = ()
    """Header, which is never the client's own word → what it says."""
    subject: str = ""
    """Pattern of RE2's that a part of the certificate's subject has to match; empty: any."""
    shown: Literal["always", "maybe", "untrusted"] = "always"
    """Whether each client has shown one; `untrusted`: maybe, and it may be anybody's."""
