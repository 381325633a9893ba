"""What /dial of netexec does: ask another pod over HTTP, UDP or SCTP, several times, and collect answers and errors."""

from __future__ import annotations

import socket

PROTOCOLS = ("http", "udp", "sctp")
_TIMEOUT_S = 5.0
_SCTP = 132
_MAX_ANSWER = 1 << 20


def attempts(host: str, port: str, request: str, protocol: str, tries: int) -> tuple[dict[str, list[str]], int]:
    """The JSON object with `responses` and `errors`, and the HTTP status. Blocks up to 5 s per attempt."""
    responses: list[str] = []
    errors: list[str] = []
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return {"errors": [f"host and/or port param are invalid. {error}"]}, 400
    for _ in range(tries):
        try:
            responses.append(_ask(address[0], address[4], host, request, protocol).decode(errors="replace"))
        except OSError as error:
            errors.append(f"{protocol} dial failed: {error}")
    output = {"responses": responses} if responses else {}
    return {**output, **({"errors": errors} if errors else {})}, 200


def _ask(family: int, address: object, host: str, request: str, protocol: str) -> bytes:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind, _SCTP if protocol == "sctp" else 0) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.connect(address)  # type: ignore[arg-type]
        if protocol != "http":
            sock.sendall(request.encode())
            return sock.recv(2048)
        name = f"[{host}]" if ":" in host else host
        sock.sendall(f"GET /{request.lstrip('/')} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) < _MAX_ANSWER:
            piece = sock.recv(65536)
            if not piece:
                break
            answer += piece
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/"):
        raise OSError("malformed HTTP response")
    return body
