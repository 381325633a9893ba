"""What all proxies of a node are made with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairlead.api.certificate import KeyPair
from fairlead.api.credentials import CredentialData
from fairlead.drivers.xds.process import DRAIN_S
from fairlead.drivers.xds.tables import MANY


def _none(_: str) -> None:
    return None


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a node's proxies are looked after."""

    node: str
    keys: Callable[[str], KeyPair | None] = _none
    """Gives the bytes behind a certificate's digest."""
    credentials: Callable[[str], CredentialData | None] = _none
    """Gives those behind credentials' digest."""
    answer_s: float = 10.0
    """How long Envoy may take to answer."""
    drain_s: int = DRAIN_S
    """How long connections may go on that a listener or a process has no future for."""
    patience_s: float = 3.0
    """How long changes of one proxy wait for another one."""
    many: int = MANY
    """From so many hosts on a port has scopes."""
