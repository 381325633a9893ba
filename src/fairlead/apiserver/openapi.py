"""OpenAPI documents: those of the built-in kinds, and permissive ones for what CustomResourceDefinitions add."""

from __future__ import annotations

import hashlib

from aiohttp import web

from fairlead.apiserver.api import Json
from fairlead.apiserver.errors import no_such_path
from fairlead.apiserver.http import answers
from fairlead.apiserver.http.negotiation import media_ranges
from fairlead.apiserver.served import Catalog, Served
from fairlead.apiserver.store.records import encode

_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_PROTOBUF_ANSWERED = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Clients ask for the first, which is no valid media type, and can parse the second."""


class OpenApi:
    """Answers what is below /openapi."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handle(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        """Return the document at `parts` (below /openapi); raises 404."""
        from fairlead.apiserver.kinds import openapi

        match parts:
            case ["v2"]:
                for media, _ in media_ranges(request.headers.get("Accept", "")):
                    if media in (_PROTOBUF, _PROTOBUF_ANSWERED):
                        response = answers.of_bytes(openapi.v2_protobuf())
                        response.headers["Content-Type"] = _PROTOBUF_ANSWERED
                        return response
                    if media in ("application/json", "*/*"):
                        break
                return answers.of_bytes(openapi.v2_json())
            case ["v3"]:
                return answers.of_object(self._index(openapi.v3_index()))
            case ["v3", *rest]:
                group_version = "/".join(rest)
                content = self._custom_document(group_version)
                if content is None:
                    try:
                        content = openapi.v3_document(group_version)
                    except KeyError:
                        raise no_such_path() from None
                return answers.of_bytes(content)
            case _:
                raise no_such_path()

    def _index(self, index: Json) -> Json:
        paths = dict(index["paths"])
        for served in self._custom():
            prefix = served.resource.prefix.strip("/")
            content = self._custom_document(prefix) or b""
            digest = hashlib.sha256(content).hexdigest().upper()
            paths[prefix] = {"serverRelativeURL": f"/openapi/v3/{prefix}?hash={digest}"}
        return {**index, "paths": paths}

    def _custom(self) -> list[Served]:
        return [served for served in self._catalog if served.definition is not None]

    def _custom_document(self, group_version: str) -> bytes | None:
        mine = [served for served in self._custom() if served.resource.prefix.strip("/") == group_version]
        if not mine:
            return None
        schemas: Json = {}
        paths: Json = {}
        for served in mine:
            name = _schema_name(served)
            schemas[name] = _schema(served)
            paths |= _paths(served, name)
        document = {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
        return encode(document)


def _schema_name(served: Served) -> str:
    group = ".".join(reversed(served.resource.group.split(".")))
    return f"{group}.{served.resource.version}.{served.resource.kind}"


def _schema(served: Served) -> Json:
    schema = dict(served.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    return schema | {"x-kubernetes-group-version-kind": [_gvk(served)]}


def _gvk(served: Served) -> Json:
    resource = served.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(served: Served, schema: str) -> Json:
    resource = served.resource
    collection = resource.path("{namespace}" if resource.namespaced else None)
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]

    def operation(action: str, *, body: bool) -> Json:
        found: Json = {
            "operationId": f"{action}{resource.kind}",
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(served),
        }
        return found | ({"requestBody": {"content": content}} if body else {})

    return {
        collection: {"get": operation("list", body=False), "post": operation("post", body=True)},
        f"{collection}/{{name}}": {
            "get": operation("get", body=False),
            "put": operation("put", body=True),
            "patch": operation("patch", body=True),
            "delete": operation("delete", body=False),
        },
    }
