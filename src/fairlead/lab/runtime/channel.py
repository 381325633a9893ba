"""The runtime's end of a connection to a pod's init or to the fork server: requests with answers, and events.

Closing is an ordinary event here: a killed init is how a pod ends. Must never block the event loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path

from fairlead.lab.runtime import wire
from fairlead.lab.runtime.spec import CommandMissing, ContainerMissing, RuntimeFault

_FAULTS = {"command": CommandMissing, "container": ContainerMissing}


class Channel:
    """One connection. `on_event` gets messages that answer nothing, `on_close` is called once at the end."""

    def __init__(
        self, sock: socket.socket, on_event: Callable[[wire.Message], None], on_close: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._sock, self._on_event, self._on_close = sock, on_event, on_close
        self._loop = asyncio.get_running_loop()
        self._decoder = wire.Decoder()
        self._waiting: dict[int, asyncio.Future[wire.Message]] = {}
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._number = 0
        self._open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    def connect(
        cls, folder: Path, name: str, on_event: Callable[[wire.Message], None], on_close: Callable[[], None]
    ) -> Channel:
        """Connect to the Unix socket `name` in `folder`, however long the path is. Raises OSError when nobody listens."""
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(f"/proc/self/fd/{place}/{name}")
        except OSError:
            sock.close()
            raise
        finally:
            os.close(place)
        return cls(sock, on_event, on_close)

    @property
    def is_open(self) -> bool:
        """Whether the other end is still there, as far as is known."""
        return self._open

    def peer_pid(self) -> int:
        """Process id of the process that called listen(2), in this process's PID namespace."""
        credentials = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid

    def next_number(self) -> int:
        """The id that the next request will carry, for events that refer to it."""
        return self._number + 1

    async def request(self, message: wire.Message, fds: tuple[int, ...] = ()) -> wire.Message:
        """Send and wait for the answer; `fds` must stay open until then.

        Raises RuntimeFault (or the kind the answer names) when refused and wire.Closed when the other end goes away.
        """
        if not self._open:
            raise wire.Closed
        self._number += 1
        number = self._number
        answer: asyncio.Future[wire.Message] = self._loop.create_future()
        self._waiting[number] = answer
        self._unsent.append((memoryview(wire.encode({**message, "id": number}, len(fds))), fds))
        if len(self._unsent) == 1:
            self._flush()
        try:
            reply = await answer
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            raise _FAULTS.get(reply.get("kind", ""), RuntimeFault)(reply["error"])
        return reply

    def close(self) -> None:
        """Hang up; waiting requests raise wire.Closed."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._decoder.close()
        self._sock.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(wire.Closed())
        self._on_close()

    def _flush(self) -> None:
        while self._unsent and self._open:
            data, fds = self._unsent[0]
            try:
                sent = socket.send_fds(self._sock, [data], list(fds)) if fds else self._sock.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except OSError:
                self._loop.call_soon(self.close)
                return
            if sent < len(data):
                self._unsent[0] = (data[sent:], ())
            else:
                self._unsent.popleft()
        if self._open:
            self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            messages = wire.receive(self._sock, self._decoder)
        except BlockingIOError:
            return
        except (wire.Closed, OSError):
            self.close()
            return
        for message in messages:
            answer = self._waiting.get(message.get("id", 0))
            if answer is None:
                self._on_event(message)
            elif not answer.done():
                answer.set_result(message)
