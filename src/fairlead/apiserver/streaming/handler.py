"""The HTTP side of exec, attach and port-forward: finds out what the client speaks and joins it to the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aiohttp import web

from fairlead.apiserver.streaming import port_forward, remote_command
from fairlead.apiserver.streaming.kubelet_stream import Refused, Stream, connect
from fairlead.apiserver.streaming.session import SpdySession
from fairlead.apiserver.streaming.transport import RawPipe, WebSocketPipe

Subresource = Literal["exec", "attach", "portforward"]
_PROTOCOL_HEADER = "X-Stream-Protocol-Version"


class BadUpgrade(Exception):
    """The request asks for no upgrade that the server speaks; answer 400 with the message."""


async def handle(
    request: web.Request,
    *,
    subresource: Subresource,
    kubelet: Path,
    namespace: str,
    pod: str,
    container: str = "",
) -> web.StreamResponse:
    """Serve one streaming request until it ends.

    `kubelet` is the socket of the pod's kubelet. Raises `Refused` with the kubelet's code and words, or `BadUpgrade`, both
    before the connection is upgraded, so that the caller can answer with a Status.
    """
    if subresource == "portforward":
        return await _port_forward(request, kubelet, f"/portForward/{namespace}/{pod}")
    path = f"/{subresource}/{namespace}/{pod}/{container}"
    options = [(name, value) for name, value in request.query.items() if name != "container"]
    return await _remote_command(request, kubelet, path, options)


async def _remote_command(
    request: web.Request, kubelet: Path, path: str, options: Sequence[tuple[str, str]]
) -> web.StreamResponse:
    if _is_websocket(request):
        socket = _websocket(request, remote_command.WEBSOCKET_PROTOCOLS)
        stream = await connect(kubelet, path, options)
        await socket.prepare(request)
        await remote_command.join(remote_command.WebSocketClient(socket), stream)
        await socket.close()
        return socket
    protocol = _spdy_protocol(request, remote_command.SPDY_PROTOCOLS)
    stream = await connect(kubelet, path, options)
    pipe, response = await RawPipe.take_over(request, {"Upgrade": "SPDY/3.1", _PROTOCOL_HEADER: protocol})
    session = SpdySession(pipe)
    running = asyncio.create_task(session.run())
    try:
        client = await remote_command.SpdyClient.accept(session, remote_command.wanted_streams(request.query))
        if client is None:
            await stream.close()
        else:
            running.add_done_callback(lambda _: client.gone())
            await remote_command.join(client, stream)
            await client.close()
        await session.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return response


async def _port_forward(request: web.Request, kubelet: Path, path: str) -> web.StreamResponse:
    def dial(port: int) -> asyncio.Future[Stream]:
        return asyncio.ensure_future(connect(kubelet, path, [("port", str(port))]))

    if not _is_websocket(request):
        protocol = _spdy_protocol(request, port_forward.SPDY_PROTOCOLS)
        pipe, response = await RawPipe.take_over(request, {"Upgrade": "SPDY/3.1", _PROTOCOL_HEADER: protocol})
        await _serve_sessions(SpdySession(pipe), dial)
        return response
    socket = _websocket(request, (port_forward.TUNNEL, port_forward.CHANNELS))
    await socket.prepare(request)
    if socket.ws_protocol == port_forward.TUNNEL:
        await _serve_sessions(SpdySession(WebSocketPipe(socket)), dial)
    else:
        ports = [
            int(port) for value in request.query.getall("ports", []) for port in value.split(",") if port.isdigit()
        ]
        await port_forward.serve_channels(socket, ports, dial)
    await socket.close()
    return socket


async def _serve_sessions(session: SpdySession, dial: port_forward.Dial) -> None:
    running = asyncio.create_task(session.run())
    try:
        await port_forward.serve_spdy(session, dial)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _is_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _websocket(request: web.Request, protocols: Sequence[str]) -> web.WebSocketResponse:
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if not set(offered) & set(protocols):
        raise BadUpgrade(f"unable to negotiate protocol: client supports {offered}, server accepts {list(protocols)}")
    # Our order of preference counts, so a client's best is taken.
    chosen = next(name for name in protocols if name in offered)
    return web.WebSocketResponse(protocols=(chosen,), max_msg_size=1 << 20, heartbeat=30)


def _spdy_protocol(request: web.Request, protocols: Sequence[str]) -> str:
    if request.headers.get("Upgrade", "").lower() != "spdy/3.1":
        raise BadUpgrade("you must specify at least 1 of stdin, stdout, stderr and upgrade to SPDY/3.1 or WebSocket")
    offered = [
        name.strip() for value in request.headers.getall(_PROTOCOL_HEADER, []) for name in value.split(",") if name
    ]
    for name in protocols:
        if name in offered:
            return name
    if not offered and protocols == port_forward.SPDY_PROTOCOLS:
        # Clients of port-forward before the header existed speak the only protocol there was.
        return protocols[0]
    raise BadUpgrade(
        f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts {list(protocols)}"
    )


__all__ = ["BadUpgrade", "Refused", "handle"]
