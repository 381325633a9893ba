"""OpenAPI documents: those of the built-in kinds, and what CustomResourceDefinitions add to them."""

from __future__ import annotations

import hashlib

import msgspec
from aiohttp import web

from fairlead.apiserver.api import Json
from fairlead.apiserver.errors import no_such_path
from fairlead.apiserver.http import answers
from fairlead.apiserver.http.negotiation import media_ranges
from fairlead.apiserver.served import Catalog, Served

_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_PROTOBUF_ANSWERED = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Clients ask for the first, which is no valid media type, and can parse the second."""


class OpenApi:
    """Answers what is below /openapi. Documents of custom resources are kept until a definition changes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def handle(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        """Return the document at `parts` (below /openapi); raises 404."""
        if self._generation != self._catalog.generation:
            self._documents.clear()
            self._generation = self._catalog.generation
        match parts:
            case ["v2"]:
                for media, _ in media_ranges(request.headers.get("Accept", "")):
                    if media in (_PROTOBUF, _PROTOBUF_ANSWERED):
                        response = answers.of_bytes(self._v2(protobuf=True))
                        response.headers["Content-Type"] = _PROTOBUF_ANSWERED
                        return response
                    if media in ("application/json", "*/*"):
                        break
                return answers.of_bytes(self._v2(protobuf=False))
            case ["v3"]:
                return answers.of_object(self._index())
            case ["v3", *rest]:
                return answers.of_bytes(self._v3("/".join(rest)))
            case _:
                raise no_such_path()

    def _index(self) -> Json:
        from fairlead.apiserver.kinds import openapi

        index = openapi.v3_index()
        paths = dict(index["paths"])
        for prefix in dict.fromkeys(_prefix(served) for served in self._custom()):
            digest = hashlib.sha256(self._v3(prefix)).hexdigest().upper()
            paths[prefix] = {"serverRelativeURL": f"/openapi/v3/{prefix}?hash={digest}"}
        return {**index, "paths": paths}

    def _v3(self, group_version: str) -> bytes:
        from fairlead.apiserver import openapi_custom
        from fairlead.apiserver.kinds import openapi

        found = self._documents.get(group_version)
        if found is None:
            mine = [served for served in self._custom() if _prefix(served) == group_version]
            try:
                found = openapi_custom.v3_document(mine) if mine else openapi.v3_document(group_version)
            except KeyError:
                raise no_such_path() from None
            self._documents[group_version] = found
        return found

    def _v2(self, *, protobuf: bool) -> bytes:
        from fairlead.apiserver import openapi_custom
        from fairlead.apiserver.kinds import gnostic, openapi

        key = "v2 protobuf" if protobuf else "v2 json"
        found = self._documents.get(key)
        if found is None:
            more = openapi_custom.v2_parts(self._custom())
            if protobuf:
                # Messages that are joined are merged: lists go on where the first ended.
                found = openapi.v2_protobuf() + gnostic.encode_parts(more)
            else:
                document = msgspec.json.decode(openapi.v2_json())
                found = msgspec.json.encode(document | {part: document[part] | more[part] for part in more})
            self._documents[key] = found
        return found

    def _custom(self) -> list[Served]:
        return [served for served in self._catalog if served.definition is not None]


def _prefix(served: Served) -> str:
    return served.resource.prefix.strip("/")
