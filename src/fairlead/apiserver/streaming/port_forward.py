"""port-forward: connections of the client's machine carried to ports of a pod, many in one session."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from fairlead.apiserver.streaming.kubelet_stream import Refused, Stream
from fairlead.apiserver.streaming.session import SpdySession, SpdyStream

TUNNEL = "SPDY/3.1+portforward.k8s.io"
SPDY_PROTOCOLS = ("portforward.k8s.io",)
CHANNELS = "v4.channel.k8s.io"

Dial = Callable[[int], Awaitable[Stream]]


async def serve_spdy(session: SpdySession, dial: Dial) -> None:
    """Serve pairs of streams (`error` and `data` of one `requestid`) until the session ends."""
    errors: dict[str, SpdyStream] = {}
    async with asyncio.TaskGroup() as group:
        while (stream := await session.accept()) is not None:
            request = stream.headers.get("requestid", "")
            if stream.headers.get("streamtype") == "error":
                errors[request] = stream
            elif (error := errors.pop(request, None)) is not None:
                group.create_task(_forward_spdy(stream, error, dial))


async def _forward_spdy(data: SpdyStream, error: SpdyStream, dial: Dial) -> None:
    port = data.headers.get("port", "")
    try:
        if not port.isdigit():
            raise Refused(400, f"{port!r} is not a port")
        kubelet = await dial(int(port))
    except Refused as refusal:
        await error.write(str(refusal).encode(), fin=True)
        await data.write(b"", fin=True)
        return
    await error.write(b"", fin=True)
    await _carry(data.read, lambda chunk: data.write(chunk), kubelet)
    await data.write(b"", fin=True)


async def serve_channels(socket: web.WebSocketResponse, ports: list[int], dial: Dial) -> None:
    """Serve the older WebSocket form: channels 2n (data) and 2n+1 (error) for the n-th port, each beginning with its number."""
    inputs = [asyncio.Queue[bytes](64) for _ in ports]
    for number, port in enumerate(ports):
        for channel in (2 * number, 2 * number + 1):
            await socket.send_bytes(bytes([channel]) + struct.pack("<H", port))

    async def one(number: int, port: int) -> None:
        try:
            kubelet = await dial(port)
        except Refused as refusal:
            await socket.send_bytes(bytes([2 * number + 1]) + str(refusal).encode())
            return
        await _carry(inputs[number].get, lambda chunk: socket.send_bytes(bytes([2 * number]) + chunk), kubelet)

    tasks = [asyncio.create_task(one(number, port)) for number, port in enumerate(ports)]
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                break
            number, odd = divmod(message.data[0], 2)
            if not odd and number < len(inputs):
                await inputs[number].put(message.data[1:])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(
    read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]], kubelet: Stream
) -> None:
    """Carry bytes both ways until both sides have ended."""

    async def upward() -> None:
        while data := await read():
            kubelet.writer.write(data)
            await kubelet.writer.drain()
        kubelet.writer.write_eof()

    async def downward() -> None:
        while data := await kubelet.reader.read(65536):
            await write(data)

    up = asyncio.create_task(upward())
    try:
        await downward()
    except ConnectionError:
        pass
    finally:
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)
        await kubelet.close()
