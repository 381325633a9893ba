"""Reading container logs as `kubectl logs` asks for them: from the CRI files that the pod's init writes.

Sources: core/v1 PodLogOptions and the CRI log format, `<RFC3339Nano> <stream> <F|P> <text>`.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_POLL_S = 0.1
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What of a log is wanted."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: float | None = None
    """Unix seconds; older lines are left out."""
    stream: str | None = None
    """`stdout` or `stderr`; None for both."""


def parse_options(query: Mapping[str, str], now: float) -> LogOptions:
    """Return the options in a query string; raises ValueError naming the parameter."""
    since = None
    if seconds := _number(query, "sinceSeconds"):
        since = now - seconds
    elif text := query.get("sinceTime"):
        try:
            since = datetime.datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise ValueError(f'sinceTime: "{text}" is no RFC 3339 time') from None
    stream = query.get("stream", "All").lower()
    return LogOptions(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail_lines=_number(query, "tailLines"),
        limit_bytes=_number(query, "limitBytes"),
        since=since,
        stream=stream if stream in ("stdout", "stderr") else None,
    )


async def read_log(path: Path, options: LogOptions, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the log's text; with `follow` until `alive()` is False and everything written before has been read."""
    left = options.limit_bytes
    shown = _Shown(options)
    lines: Iterator[bytes] | deque[bytes] = shown.select(_lines_before(path))
    file = _open(path)
    try:
        if options.tail_lines is not None:
            tail: deque[bytes] = deque(maxlen=options.tail_lines)
            tail.extend(lines)
            if file is not None:
                tail.extend(shown.select(_complete_lines(file)))
            lines = tail
        async for chunk in _follow(path, file, lines, shown, options, alive):
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                return
    finally:
        if file is not None and not file.closed:
            file.close()


async def _follow(
    path: Path,
    file: BinaryIO | None,
    lines: Iterator[bytes] | deque[bytes],
    shown: _Shown,
    options: LogOptions,
    alive: Callable[[], bool],
) -> AsyncIterator[bytes]:
    for chunk in _joined(lines):
        yield chunk
    while True:
        # Asked before reading: what a container wrote before it ended is then never missed.
        running = options.follow and alive()
        if file is None:
            file = _open(path)
        if file is not None:
            for chunk in _joined(shown.select(_complete_lines(file))):
                yield chunk
            if _replaced(path, file):
                file.close()
                file = _open(path)
                continue
        if not running:
            if file is not None:
                file.close()
            return
        await asyncio.sleep(_POLL_S)


class _Shown:
    """Turns records into what the options ask to see."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._stream = options.stream.encode() if options.stream else None
        self._since = _stamp(options.since) if options.since is not None else b""

    def select(self, records: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the visible text of each record that is wanted."""
        for record in records:
            parts = record.split(b" ", 3)
            if len(parts) < 4:
                continue
            at, stream, tag, text = parts
            if (self._stream and stream != self._stream) or at < self._since:
                continue
            if tag[:1] == b"P":
                text = text.removesuffix(b"\n")
            yield at + b" " + text if self._options.timestamps else text


def _lines_before(path: Path) -> Iterator[bytes]:
    """Yield the records of the file that was rotated away."""
    rotated = _open(path.with_name(path.name + ".1"))
    if rotated is not None:
        with rotated:
            yield from _complete_lines(rotated)


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines up to the end of the file; an unfinished one is left for the next call."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line


def _joined(lines: Iterator[bytes] | deque[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _replaced(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _stamp(seconds: float) -> bytes:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 10**9):09d}Z".encode()


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'{name}: "{text}" is no number') from None
