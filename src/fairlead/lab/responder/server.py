"""Sockets of a small server: listeners on both IP families, connections with back-pressure, datagrams, graceful end.

Protocols are objects with `feed` and `drain`; this file is the only one that touches sockets. A client can never block another or grow
the process without bound.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol

from fairlead.lab.loop import READ, WRITE, Loop

_CHUNK = 1 << 16
_UNSENT_PAUSE = 1 << 20
_MAX_CONNECTIONS = 4096
_IPPROTO_SCTP = 132
_IPV6_RECVPKTINFO, _IPV6_PKTINFO, _IP_PKTINFO = 49, 50, 8


class Speaker(Protocol):
    """One protocol on one connection."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the client; b"" is the end of its input."""

    def drain(self) -> None:
        """The server ends: finish what is under way, then close the connection."""


class Connection:
    """A stream to one client, for the protocol that speaks on it."""

    def __init__(self, server: Server, sock: socket.socket, client: str) -> None:
        self.client = client
        """Address and port of the client, IPv6 in brackets."""
        self.speaker: Speaker
        self._server, self._sock = server, sock
        self._unsent = bytearray()
        self._closing = False
        self._input_ended = False
        self.open = True

    @property
    def leaving(self) -> bool:
        """Tell whether the server will end."""
        return self._server.leaving

    def write(self, data: bytes) -> None:
        """Send, now or when the client takes it."""
        if not self.open:
            return
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            data = data[sent:]
        self._unsent += data
        self._watch()

    def finish(self) -> None:
        """Close once everything is sent."""
        self._closing = True
        if not self._unsent:
            self.close()

    def close(self) -> None:
        """Close now."""
        if self.open:
            self.open = False
            self._server.loop.remove(self._sock.fileno())
            self._sock.close()
            self._server.forget(self)

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Call after a delay unless the connection has been closed by then."""
        self._server.loop.later(delay_s, lambda: work() if self.open else None)

    def start(self) -> None:
        """Begin to read."""
        self._server.loop.add(self._sock.fileno(), READ, self._ready)

    def _watch(self) -> None:
        if self.open:
            reading = not self._input_ended and not self._closing and len(self._unsent) < _UNSENT_PAUSE
            self._server.loop.change(self._sock.fileno(), (READ if reading else 0) | (WRITE if self._unsent else 0))

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self.open and events & ~WRITE:
            self._read()

    def _flush(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self._closing and not self._unsent:
            self.close()
        self._watch()

    def _read(self) -> None:
        if self._input_ended or self._closing:  # an error or a full hang-up while only the output is watched
            self.close()
            return
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._input_ended = not data
        if data:
            self._server.heard()
        self.speaker.feed(data)
        self._watch()


class Server:
    """Listeners and connections of one process. `speak` chooses the protocol of a new stream connection."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._connections: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._ending = False
        self.leaving = False
        """It will end, and clients had better go elsewhere."""
        self._heard = 0.0

    def listen(self, port: int, speak: Callable[[Connection], Speaker], *, sctp: bool = False) -> None:
        """Serve a TCP (or one-to-one SCTP) port on IPv4 and IPv6. Raises OSError, EPROTONOSUPPORT without SCTP."""
        protocol = _IPPROTO_SCTP if sctp else 0
        try:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            host = "::"
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            sock, host = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol), ""
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        self._sockets.append(sock)
        self.loop.add(sock.fileno(), READ, lambda _events: self._accept(sock, speak))

    def listen_datagrams(self, port: int, answer: Callable[[bytes, str], bytes | None]) -> None:
        """Answer UDP datagrams on IPv4 and IPv6, from the address that each was sent to. Raises OSError."""
        for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    continue
                raise
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._sockets.append(sock)
            sock.bind((host, port))
            sock.setblocking(False)
            self.loop.add(sock.fileno(), READ, self._datagrams(sock, answer))

    def end_when_quiet(self, quiet_s: float, at_most_s: float) -> None:
        """Serve on until nobody has asked for a while, as who sends requests may hear later that we end; then `end`.

        Every answer on the way says that its connection is the client's to leave.
        """
        if not self.leaving:
            self.leaving = True
            self._heard = time.monotonic()
            self._end_if_quiet(quiet_s, time.monotonic() + at_most_s)

    def _end_if_quiet(self, quiet_s: float, latest: float) -> None:
        now = time.monotonic()
        if now >= min(self._heard + quiet_s, latest):
            self.end()
        else:
            self.loop.later(min(self._heard + quiet_s, latest) - now, lambda: self._end_if_quiet(quiet_s, latest))

    def heard(self) -> None:
        """Note that somebody asked."""
        self._heard = time.monotonic()

    def end(self) -> None:
        """Stop accepting, let each connection finish, then stop the loop with code 0."""
        if self._ending:
            return
        self._ending = True
        self.close_listeners()
        for connection in list(self._connections):
            connection.speaker.drain()
        self._stop_when_idle()

    def close_listeners(self) -> None:
        """Refuse new connections."""
        for sock in self._sockets:
            self.loop.remove(sock.fileno())
            sock.close()
        self._sockets.clear()

    def forget(self, connection: Connection) -> None:
        """Called by a connection that has closed."""
        self._connections.discard(connection)
        self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        if self._ending and not self._connections:
            self.loop.stop(0)

    def _accept(self, listener: socket.socket, speak: Callable[[Connection], Speaker]) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        if listener.proto != _IPPROTO_SCTP:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, sock, address_text(address))
        connection.speaker = speak(connection)
        self._connections.add(connection)
        connection.start()

    def _datagrams(self, sock: socket.socket, answer: Callable[[bytes, str], bytes | None]) -> Callable[[int], None]:
        level, kind = (
            (socket.IPPROTO_IPV6, _IPV6_PKTINFO) if sock.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_PKTINFO)
        )

        def ready(_events: int) -> None:
            try:
                data, ancillary, _flags, address = sock.recvmsg(_CHUNK, 256)
                reply = answer(data, address_text(address))
                if reply is not None:
                    sock.sendmsg(
                        [reply], [_reply_from(item) for item in ancillary if item[:2] == (level, kind)], 0, address
                    )
            except OSError:  # nothing there after all, or the client is unreachable
                return

        return ready


def _reply_from(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Control data that makes a reply leave from the address its request came to."""
    level, kind, payload = item
    if level == socket.IPPROTO_IPV6:
        return level, kind, payload[:16] + struct.pack("I", 0)
    _interface, local, _destination = struct.unpack("I4s4s", payload)
    return level, kind, struct.pack("I4s4s", 0, local, b"\0" * 4)


def address_text(address: tuple[object, ...]) -> str:
    """`host:port` of a socket address, IPv4 also when it was mapped into IPv6."""
    host, port = str(address[0]).partition("%")[0], address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def complain(text: str) -> None:
    """Say something in the container's log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
