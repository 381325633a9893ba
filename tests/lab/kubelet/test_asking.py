"""Questions over real loopback sockets, both address families."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from fairlead.lab.kubelet.asking import grpc_health, http_get, tcp_connect

FAMILIES = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


@contextlib.asynccontextmanager
async def serving(host, handle):
    handlers = []

    async def handled(reader, writer):
        handlers.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(handled, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*handlers)


def answering(*replies):
    """Serve one reply per connection and keep the requests."""
    requests, left = [], list(replies)

    async def handle(reader, writer):
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(left.pop(0).encode())
        writer.close()

    return handle, requests


def free_port(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


def url(host, port, path="/"):
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


@FAMILIES
async def test_http_by_status(host):
    handle, requests = answering("HTTP/1.1 204 x\r\n\r\n", "HTTP/1.1 503 x\r\n\r\n")
    async with serving(host, handle) as port:
        assert (await http_get(url(host, port, "/a?b=c"), [("X-A", "1"), ("Host", "me")], 5)).ok
        answer = await http_get(url(host, port), [], 5)
    assert (answer.ok, answer.message) == (False, "HTTP probe failed with statuscode: 503")
    assert requests[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert "X-A: 1\r\n" in requests[0]
    assert requests[0].count("Host: ") == 1


async def test_redirects_are_followed_on_the_same_host_only():
    handle, requests = answering(
        "HTTP/1.1 302 x\r\nLocation: /next\r\n\r\n",
        "HTTP/1.1 500 x\r\n\r\n",
        "HTTP/1.1 302 x\r\nLocation: http://other.example/\r\n\r\n",
    )
    async with serving("127.0.0.1", handle) as port:
        assert not (await http_get(url("127.0.0.1", port), [], 5)).ok
        assert (await http_get(url("127.0.0.1", port), [], 5)).ok
    assert [request.split(" ")[1] for request in requests] == ["/", "/next", "/"]


@FAMILIES
async def test_refusals_are_worded_as_in_go(host):
    port = free_port(host)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    refused = f"dial tcp {shown}: connect: connection refused"
    assert (await tcp_connect(host, port, 5)).message == refused
    assert (await http_get(url(host, port), [], 5)).message == f'Get "http://{shown}/": {refused}'
    assert refused in (await grpc_health(host, port, "", 5)).message


@FAMILIES
async def test_tcp(host):
    async def handle(reader, writer):
        writer.close()

    async with serving(host, handle) as port:
        assert (await tcp_connect(host, port, 5)).ok


async def test_silence_times_out():
    async def handle(reader, writer):
        await reader.read()
        writer.close()

    async with serving("127.0.0.1", handle) as port:
        assert "context deadline exceeded" in (await http_get(url("127.0.0.1", port), [], 0.05)).message
        assert "context deadline exceeded" in (await grpc_health("127.0.0.1", port, "", 0.05)).message


async def test_what_is_no_http_is_a_failure():
    handle, _ = answering("SSH-2.0-x\r\n\r\n", "")
    async with serving("127.0.0.1", handle) as port:
        assert "malformed HTTP response" in (await http_get(url("127.0.0.1", port), [], 5)).message
        assert not (await http_get(url("127.0.0.1", port), [], 5)).ok


def health(status, body):
    """Serve one gRPC health check."""

    async def handle(reader, writer):
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.events import StreamEnded

        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, StreamEnded):
                    connection.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
                    if body is not None:
                        connection.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body)
                    connection.send_headers(1, [("grpc-status", status)], end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    return handle


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        ("0", b"\x08\x01", ""),
        ("0", b"\x08\x02", 'service unhealthy (responded with "NOT_SERVING")'),
        ("0", b"", 'service unhealthy (responded with "UNKNOWN")'),
        ("12", None, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"),
        ("5", None, 'error: health rpc failed: unknown service "db"'),
    ],
)
async def test_grpc(status, body, message):
    async with serving("127.0.0.1", health(status, body)) as port:
        answer = await grpc_health("127.0.0.1", port, "db", 5)
    assert (answer.ok, answer.message) == (not message, message)
