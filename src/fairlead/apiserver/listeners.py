"""Sockets to listen on, also inside of other network namespaces, and the TLS of the server.

A listening socket belongs to the namespace in which it was made, whatever namespace its process is in: a thread that goes away
afterwards makes it there.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from fairlead.base.errors import UserError

_CLONE_NEWNET = 0x40000000
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_BACKLOG = 1024
_FORM = re.compile(r"(?:netns=(?P<netns>[^,]+),)?(?:\[(?P<bracketed>[^\]]+)\]|(?P<plain>[^:\[\]]+)):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; `netns` is the path of a network namespace or None for the process's own."""

    host: str
    port: int
    netns: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address in `[netns=PATH,]HOST:PORT`, HOST possibly in brackets; raises UserError."""
        found = _FORM.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise UserError(
                f"--listen {text!r} is no address", fix="write HOST:PORT or netns=/run/netns/NAME,[HOST]:PORT"
            )
        host = found["bracketed"] or found["plain"]
        return cls(host, int(found["port"]), Path(found["netns"]) if found["netns"] else None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f" in {self.netns.name}" if self.netns else "")


def listen(address: Address) -> socket.socket:
    """Return a listening socket at `address`; raises UserError."""
    try:
        return _open(address) if address.netns is None else _open_inside(address, address.netns)
    except OSError as error:
        raise UserError(f"cannot listen on {address}: {error.strerror or error}") from None


class _Telling(ssl.SSLObject):
    """A connection whose client is told why its certificate is refused.

    Event loops drop a connection whose handshake failed before they have sent the alert that says so; the client would see an end
    without a reason, and try again for ten seconds. So the failure is held back until the alert is out: to "wait for the client"
    sends what is pending. The handshake can never succeed afterwards; the loop's own deadline bounds a client that stays.
    """

    _refusal: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """See SSLObject; raises SSLWantReadError once before the refusal of a certificate."""
        if self._refusal is not None:
            raise self._refusal
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            self._refusal = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the refusal is being sent") from error


def tls(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """Return the server's TLS: clients may show a certificate, which `authority` must have signed; raises UserError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.sslobject_class = _Telling
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"cannot use the certificates beside {certificate}: {error}") from None
    return context


def _open(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            # The address may still be on its way to the link.
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_inside(address: Address, netns: Path) -> socket.socket:
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            _enter(netns)
            made.append(_open(address))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="listen-in-namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _enter(netns: Path) -> None:
    """Move the calling thread into `netns`."""
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(netns))
    finally:
        os.close(descriptor)
