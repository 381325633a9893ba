"""A client that speaks plain requests to a server under test, and small objects to send."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict

Json = dict[str, Any]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    body: Any
    headers: Any

    @property
    def message(self) -> str:
        return self.body["message"]

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.body["items"]]


class Http:
    """Requests of one identity to one server."""

    def __init__(self, folder: Path, port: int, user: str | None = "admin") -> None:
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        if user is not None:
            context.load_cert_chain(folder / f"{user}.crt", folder / f"{user}.key")
        self.context = context
        self.port = port
        self.base = f"https://127.0.0.1:{port}"
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0))

    async def __call__(self, method: str, path: str, body: Any = None, /, **options: Any) -> Answer:
        headers = CIMultiDict({"Content-Type": options.pop("type", "application/json")} | options.pop("headers", {}))
        headers.extend(options.pop("as_", ()))
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        async with self.session.request(
            method, self.base + path, data=data, headers=headers, params=options.pop("params", None)
        ) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(response.status, json.loads(raw) if is_json and raw else raw, response.headers)

    async def ok(self, method: str, path: str, body: Any = None, /, **options: Any) -> Any:
        """Return the body of an answer that must be a good one."""
        answer = await self(method, path, body, **options)
        assert answer.code < 400, answer.body
        return answer.body

    @asynccontextmanager
    async def watch(self, path: str, **params: Any) -> AsyncIterator[AsyncIterator[Json]]:
        """Watch a collection: the events, one by one."""
        query = {"watch": "true"} | {key: str(value) for key, value in params.items()}
        headers = {"Accept": query.pop("accept", "application/json")}
        async with self.session.get(self.base + path, params=query, headers=headers) as response:
            assert response.status == 200, await response.read()

            async def events() -> AsyncIterator[Json]:
                buffer = b""
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)

            yield events()

    async def close(self) -> None:
        await self.session.close()


def config_map(name: str, namespace: str = "default", labels: dict[str, str] | None = None, **data: str) -> Json:
    metadata: Json = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, namespace: str = "default", **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "web:1"}], **spec},
    }


def acting_as(user: str, *groups: str) -> dict[str, Any]:
    """Return the options of a request that is made in the name of somebody else."""
    headers: list[tuple[str, str]] = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
    return {"as_": headers}
