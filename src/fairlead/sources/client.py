"""A client of the Kubernetes API for programs that speak its JSON: every verb, and watches.

Objects are plain dicts exactly as on the wire. The client holds no state about the cluster; `fairlead.sources.informer` does.
It must never retry a write on its own: only the caller knows whether the write is idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aiohttp
import msgspec

from fairlead.api.resources import EVENTS, Resource
from fairlead.sources import events, kubeconfig
from fairlead.sources.errors import Unreachable, from_status

Json = dict[str, Any]
PatchKind = Literal["merge", "strategic", "json", "apply"]

_PATCH_TYPES: Mapping[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_PAGE = 2000
_MOST_IN_FLIGHT = 8
"""Requests at a time. More gain nothing from a server that answers one after the other, and each would pay for a TLS handshake."""
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# A watch may be silent for long; the server sends a bookmark about once a minute.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=180)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Client:
    """One identity's connections to one API server; an async context manager that closes them.

    Every method raises `ApiError` (or its subclass) when the server refuses and `Unreachable` when it does not answer.
    """

    def __init__(self, connection: kubeconfig.Connection, *, user_agent: str) -> None:
        self._connection = connection
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._recorder = events.Recorder()
        self._slots = asyncio.Semaphore(_MOST_IN_FLIGHT)

    def __repr__(self) -> str:
        return f"<Client {self._user_agent} of {self._connection.server}>"

    @classmethod
    def from_kubeconfig(cls, path: Path, *, user_agent: str) -> Client:
        """Return a client for the current context of the kubeconfig at `path`; raises UserError."""
        return cls(kubeconfig.read(path), user_agent=user_agent)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the client may be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Json:
        """Return one object."""
        return await self.request("GET", resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[list[Json], str]:
        """Return all objects that match and the resourceVersion of the list; read in pages of 2,000."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=str(_PAGE))
        items: list[Json] = []
        while True:
            page = await self.request("GET", resource.path(namespace), query=query)
            items += page.get("items") or []
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        for item in items:
            # Items of a built-in list carry no type of their own.
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return items, metadata["resourceVersion"]

    async def create(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Json:
        """Create `obj` (or post it to the subresource of `name`) and return what the server made of it."""
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        return await self.request("POST", resource.path(namespace, name, subresource), body=_encode(obj))

    async def replace(self, resource: Resource, obj: Mapping[str, Any], *, subresource: str | None = None) -> Json:
        """Replace the object; its metadata.resourceVersion, where given, must be the current one."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self.request("PUT", path, body=_encode(obj))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: object,
        *,
        namespace: str | None = None,
        kind: PatchKind = "merge",
        subresource: str | None = None,
    ) -> Json:
        """Apply `patch` of the given kind; `apply` is a forced server-side apply under our user agent as field manager."""
        query = {"fieldManager": self._user_agent, "force": "true"} if kind == "apply" else None
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=_encode(patch),
            content_type=_PATCH_TYPES[kind],
            query=query,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        grace_period_s: int | None = None,
        uid: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> None:
        """Delete one object, only if it has `uid` where that is given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self.request("DELETE", resource.path(namespace, name), body=_encode(options))

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[str, Json]]:
        """Yield (type, object) after `resource_version` until the server ends the watch, bookmarks included.

        Raises `Gone` when that version has left the server's history.
        """
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
        )
        response = await self._send("GET", resource.path(namespace), query=query, timeout=_WATCH_TIMEOUT)
        try:
            async for line in _lines(response):
                event = _decode(line)
                if event["type"] == "ERROR":
                    raise from_status(event["object"])
                yield event["type"], event["object"]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"watch of {resource.plural} broke: {error}") from error
        finally:
            # The server would go on sending: there is no orderly end to wait for.
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()

    async def event(
        self,
        regarding: Mapping[str, Any],
        *,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        component: str,
        node: str | None = None,
        standing: bool = False,
    ) -> None:
        """Record a core/v1 Event about an object; a repeated one raises its count, and one of a `standing` state is not repeated.

        Never raises: events are best effort.
        """
        await self._recorder.record(
            self,
            EVENTS,
            regarding,
            type=type,
            reason=reason,
            message=message,
            component=component,
            node=node,
            standing=standing,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Send one request and return the decoded answer. Requests beyond the eighth wait for their turn; watches do not count."""
        async with self._slots:
            response = await self._send(method, path, body=body, query=query, content_type=content_type)
            try:
                payload = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unreachable(f"{method} {path}: {error}") from error
        return _decode(payload)  # type: ignore[no-any-return]

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = _TIMEOUT,
    ) -> aiohttp.ClientResponse:
        headers = {"Content-Type": content_type} if body is not None else {}
        try:
            response = await self._open().request(
                method, self._connection.server + path, data=body, params=query, headers=headers, timeout=timeout
            )
            if response.status >= 400:
                raise from_status(_status(response.status, await response.read()))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error
        return response

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit: a watch holds its connection for good, and some followers watch every kind there is.
            connector = aiohttp.TCPConnector(ssl=self._connection.tls(), limit=0, keepalive_timeout=60)
            headers = {"User-Agent": self._user_agent, "Accept": "application/json"}
            if self._connection.token:
                headers["Authorization"] = f"Bearer {self._connection.token}"
            self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self._session


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the complete lines of a streamed body; unlike StreamReader.readline without a limit on their length."""
    rest = b""
    async for chunk in response.content.iter_any():
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if line:
                yield line


def _query(**parameters: str | None) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if value is not None}


def _status(code: int, body: bytes) -> Json:
    try:
        status = _decode(body)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict):
        return {"code": code, "message": body.decode(errors="replace").strip() or f"HTTP status {code}"}
    return {"code": code} | status


async def wait_available(client: Client, *, timeout_s: float) -> None:
    """Wait until the API server answers /readyz; raises TimeoutError with the last reason after `timeout_s`."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    response = await client._send("GET", "/readyz")
                except Exception as error:
                    last = error
                    await asyncio.sleep(0.05)
                else:
                    response.close()
                    return
    except TimeoutError:
        raise TimeoutError(f"the API server did not become ready in {timeout_s:g} s: {last}") from last
