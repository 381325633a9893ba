"""The xDS server: a gRPC stream for each proxy on a Unix socket, around the pure protocol. Source: AggregatedDiscoveryService.

Only who may open the socket's folder can connect: on a node that is root and the proxy's own user, and never a pod.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from fairlead.drivers.xds.protocol import Cache, Request, Response, Stream

log = logging.getLogger(__name__)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHOD = "DeltaAggregatedResources"
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0))


class Server:
    """Serves one cache to the proxies that connect. Belongs to one event loop."""

    def __init__(self, cache: Cache, path: Path, owner: int | None, on_lost: Callable[[], None]) -> None:
        """`owner` is the user who may connect beside root; `on_lost` is called when a proxy has gone."""
        self._on_lost = on_lost
        self._cache = cache
        self._path = path
        self._owner = owner
        self._streams: dict[Stream, asyncio.Queue[Response]] = {}
        self._progress = asyncio.Condition()
        self._server: Any = None
        self._folder = -1

    @property
    def streams(self) -> Collection[Stream]:
        """Return the proxies that are connected."""
        return self._streams.keys()

    async def start(self) -> None:
        """Listen; raises OSError."""
        self._path.unlink(missing_ok=True)
        # However deep the folder is: a socket's name has 108 bytes.
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        handler = grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                _METHOD: grpc.stream_stream_rpc_method_handler(
                    self._serve,
                    request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
            },
        )
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((handler,))
        try:
            self._server.add_insecure_port(f"unix:/proc/self/fd/{self._folder}/{self._path.name}")
        except RuntimeError as error:
            raise OSError(f"{self._path}: cannot listen: {error}") from error
        await self._server.start()
        self._path.chmod(0o600)
        if self._owner is not None:
            os.chown(self._path, self._owner, self._owner)

    async def close(self) -> None:
        """End the streams; the proxies go on with what they have."""
        server, self._server = self._server, None
        if server is not None:
            try:
                await server.stop(None)
            finally:
                os.close(self._folder)

    def push(self, changed: Mapping[str, Collection[str]]) -> None:
        """Tell every proxy about resources (type → names) that changed in the cache."""
        for stream, queue in self._streams.items():
            for response in stream.push(changed):
                queue.put_nowait(response)

    async def wait_until(self, condition: Callable[[Collection[Stream]], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds for the connected proxies, looking again whenever one of them answered."""
        try:
            async with asyncio.timeout(timeout_s), self._progress:
                await self._progress.wait_for(lambda: condition(self.streams))
        except TimeoutError:
            return False
        return True

    async def _serve(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        stream = Stream(self._cache)
        queue: asyncio.Queue[Response | None] = asyncio.Queue()
        self._streams[stream] = queue  # type: ignore[assignment]
        log.info("proxy connected", extra={"proxies": len(self._streams)})
        reader = asyncio.create_task(self._read(requests, stream, queue))
        try:
            while (response := await queue.get()) is not None:
                yield _wire(response)
        finally:
            reader.cancel()
            del self._streams[stream]
            await self._tell()
            log.info("proxy disconnected", extra={"proxies": len(self._streams)})
            self._on_lost()

    async def _read(self, requests: AsyncIterator[Any], stream: Stream, queue: asyncio.Queue[Response | None]) -> None:
        try:
            async for message in requests:
                request = _request(message)
                if request.error:
                    log.warning("proxy rejects", extra={"type": request.type_url, "error": request.error})
                for response in stream.receive(request):
                    queue.put_nowait(response)
                await self._tell()
        finally:
            queue.put_nowait(None)

    async def _tell(self) -> None:
        async with self._progress:
            self._progress.notify_all()


def _request(message: Any) -> Request:
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=message.error_detail.message.strip() if message.HasField("error_detail") else "",
    )


def _wire(response: Response) -> Any:
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url,
        nonce=response.nonce,
        resources=[
            discovery_pb2.Resource(
                name=each.name,
                version=each.version,
                resource=any_pb2.Any(type_url=response.type_url, value=each.body),
            )
            for each in response.resources
        ],
        removed_resources=response.removed,
    )
