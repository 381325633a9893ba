"""Requests that a node must answer: logs, exec, attach, port-forward and proxies, passed on to its kubelet's Unix socket.

Logs are copied through here; interactive streams are `streaming.handler`'s and proxied requests `proxy`'s, both imported with their
first use.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import quote

import aiohttp
from aiohttp import web

from fairlead.apiserver import errors
from fairlead.apiserver.api import Api, Call, Json

_LOG_PARAMETERS = (
    "follow",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "limitBytes",
    "previous",
    "stream",
)


@dataclass(slots=True)
class KubeletRequests:
    """Finds the kubelet of a request and passes it on. `sockets` is a path pattern with `{node}`."""

    api: Api
    sockets: str
    _sessions: dict[str, aiohttp.ClientSession] = field(default_factory=dict)

    async def close(self) -> None:
        """Close the connections to all kubelets."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def handle(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Answer a request to a subresource that a node serves; raises StatusError."""
        match (call.served.table, call.info.subresource):
            case ("pods", "log"):
                return await self._log(request, call, self._pod(call, call.info.name))
            case ("pods", "exec" | "attach" | "portforward" as subresource):
                return await self._stream(request, call, subresource)
            case ("nodes", _):
                return await self._node_proxy(request, call)
            case ("pods", _):
                return await self._pod_proxy(request, call)
            case _:
                return await self._service_proxy(request, call)

    # Logs.

    async def _log(self, request: web.BaseRequest, call: Call, pod: Json) -> web.StreamResponse:
        if call.info.verb != "get":
            raise errors.method_not_allowed()
        container = _container(call, pod, request.query.get("container", ""))
        node = _node(pod)
        if node is None:
            # Nothing runs yet: the real server answers with nothing.
            return web.Response(body=b"", content_type="text/plain")
        query = [(key, request.query[key]) for key in _LOG_PARAMETERS if key in request.query]
        path = f"/containerLogs/{quote(call.namespace)}/{quote(call.info.name)}/{quote(container)}"
        return await self._copy(request, node, "GET", path, query)

    async def _copy(
        self,
        request: web.BaseRequest,
        node: str,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        data: bytes = b"",
    ) -> web.StreamResponse:
        session = self._session(node)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        try:
            async with session.get(f"http://kubelet{path}", params=query, timeout=timeout) as upstream:
                if upstream.status >= 400:
                    text = (await upstream.text()).strip()
                    raise _kubelet_refusal(upstream.status, text)
                response = web.StreamResponse(status=upstream.status)
                response.headers["Content-Type"] = upstream.headers.get("Content-Type", "text/plain")
                response.enable_chunked_encoding()
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(node, error) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise errors.unavailable(f"the kubelet of node {node} broke off: {error}") from None

    # Interactive streams.

    async def _stream(
        self, request: web.BaseRequest, call: Call, subresource: Literal["exec", "attach", "portforward"]
    ) -> web.StreamResponse:
        pod = self._pod(call, call.info.name)
        container = ""
        if subresource != "portforward":
            container = _container(call, pod, request.query.get("container", ""))
        node = _node(pod)
        if node is None:
            raise errors.bad_request(f"pod {call.info.name} does not have a host assigned")
        return await self._hand_over(request, call, subresource, node, container)

    async def _hand_over(
        self,
        request: web.BaseRequest,
        call: Call,
        subresource: Literal["exec", "attach", "portforward"],
        node: str,
        container: str,
    ) -> web.StreamResponse:
        from fairlead.apiserver.streaming import handler, kubelet_stream

        try:
            return await handler.handle(
                cast(web.Request, request),
                subresource=subresource,
                kubelet=Path(self._socket(node)),
                namespace=call.namespace,
                pod=call.info.name,
                container=container,
            )
        except kubelet_stream.Refused as error:
            raise _kubelet_refusal(error.code, str(error)) from None
        except handler.BadUpgrade as error:
            raise errors.bad_request(str(error)) from None

    # Proxies.

    async def _node_proxy(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        name = call.info.name.partition(":")[0]
        if self.api.store.get("nodes", "", name) is None:
            raise errors.not_found(call.served.resource, name)
        from fairlead.apiserver import proxy

        return await proxy.to_kubelet(request, Path(self._socket(name)), call.info.rest)

    async def _pod_proxy(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        scheme, name, port = _proxied(call.info.name)
        pod = self._pod(call, name)
        # Without a declared port the real server means 80.
        number = int(port) if port.isdigit() else _container_port(pod, port) or (None if port else 80)
        if number is None:
            raise errors.bad_request(f"pod {name} has no port {port!r}")
        return await self._proxy(request, call, pod, number, scheme)

    async def _service_proxy(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        scheme, name, port = _proxied(call.info.name)
        service = self.api.store.get("services", call.namespace, name)
        if service is None:
            raise errors.not_found(call.served.resource, name)
        found = self._endpoint(call.namespace, name, _port_name(service.obj, port))
        if found is None:
            raise errors.unavailable(f'no endpoints available for service "{name}"')
        return await self._proxy(request, call, *found, scheme)

    async def _proxy(
        self, request: web.BaseRequest, call: Call, pod: Json, port: int, scheme: str
    ) -> web.StreamResponse:
        node = _node(pod)
        if node is None:
            raise errors.unavailable(f"pod {pod['metadata']['name']} does not have a host assigned")
        from fairlead.apiserver import proxy

        name = pod["metadata"]["name"]
        socket = Path(self._socket(node))
        return await proxy.to_pod(request, socket, call.namespace, name, port, call.info.rest, tls=scheme == "https")

    def _endpoint(self, namespace: str, service: str, port: str | None) -> tuple[Json, int] | None:
        """Return a ready pod behind a Service and the number of its port `port` (None: the only or first one)."""
        for entry in self.api.store.entries("discovery.k8s.io/endpointslices", namespace):
            if (entry.obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [
                one["port"] for one in entry.obj.get("ports") or () if port is None or one.get("name", "") == port
            ]
            for endpoint in entry.obj.get("endpoints") or ():
                target = endpoint.get("targetRef") or {}
                ready = (endpoint.get("conditions") or {}).get("ready") is not False
                pod = self.api.store.get("pods", namespace, target.get("name") or "") if ready and numbers else None
                if pod is not None:
                    return pod.obj, numbers[0]
        return None

    async def dial_service(
        self, namespace: str, service: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to a ready pod behind a Service's port; raises Unreachable."""
        from fairlead.apiserver.dynamic.caller import Unreachable
        from fairlead.apiserver.streaming.kubelet_stream import Refused, connect

        entry = self.api.store.get("services", namespace, service)
        if entry is None:
            raise Unreachable(f'service "{service}" not found')
        found = self._endpoint(namespace, service, _port_name(entry.obj, str(port)))
        node = _node(found[0]) if found is not None else None
        if found is None or node is None:
            raise Unreachable(f'no endpoints available for service "{service}"')
        pod, number = found
        path = f"/portForward/{quote(namespace)}/{quote(pod['metadata']['name'])}"
        try:
            stream = await connect(Path(self._socket(node)), path, [("port", str(number))])
        except Refused as error:
            raise Unreachable(str(error)) from None
        return stream.reader, stream.writer

    # Kubelets.

    def _pod(self, call: Call, name: str) -> Json:
        entry = self.api.store.get("pods", call.namespace, name)
        if entry is None:
            raise errors.not_found(call.served.resource, name)
        return entry.obj

    def _socket(self, node: str) -> str:
        return self.sockets.replace("{node}", node)

    def _session(self, node: str) -> aiohttp.ClientSession:
        session = self._sessions.get(node)
        if session is None:
            connector = aiohttp.UnixConnector(path=self._socket(node), limit=0)
            session = self._sessions[node] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return session


def _node(pod: Json) -> str | None:
    return (pod.get("spec") or {}).get("nodeName") or None


def _container(call: Call, pod: Json, wanted: str) -> str:
    """Return the container that the request means, as the real server chooses it; raises 400."""
    spec = pod.get("spec") or {}
    regular = [one["name"] for one in spec.get("containers") or ()]
    initial = [one["name"] for one in spec.get("initContainers") or ()]
    ephemeral = [one["name"] for one in spec.get("ephemeralContainers") or ()]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in (*regular, *initial, *ephemeral):
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(regular) == 1:
        return str(regular[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in regular and call.info.subresource != "log":
        return str(default)
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(regular)}]"
    if initial:
        message += f" or one of the init containers: [{' '.join(initial)}]"
    if ephemeral:
        message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise errors.bad_request(message)


def _proxied(name: str) -> tuple[str, str, str]:
    """Return scheme, name and port of `[SCHEME:]NAME[:PORT]`; an empty port means the first one."""
    parts = name.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else ""


def _container_port(pod: Json, name: str) -> int | None:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if not name or port.get("name") == name:
                return int(port["containerPort"])
    return None


def _port_name(service: Json, port: str) -> str | None:
    """Return the name of a Service's port that is given by name or number; None for its first one."""
    for one in service["spec"].get("ports") or ():
        if port in (one.get("name"), str(one.get("port"))):
            return one.get("name") or ""
    return port or None


def _kubelet_refusal(code: int, text: str) -> errors.StatusError:
    if code == 404:
        return errors.failure(404, "NotFound", text or "not found")
    return errors.bad_request(text) if code == 400 else errors.internal(text or f"the kubelet answered {code}")


def _unreachable(node: str, error: Exception) -> errors.StatusError:
    return errors.internal(f"error dialing the kubelet of node {node}: {error}")
