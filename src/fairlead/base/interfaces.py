"""What a machine's own network interfaces are: the facts that routing decisions start from."""

from __future__ import annotations

import msgspec


class Interface(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One interface of the machine that is not ours."""

    name: str
    mtu: int
    """Bytes."""
    addresses: tuple[str, ...] = ()
    """`address/length` of each global address, sorted."""
