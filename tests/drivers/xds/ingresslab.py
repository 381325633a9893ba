"""Ingresses of one class for tests by real requests, and what requests say of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import yaml
from tests.drivers.xds.gatewaylab import Answer, GatewayLab, Json

from fairlead.model.gateway.ingress import gateway_of
from fairlead.model.gateway.ingress_classes import CONTROLLER

NGINX = "nginx.ingress.kubernetes.io/"
Paths = Mapping[str, str]
"""Path → Service, or `TYPE PATH` → Service."""


def klass(name: str, controller: str = CONTROLLER, **annotations: str) -> Json:
    metadata = {"name": name, "annotations": {f"fairlead.dev/{each}": value for each, value in annotations.items()}}
    return {"kind": "IngressClass", "metadata": metadata, "spec": {"controller": controller}}


def ingress(
    name: str,
    paths: Paths,
    annotations: Mapping[str, str] | None = None,
    *,
    of: str = "nginx",
    host: str | None = None,
    tls: str = "",
    age: int = 0,
    default: str = "",
    kind: str = "Prefix",
) -> Json:
    """An Ingress of host `NAME.test`; the names of annotations get the prefix of nginx where they have none."""
    spec: Json = {"ingressClassName": of}
    host = f"{name}.test" if host is None else host
    if paths:
        spec["rules"] = [{"host": host, "http": {"paths": [_path(each, to, kind) for each, to in paths.items()]}}]
        if not host:
            del spec["rules"][0]["host"]
    if tls:
        spec["tls"] = [{"hosts": [host], "secretName": tls}]
    if default:
        spec["defaultBackend"] = _backend(default)
    given = {each if "/" in each else NGINX + each: value for each, value in (annotations or {}).items()}
    metadata = {"name": name, "annotations": given, "creationTimestamp": f"2026-01-01T00:00:{age:02}Z"}
    return {"kind": "Ingress", "metadata": metadata, "spec": spec}


def _path(text: str, to: str, kind: str) -> Json:
    first, blank, rest = text.partition(" ")
    return {"path": rest if blank else text, "pathType": first if blank else kind, "backend": _backend(to)}


def _backend(to: str) -> Json:
    return {"service": {"name": to, "port": {"number": 80}}}


def text(*objects: Json) -> str:
    return yaml.safe_dump_all(objects)


def said(answer: Answer) -> str:
    """What an answer says: `POD PATH`, `STATUS LOCATION` or `STATUS`."""
    if answer.status == 200:
        return f"{answer.json['pod']} {answer.json['path']}"
    return f"{answer.status} {answer.headers.get('location', '')}".strip()


async def asked(lab: GatewayLab, url: str, *, of: str = "nginx", **more: Any) -> str:
    return said(await lab.ask(url, gateway=gateway_of(of)[1], **more))


async def opened(lab: GatewayLab, of: str, port: int = 80) -> None:
    """Wait until a class's port takes connections: Envoy acknowledges a listener a moment before."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", lab.ports[gateway_of(of)[1], port])
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
