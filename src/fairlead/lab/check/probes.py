"""Single probes: one exchange of real packets between two places, and what it shows.

Both ends are sockets of this process inside the places' namespaces, so that a probe sees exactly what the receiver sees: the
sender's address, and whether a datagram of a given size arrives unfragmented.
"""

from __future__ import annotations

import errno
import secrets
import socket

from fairlead.lab.check.places import Family, Place
from fairlead.lab.netns import make_socket

TIMEOUT_S = 2.0

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_IP_BYTES = {4: 20, 6: 40}
_UDP_BYTES = 8
# <linux/in.h>, <linux/in6.h>: set the don't-fragment bit and believe no cached path MTU.
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_PMTUDISC_PROBE = 3


class Failed(Exception):
    """A probe that did not show what it should; the message says what was seen instead."""


def tcp(source: Place, target: Place, family: Family, *, expect_source: str | None) -> None:
    """Connect and exchange bytes both ways; the receiver must see `expect_source` (None: anything) as the peer."""
    with make_socket(target.netns, _FAMILY[family], socket.SOCK_STREAM) as listener:
        listener.settimeout(TIMEOUT_S)
        listener.bind((target.addresses[family], 0))
        listener.listen(1)
        with make_socket(source.netns, _FAMILY[family], socket.SOCK_STREAM) as client:
            client.settimeout(TIMEOUT_S)
            try:
                client.connect((target.addresses[family], listener.getsockname()[1]))
                server, peer = listener.accept()
            except OSError as error:
                raise Failed(f"no connection: {error}") from error
            with server:
                server.settimeout(TIMEOUT_S)
                _exchange(client, server)
                _exchange(server, client)
            _expect(peer[0], expect_source)


def udp(source: Place, target: Place, family: Family, *, expect_source: str | None) -> None:
    """Send a datagram and its reply; the receiver must see `expect_source` (None: anything) as the sender."""
    with (
        make_socket(target.netns, _FAMILY[family], socket.SOCK_DGRAM) as server,
        make_socket(source.netns, _FAMILY[family], socket.SOCK_DGRAM) as client,
    ):
        server.settimeout(TIMEOUT_S)
        client.settimeout(TIMEOUT_S)
        server.bind((target.addresses[family], 0))
        token = secrets.token_bytes(16)
        try:
            client.sendto(token, (target.addresses[family], server.getsockname()[1]))
            data, peer = server.recvfrom(64)
            server.sendto(data[::-1], peer)
            reply, _ = client.recvfrom(64)
        except OSError as error:
            raise Failed(f"no exchange: {error}") from error
        if (data, reply) != (token, token[::-1]):
            raise Failed("the datagram changed on its way")
        _expect(peer[0], expect_source)


def mtu(source: Place, target: Place, family: Family) -> None:
    """Send a datagram of exactly the source's MTU with don't-fragment set: it must arrive, and one byte more must not be sent."""
    payload = source.mtu_bytes - _IP_BYTES[family] - _UDP_BYTES
    with (
        make_socket(target.netns, _FAMILY[family], socket.SOCK_DGRAM) as server,
        make_socket(source.netns, _FAMILY[family], socket.SOCK_DGRAM) as client,
    ):
        server.settimeout(TIMEOUT_S)
        server.bind((target.addresses[family], 0))
        destination = (target.addresses[family], server.getsockname()[1])
        client.setsockopt(*_MTU_DISCOVER[family], _PMTUDISC_PROBE)
        try:
            client.sendto(b"x" * payload, destination)
            received = len(server.recv(65535))
        except OSError as error:
            raise Failed(f"a packet of {source.mtu_bytes} bytes does not arrive: {error}") from error
        if received != payload:
            raise Failed(f"{received} of {payload} bytes arrived")
        try:
            client.sendto(b"x" * (payload + 1), destination)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise Failed(f"a packet over the MTU: {error}") from error
        else:
            raise Failed(f"a packet of {source.mtu_bytes + 1} bytes was sent although the MTU is {source.mtu_bytes}")


def http(source: Place, address: str, port: int, host: str) -> bytes:
    """Return the body of GET / of `host` at address and port, asked from `source`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with make_socket(source.netns, family, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect((address, port))
            client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        except OSError as error:
            raise Failed(f"no answer from {address} port {port}: {error}") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise Failed(f"answered {head.splitlines()[:1]!r}")
    return body


def resolve(source: Place, server: str, name: str, kind: str) -> list[str]:
    """Return the addresses that DNS `server` gives for `name` (record type `kind`), asked over UDP from `source`."""
    import dns.exception
    import dns.message
    import dns.rcode
    import dns.rdatatype

    query = dns.message.make_query(name, kind)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with make_socket(source.netns, family, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect((server, 53))
            client.send(query.to_wire())
            answer = dns.message.from_wire(client.recv(65535))
        except (OSError, dns.exception.DNSException) as error:
            raise Failed(f"DNS server {server} does not answer for {name}: {error}") from error
    if answer.id != query.id or answer.rcode() != dns.rcode.NOERROR:
        raise Failed(f"{name} {kind}: {dns.rcode.to_text(answer.rcode())}")
    wanted = dns.rdatatype.from_text(kind)
    found = sorted(str(item) for rrset in answer.answer if rrset.rdtype == wanted for item in rrset)
    if not found:
        raise Failed(f"{name} {kind}: no records")
    return found


def _exchange(sender: socket.socket, receiver: socket.socket) -> None:
    token = secrets.token_bytes(16)
    try:
        sender.sendall(token)
        received = receiver.recv(64)
    except OSError as error:
        raise Failed(f"connected, but no data: {error}") from error
    if received != token:
        raise Failed("the bytes changed on their way")


def _expect(seen: str, expected: str | None) -> None:
    if expected is not None and seen != expected:
        raise Failed(f"the receiver sees {seen} instead of {expected}")
