"""The OpenAPI documents of custom resources: v3 by group and version, and what they add to the one of v2.

Source: k8s.io/apiextensions-apiserver, pkg/controller/openapi (what is published, and what v2 cannot say).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from fairlead.apiserver.kinds import openapi_paths, openapi_schemas, schemas
from fairlead.apiserver.served import Served

Json = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SHARED = (f"{_META}ObjectMeta", f"{_META}ListMeta", f"{_META}Status", f"{_META}DeleteOptions", f"{_META}Patch")
_PATCH_TYPES = [one for one in openapi_paths.PATCH_TYPES if "strategic" not in one]
_PRESERVE, _INT_OR_STRING = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"


def v3_document(group_version: Sequence[Served]) -> bytes:
    """Return the document of all that is served in one group and version."""
    own: Json = {}
    for served in group_version:
        name = _name(served)
        own[name] = _object(served, _v3_reference)
        own[f"{name}List"] = _list(served, f"#/components/schemas/{name}", _v3_reference)
    kinds = [served.kind for served in group_version]
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": openapi_paths.v3_paths(kinds, _names(group_version), _PATCH_TYPES),
        "components": {"schemas": own | _shared()},
    }
    return msgspec.json.encode(document)


def v2_parts(custom: Sequence[Served]) -> Json:
    """Return `paths` and `definitions` that custom resources add to the v2 document."""
    definitions: Json = {}
    for served in custom:
        name = _name(served)
        definitions[name] = _object(served, _v2_reference, convert=_for_v2)
        definitions[f"{name}List"] = _list(served, f"#/definitions/{name}", _v2_reference)
    kinds = [served.kind for served in custom]
    return {"paths": openapi_paths.v2_paths(kinds, _names(custom), _PATCH_TYPES), "definitions": definitions}


def _name(served: Served) -> str:
    resource = served.resource
    return f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"


def _names(several: Sequence[Served]) -> dict[tuple[str, str, str], str]:
    found = {}
    for served in several:
        resource, name = served.resource, _name(served)
        found[resource.group, resource.version, resource.kind] = name
        found[resource.group, resource.version, f"{resource.kind}List"] = f"{name}List"
    return found


@cache
def _shared() -> Json:
    definitions = schemas.load()
    return {name: openapi_schemas.for_v3(name, definitions[name]) for name in schemas.closure(definitions, _SHARED)}


def _v3_reference(name: str) -> Json:
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}


def _v2_reference(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


_API_VERSION = {"type": "string", "description": "The version of the schema that this object is written in."}
_KIND = {"type": "string", "description": "The kind of this object, in CamelCase."}


def _object(served: Served, reference: Any, convert: Any = dict) -> Json:
    schema: Json = convert(served.schema or {"type": "object", _PRESERVE: True})
    metadata = reference(f"{_META}ObjectMeta") | {"description": "Standard metadata of every object."}
    properties = (schema.get("properties") or {}) | {"apiVersion": _API_VERSION, "kind": _KIND, "metadata": metadata}
    return schema | {"properties": properties, "x-kubernetes-group-version-kind": [_gvk(served)]}


def _list(served: Served, item: str, reference: Any) -> Json:
    kind = served.resource.kind
    return {
        "type": "object",
        "description": f"{kind}List is a list of {kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": _API_VERSION,
            "kind": _KIND,
            "metadata": reference(f"{_META}ListMeta") | {"description": "Standard metadata of every list."},
            "items": {"type": "array", "items": {"$ref": item}, "description": f"The objects of kind {kind}."},
        },
        "x-kubernetes-group-version-kind": [_gvk(served, "List")],
    }


def _gvk(served: Served, suffix: str = "") -> Json:
    resource = served.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind + suffix}


_V2_WORDS = frozenset(
    {"description", "format", "required", "default", "enum", "minimum", "maximum", "pattern", "title", "type"}
)
_V2_EXTENSIONS = frozenset({"x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type"})


def _for_v2(schema: Json) -> Json:
    """Return what v2 can say of a schema: where null, several types or unknown fields go, it says nothing."""
    result = {key: value for key, value in schema.items() if key in _V2_WORDS or key in _V2_EXTENSIONS}
    if schema.get("nullable") or schema.get(_INT_OR_STRING):
        return {key: value for key, value in result.items() if key in ("description", "title", "default", "enum")}
    if schema.get(_PRESERVE):
        return {key: value for key, value in result.items() if key in ("description", "title", "type")}
    if schema.get("properties"):
        result["properties"] = {name: _for_v2(below) for name, below in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = _for_v2(schema[key])
    return result
