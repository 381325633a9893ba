"""One backend of a service port, as rows of several tables name it."""

from __future__ import annotations

import msgspec


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """One backend of a service port."""

    address: str
    port: int
