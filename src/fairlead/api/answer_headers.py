"""core/v1 ConfigMap as headers of answers: each key is a name, each value what it says.

What belongs to one connection or frames a message (RFC 9110, 7.6.1 and 8.6; RFC 9112, 6) is the proxy's alone and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]{1,128}")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]{0,4094}[\x21-\x7e])?)?")
_NOT_ALLOWED = frozenset(
    (
        "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    )
)  # fmt: skip
_MOST = 64


def headers(configmap: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a ConfigMap on the wire by name, in order; raises ValueError in words for its author when some cannot be sent."""
    data = configmap.get("data")
    if not isinstance(data, Mapping) or not 1 <= len(data) <= _MOST:
        raise ValueError(f"data must have 1 to {_MOST} headers")
    found: dict[str, str] = {}
    for name in sorted(map(str, data)):
        value = data[name]
        if not _NAME.fullmatch(name):
            raise ValueError(f"data[{name[:64]}] is no name of a header")
        if name.lower() in _NOT_ALLOWED:
            raise ValueError(f"data[{name}] belongs to a connection or frames the message, and cannot be set")
        if not isinstance(value, str) or not _VALUE.fullmatch(value.strip()):
            raise ValueError(f"data[{name}] must be one line of up to 4096 printable ASCII characters")
        if name.lower() in map(str.lower, found):
            raise ValueError(f"data[{name}] is written twice, in different letters")
        found[name] = value.strip()
    return found
