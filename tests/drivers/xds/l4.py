"""Servers and clients of connections and datagrams for tests of Gateways: each server says who it is before what it heard."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import cast

from tests.drivers.xds.gatewaylab import GatewayLab

_ANSWER_S = 2.0
REFUSED = "refused"
"""What `ask` and `ask_udp` return where nobody answers."""


class Echo(asyncio.Protocol):
    """Answers each piece with its name before it, and greets when it is told to."""

    def __init__(self, name: str, greeting: bytes = b"") -> None:
        self._name, self._greeting = name.encode(), greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._name + b":" + data)


class UdpEcho(asyncio.DatagramProtocol):
    """The same for datagrams."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport of datagrams is no subclass of DatagramTransport.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(self._name + b":" + data, address)


class Echoes:
    """Servers that end together."""

    def __init__(self, lab: GatewayLab) -> None:
        self._lab = lab
        self._open: list[asyncio.AbstractServer | asyncio.DatagramTransport] = []

    async def tcp(self, name: str, *, tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> None:
        """Start a server behind a Service of its name, TCP port 7."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Echo(name, greeting), "127.0.0.1", 0, ssl=tls)
        self._open.append(server)
        await self.service(name, [server.sockets[0].getsockname()[1]])

    async def udp(self, name: str, count: int = 1, namespace: str = "default") -> None:
        """Start servers behind a Service of their name, UDP port 7."""
        ports = []
        for _ in range(count):
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: UdpEcho(name), local_addr=("127.0.0.1", 0))
            self._open.append(transport)
            ports.append(transport.get_extra_info("sockname")[1])
        await self.service(name, ports, "UDP", namespace)

    async def service(self, name: str, ports: Sequence[int], protocol: str = "TCP", namespace: str = "default") -> None:
        """Make a Service, port 7, whose endpoints are these ports of loopback. The other protocol's port 7 leads nowhere."""
        other = "UDP" if protocol == "TCP" else "TCP"
        slices = "".join(
            f"""
---
kind: EndpointSlice
metadata: {{name: {name}-{at}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{name: echo, port: {port}, protocol: {protocol}}}]
"""
            for at, port in enumerate(ports)
        )
        await self._lab.apply(
            f"""
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  clusterIP: 10.96.0.98
  ports: [{{name: other, port: 7, protocol: {other}}}, {{name: echo, port: 7, protocol: {protocol}}}]
{slices}"""
        )

    async def stop(self) -> None:
        for each in self._open:
            each.close()


@contextlib.asynccontextmanager
async def connected(
    port: int, *, name: str = "", tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a Gateway; raises OSError and TimeoutError."""
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(address, port, ssl=tls, server_hostname=name if tls is not None else None), _ANSWER_S
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Say something and return who answers; raises OSError."""
    writer.write(b"hello")
    said = await asyncio.wait_for(reader.read(100), _ANSWER_S)
    return said.decode().removesuffix(":hello") if said else REFUSED


async def ask(port: int, *, name: str = "", tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> str:
    """Return who is behind a Gateway's TCP port, `REFUSED` when nobody is."""
    try:
        async with connected(port, name=name, tls=tls, address=address) as (reader, writer):
            return await exchange(reader, writer)
    except (OSError, ssl.SSLError):
        return REFUSED


async def ask_udp(
    port: int, address: str = "127.0.0.1", *, sock: socket.socket | None = None, wait_s: float = 2.0
) -> str:
    """Return who is behind a Gateway's UDP port, `REFUSED` when nobody answers in time; with `sock`, as one client more than once."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own = sock or socket.socket(family, socket.SOCK_DGRAM)
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendto(own, b"hello", (address, port))
        said = await asyncio.wait_for(loop.sock_recv(own, 100), wait_s)
        return said.decode().removesuffix(":hello")
    except (OSError, TimeoutError):
        return REFUSED
    finally:
        if sock is None:
            own.close()
