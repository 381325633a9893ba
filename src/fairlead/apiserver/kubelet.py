"""Requests that a node must answer: logs, exec, attach, port-forward and proxies, passed on to its kubelet's Unix socket.

Logs are copied through here. Everything interactive is `fairlead.apiserver.streaming.handle`, imported with its first use:

    async def handle(request: web.BaseRequest, target: Target) -> web.StreamResponse

which speaks SPDY or WebSocket with the client (`request.transport` is the raw connection) and the stream protocol of the kubelet.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from fairlead.apiserver import errors
from fairlead.apiserver.api import Api, Call, Json
from fairlead.apiserver.http import body as bodies

_STREAMING = "fairlead.apiserver.streaming"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an interactive request is about.

    `subresource` is exec, attach, portforward or proxy; `resource` pods, services or nodes; `socket` the kubelet's Unix socket (of the
    pod's node); `container` is resolved (empty for portforward and proxy); `query` the client's parameters, repeated ones included
    (`getall`); `pod` the pod's object; `rest` the path behind a proxy.
    """

    subresource: str
    resource: str
    namespace: str
    name: str
    container: str
    socket: str
    query: Any
    pod: Json
    rest: str = ""


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
        if call.served.table == "pods":
            pod = self._pod(call)
            if call.info.subresource == "log":
                return await self._log(request, call, pod)
            return await self._stream(request, call, pod)
        if call.served.table == "nodes":
            return await self._node_proxy(request, call)
        return await self._service_proxy(request, call)

    # Logs.

    async def _log(self, request: web.BaseRequest, call: Call, pod: Json) -> web.StreamResponse:
        if call.info.verb != "get":
            raise errors.method_not_allowed()
        container = _container(call, pod, request.query.get("container", ""))
        node = _node(call, pod)
        if node is None:
            # Nothing runs yet: the real server answers with nothing.
            return web.Response(body=b"", content_type="text/plain")
        query = [(key, request.query[key]) for key in _LOG_PARAMETERS if key in request.query]
        path = f"/containerLogs/{quote(call.namespace)}/{quote(call.info.name.partition(':')[0])}/{quote(container)}"
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
            async with session.request(
                method, f"http://kubelet{path}", params=query, timeout=timeout, data=data or None
            ) as upstream:
                if upstream.status >= 400 and not path.startswith("/proxy"):
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

    async def _stream(self, request: web.BaseRequest, call: Call, pod: Json) -> web.StreamResponse:
        subresource = call.info.subresource
        container = ""
        if subresource in ("exec", "attach"):
            container = _container(call, pod, request.query.get("container", ""))
        node = _node(call, pod)
        if node is None:
            raise errors.bad_request(f"pod {call.info.name} does not have a host assigned")
        return await self._hand_over(request, call, pod, node, container)

    async def _hand_over(
        self, request: web.BaseRequest, call: Call, pod: Json, node: str, container: str
    ) -> web.StreamResponse:
        if importlib.util.find_spec(_STREAMING) is None:
            raise errors.not_implemented(f"{call.info.subresource} is not available in this build")
        from fairlead.apiserver import streaming

        target = Target(
            subresource=call.info.subresource,
            resource=call.info.plural,
            namespace=call.namespace,
            name=call.info.name,
            container=container,
            socket=self._socket(node),
            query=request.query,
            pod=pod,
            rest=call.info.rest,
        )
        return await streaming.handle(request, target)  # type: ignore[no-any-return]

    # Proxies.

    async def _node_proxy(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        name = call.info.name.rpartition(":")[0] or call.info.name
        if self.api.store.get("nodes", "", name) is None:
            raise errors.not_found(call.served.resource, name)
        data = await bodies.read(request)
        return await self._copy(request, name, request.method, f"/{call.info.rest}", list(request.query.items()), data)

    async def _service_proxy(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        name = call.info.name
        parts = name.split(":")
        name, port = (parts[1], parts[2]) if len(parts) == 3 else (parts[0], parts[1] if len(parts) > 1 else "")
        if self.api.store.get("services", call.namespace, name) is None:
            raise errors.not_found(call.served.resource, name)
        found = self._endpoint(call.namespace, name, port)
        if found is None:
            raise errors.unavailable(f'no endpoints available for service "{call.info.name}"')
        pod, node = found
        return await self._hand_over(request, call, pod, node, "")

    def _endpoint(self, namespace: str, service: str, port: str) -> tuple[Json, str] | None:
        for entry in self.api.store.entries("discovery.k8s.io/endpointslices", namespace):
            if (entry.obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
                continue
            for endpoint in entry.obj.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                target = endpoint.get("targetRef") or {}
                pod = self.api.store.get("pods", namespace, target.get("name") or "")
                if pod is not None and pod.obj["spec"].get("nodeName"):
                    return pod.obj, pod.obj["spec"]["nodeName"]
        return None

    # Kubelets.

    def _pod(self, call: Call) -> Json:
        name = call.info.name
        if call.info.subresource == "proxy":
            parts = name.split(":")
            name = parts[1] if len(parts) == 3 else parts[0]
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


def _node(call: Call, pod: Json) -> str | None:
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


def _kubelet_refusal(code: int, text: str) -> errors.StatusError:
    if code == 404:
        return errors.failure(404, "NotFound", text or "not found")
    return errors.bad_request(text) if code == 400 else errors.internal(text or f"the kubelet answered {code}")


def _unreachable(node: str, error: Exception) -> errors.StatusError:
    return errors.internal(f"error dialing the kubelet of node {node}: {error}")
