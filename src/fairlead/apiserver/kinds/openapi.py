"""The OpenAPI documents of the built-in kinds: v3 by group and version, v2 whole, as JSON and as gnostic protobuf.

kubectl validates, applies and explains from them. They are built when first asked for and kept as bytes; the index costs nothing.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import msgspec

from fairlead.apiserver.kinds import openapi_paths, openapi_schemas, schemas
from fairlead.apiserver.kinds.registry import KINDS

_TITLE = "Kubernetes"
_FORM = 1
"""To raise when documents change though kinds and schemas do not: clients keep documents by hash, forever."""


def v3_index() -> dict[str, Any]:
    """Return what /openapi/v3 answers; the hash in each URL changes with what the document is made from."""
    prefixes = dict.fromkeys(kind.resource.prefix.strip("/") for kind in KINDS)
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_hash(name)}"} for name in prefixes}}


def _hash(group_version: str) -> str:
    kinds = [(kind.resource.kind, sorted(kind.subresources), kind.verbs) for kind in schemas.kinds_of(group_version)]
    facts = msgspec.json.encode([_FORM, schemas.VERSION, group_version, kinds])
    return hashlib.sha512(facts).hexdigest().upper()


@cache
def v3_document(group_version: str) -> bytes:
    """Return the document of `api/v1` or `apis/GROUP/VERSION` as JSON. Raises KeyError for one that is not served."""
    kinds = schemas.kinds_of(group_version)
    if not kinds:
        raise KeyError(group_version)
    definitions = schemas.load()
    names = schemas.names_by_kind(definitions)
    used = schemas.closure(definitions, schemas.roots_of(kinds, names))
    document = {
        "openapi": "3.0.0",
        "info": {"title": _TITLE, "version": f"v{schemas.VERSION}"},
        "paths": openapi_paths.v3_paths(kinds, names),
        "components": {"schemas": {name: openapi_schemas.for_v3(name, definitions[name]) for name in used}},
    }
    return msgspec.json.encode(document)


def _v2() -> dict[str, Any]:
    definitions = schemas.load()
    names = schemas.names_by_kind(definitions)
    used = schemas.closure(definitions, schemas.roots_of(KINDS, names))
    return {
        "swagger": "2.0",
        "info": {"title": _TITLE, "version": f"v{schemas.VERSION}"},
        "paths": openapi_paths.v2_paths(list(KINDS), names),
        "definitions": {name: openapi_schemas.for_v2(name, definitions[name]) for name in used},
    }


@cache
def v2_json() -> bytes:
    """Return the whole v2 document as JSON."""
    return msgspec.json.encode(_v2())


@cache
def v2_protobuf() -> bytes:
    """Return the whole v2 document as gnostic's protobuf message `openapi.v2.Document`."""
    from fairlead.apiserver.kinds import gnostic

    return gnostic.encode(_v2())
