"""What annotations of all dialects say of scripts of other origins (CORS protocol of the Fetch standard)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairlead.api.httproute import CorsFilter
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.annotations.reader import Reader


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller takes where an Ingress does not say."""

    methods: tuple[str, ...]
    headers: tuple[str, ...]
    credentials: bool
    max_age_s: int


def cors(reader: Reader, switch: str, defaults: Defaults, seconds: Callable[[str], int]) -> CorsFilter | None:
    """Return the filter, None unless the annotation `switch` says so; `seconds` reads the age.

    Where any origin may, none has credentials: the controllers answer such requests with `*`, which no browser takes for requests with
    credentials, but a gateway has to name the origin.
    """
    take = reader.take
    wanted = take(switch, values.truth, False)
    found = CorsFilter(
        allow_origins=take("cors-allow-origin", values.items(values.origin), ("*",)),
        allow_methods=take("cors-allow-methods", values.items(values.token), defaults.methods),
        allow_headers=take("cors-allow-headers", values.items(values.token), defaults.headers),
        expose_headers=take("cors-expose-headers", values.items(values.token), ()) or None,
        allow_credentials=take("cors-allow-credentials", values.truth, defaults.credentials),
        max_age=take("cors-max-age", seconds, defaults.max_age_s),
    )
    if "*" in (found.allow_origins or ()):
        found = msgspec.structs.replace(found, allow_credentials=False)
    return found if wanted else None
