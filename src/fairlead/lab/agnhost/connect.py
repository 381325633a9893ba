"""`connect HOST:PORT`: one TCP, UDP or SCTP probe; silent success, else a word that tests look for on stderr and code 1.

TIMEOUT, REFUSED, DNS, OTHER (no route and the like) or UNKNOWN (not a network error).
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence

from fairlead.lab.agnhost.flags import UsageError, duration_s, parse

_SCTP = 132
_DEFAULTS = {"timeout": "0s", "protocol": "tcp", "udp-data": "hostname", "sctp-data": "hostname"}
_KINDS = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_STREAM, _SCTP)}


def run(args: Sequence[str]) -> int:
    """Probe and return the exit code. Raises UsageError."""
    flags, rest = parse(args, _DEFAULTS)
    if len(rest) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(rest)}")
    protocol = flags["protocol"] or "tcp"
    if protocol not in _KINDS:
        raise UsageError(f"Unsupported protocol {protocol}")
    data = flags.get(f"{protocol}-data")
    verdict = probe(rest[0], protocol, duration_s(flags["timeout"]) or None, data)
    if verdict is not None:
        sys.stderr.write(verdict + "\n")
        return 1
    return 0


def probe(target: str, protocol: str, timeout_s: float | None, data: str | None) -> str | None:
    """None when it worked, else the verdict. Sends `data` and waits for any answer, except over TCP."""
    host, colon, port = target.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return f"UNKNOWN: address {target}: missing port in address or too many colons"
    kind, number = _KINDS[protocol]
    try:
        found = socket.getaddrinfo(host.strip("[]") or "localhost", port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"DNS: {error.strerror or error}"
    verdict: str | None = "DNS: no addresses"
    for family, _type, _proto, _name, address in found:
        verdict = _try(family, kind, number, address, timeout_s, data)
        if verdict is None:
            return None
    return verdict


def _try(family: int, kind: int, number: int, address: object, timeout_s: float | None, data: str | None) -> str | None:
    try:
        with socket.socket(family, kind, number) as sock:
            sock.settimeout(timeout_s)
            sock.connect(address)  # type: ignore[arg-type]
            if data is None:
                return None
            sock.sendall(data.encode() + b"\n")
            if not sock.recv(1024):
                return "OTHER: No data received from the server."
    except TimeoutError:
        return "TIMEOUT"
    except ConnectionRefusedError:
        return "REFUSED"
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            return "TIMEOUT"
        return f"OTHER: {error.strerror or error}"
    return None
