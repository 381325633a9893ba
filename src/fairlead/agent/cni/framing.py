"""How the plugin executable and the agent's socket speak: one request, one reply, then both close.

Request: `VERB 1 M N\\n`, then M bytes of arguments (`KEY=VALUE` joined by NUL) and N bytes of body. Reply: `EXIT N\\n`, then N bytes.
The lengths come first so that a reply that was cut short is never mistaken for a whole one. `plugin.py` holds its own copy of
this, because it may import nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

FORMAT = 1
MOST_HEADER_BYTES = 64
MOST_ARGUMENT_BYTES = 64 << 10


class FrameError(Exception):
    """Bytes that are no request or no reply."""


class Header(msgspec.Struct, frozen=True):
    """The first line of a request."""

    verb: str
    arguments_bytes: int
    body_bytes: int


def request(verb: str, arguments: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a request."""
    packed = b"\0".join(f"{key}={value}".encode("utf-8", "surrogateescape") for key, value in arguments.items())
    return b"%s %d %d %d\n" % (verb.encode(), FORMAT, len(packed), len(body)) + packed + body


def parse_header(line: bytes, most_body_bytes: int) -> Header:
    """Return the meaning of a request's first line; raises FrameError, also when it promises more than `most_body_bytes`."""
    parts = line.split()
    try:
        verb, version, arguments, body = parts[0].decode("ascii"), *map(int, parts[1:])
    except (ValueError, IndexError) as error:
        raise FrameError(f"not a request: {line[:MOST_HEADER_BYTES]!r}") from error
    if version != FORMAT:
        raise FrameError(f"request format {version}, this agent speaks {FORMAT}")
    if not 0 <= arguments <= MOST_ARGUMENT_BYTES or not 0 <= body <= most_body_bytes:
        raise FrameError(f"request too large: {arguments} bytes of arguments, {body} bytes of body")
    return Header(verb, arguments, body)


def parse_arguments(packed: bytes) -> dict[str, str]:
    """Return the arguments of a request; those without `=` are dropped."""
    pairs = (part.partition("=") for part in packed.decode("utf-8", "surrogateescape").split("\0"))
    return {key: value for key, separator, value in pairs if separator}


def reply(exit_code: int, output: bytes) -> bytes:
    """Return the bytes of a reply."""
    return b"%d %d\n" % (exit_code, len(output)) + output


def parse_reply(data: bytes) -> tuple[int, bytes]:
    """Return (exit code, output) of a whole reply; raises FrameError for anything less."""
    head, newline, output = data.partition(b"\n")
    try:
        exit_code, length = map(int, head.split())
    except ValueError as error:
        raise FrameError(f"not a reply: {head[:MOST_HEADER_BYTES]!r}") from error
    if not newline or len(output) != length:
        raise FrameError(f"reply cut short: {len(output)} of {length} bytes")
    return exit_code, output
