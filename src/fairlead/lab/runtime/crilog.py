"""A container's log file in the format of the Kubernetes CRI, bounded in size.

Each line is `<RFC3339Nano> <stdout|stderr> <F|P> <text>`; P marks a piece of a line longer than 16 KiB (design proposal
"CRI: log management for container stdout/stderr streams"). Written by the pod's init, so it goes on while no kubelet runs. A full disk loses
log lines and never stops the pod.
"""

from __future__ import annotations

import os
import time

_LONGEST_LINE = 16384


class CriLog:
    """Append-only writer of one attempt's log, with one predecessor kept at `<path>.1`."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append whole records; rotates first when they would exceed the bound."""
        try:
            if self._size + len(data) > self._max_bytes and self._size:
                os.close(self._fd)
                os.replace(self._path, self._path + ".1")  # noqa: PTH105
                self._open()
            self._size += os.write(self._fd, data)
        except OSError:
            return

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)


class LineFramer:
    """Turns the bytes of one stream into records. `frame` keeps an unfinished line until its end arrives."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._stream = stream.encode()
        self._rest = b""

    def frame(self, data: bytes, now_ns: int) -> bytes:
        """Records for all lines that `data` completes, and for pieces of those that are too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        stamp = timestamp(now_ns)
        records = []
        for line in lines:
            while len(line) > _LONGEST_LINE:
                records.append(self._record(stamp, b"P", line[:_LONGEST_LINE]))
                line = line[_LONGEST_LINE:]
            records.append(self._record(stamp, b"F", line))
        while len(self._rest) > _LONGEST_LINE:
            records.append(self._record(stamp, b"P", self._rest[:_LONGEST_LINE]))
            self._rest = self._rest[_LONGEST_LINE:]
        return b"".join(records)

    def flush(self, now_ns: int) -> bytes:
        """The record of a last line without newline."""
        if not self._rest:
            return b""
        record = self._record(timestamp(now_ns), b"F", self._rest)
        self._rest = b""
        return record

    def _record(self, stamp: bytes, tag: bytes, line: bytes) -> bytes:
        return b"%s %s %s %s\n" % (stamp, self._stream, tag, line)


def timestamp(now_ns: int) -> bytes:
    """RFC 3339 with nanoseconds in UTC, as Go's RFC3339NanoFixed that kubelets parse."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % rest
