"""The paths of OpenAPI documents: for each kind its collection, its objects and their subresources.

kubectl reads from them which query parameters a server understands (dryRun, fieldValidation); people and generators read the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.apiserver.kinds.registry import Kind

Json = dict[str, Any]

_ACTIONS = {"get": "get", "put": "put", "patch": "patch", "delete": "delete", "post": "post"}
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_LIST = (
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
)
_DELETE = (
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
)
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_OBJECT_SUBRESOURCES = ("status", "scale", "ephemeralcontainers", "resize", "approval")


def operations(kind: Kind) -> dict[str, dict[str, tuple[str, str, tuple[tuple[str, str], ...]]]]:
    """Return path → method → (action, operation id, query parameters with their types) of one kind."""
    resource = kind.resource
    base = resource.path("{namespace}" if resource.namespaced else None)
    name = "".join(part.title() for part in resource.group.split(".")[0:1]) or "Core"
    scope = "Namespaced" if resource.namespaced else ""
    suffix = f"{name}{resource.version.title()}{scope}{resource.kind}"

    writes = tuple((item, "string") for item in _WRITES)
    patching = (*writes, ("force", "boolean"))
    found = {
        base: {
            "get": ("list", f"list{suffix}", _LIST),
            "post": ("post", f"create{suffix}", writes),
            "delete": ("deletecollection", f"deleteCollection{suffix}", (*_LIST, *_DELETE)),
        },
        f"{base}/{{name}}": {
            "get": ("get", f"read{suffix}", ()),
            "put": ("put", f"replace{suffix}", writes),
            "patch": ("patch", f"patch{suffix}", patching),
            "delete": ("delete", f"delete{suffix}", _DELETE),
        },
    }
    if "deletecollection" not in kind.verbs:
        del found[base]["delete"]
    if resource.namespaced:
        found[resource.path()] = {"get": ("list", f"list{suffix}ForAllNamespaces".replace("Namespaced", ""), _LIST)}
    for subresource in _OBJECT_SUBRESOURCES:
        if subresource in kind.subresources:
            tail = f"{suffix}{subresource.title()}"
            found[f"{base}/{{name}}/{subresource}"] = {
                "get": ("get", f"read{tail}", ()),
                "put": ("put", f"replace{tail}", writes),
                "patch": ("patch", f"patch{tail}", patching),
            }
    return found


def path_parameters(path: str) -> list[str]:
    """Return the names in braces of a path."""
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def group_version_kind(kind: Kind) -> dict[str, str]:
    """Return the extension that ties an operation to a kind."""
    resource = kind.resource
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def v3_paths(
    kinds: list[Kind], names: dict[tuple[str, str, str], str], patch_types: Sequence[str] = PATCH_TYPES
) -> Json:
    """Return the paths of a v3 document. kubectl sends the patches that are offered in `patch_types`."""
    paths: Json = {}
    for kind in kinds:
        resource = kind.resource
        schema = names.get((resource.group, resource.version, resource.kind))
        listed = names.get((resource.group, resource.version, f"{resource.kind}List"))
        for path, methods in operations(kind).items():
            item: Json = {}
            for method, (action, identity, query) in methods.items():
                answer = listed if action == "list" else schema
                operation: Json = {
                    "tags": [_tag(kind)],
                    "operationId": identity,
                    "parameters": [
                        {"name": name, "in": "query", "schema": {"type": type_name, "uniqueItems": True}}
                        for name, type_name in query
                    ],
                    "responses": {"200": {"description": "OK", "content": {"application/json": _reference(answer)}}},
                    "x-kubernetes-action": action,
                    "x-kubernetes-group-version-kind": group_version_kind(kind),
                }
                if method in ("post", "put"):
                    operation["requestBody"] = {"content": {"*/*": _reference(schema)}, "required": True}
                elif method == "patch":
                    patch = _reference("io.k8s.apimachinery.pkg.apis.meta.v1.Patch")
                    operation["requestBody"] = {"content": dict.fromkeys(patch_types, patch), "required": True}
                item[method] = operation
            item["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
                for name in path_parameters(path)
            ]
            paths[path] = item
    return paths


def _tag(kind: Kind) -> str:
    group = kind.resource.group.split(".")[0] or "core"
    return f"{group}_{kind.resource.version}"


def _reference(name: str | None) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}} if name else {}


def v2_paths(
    kinds: list[Kind], names: dict[tuple[str, str, str], str], patch_types: Sequence[str] = PATCH_TYPES
) -> Json:
    """Return the paths of a v2 document."""
    paths: Json = {}
    for kind in kinds:
        resource = kind.resource
        schema = names.get((resource.group, resource.version, resource.kind))
        listed = names.get((resource.group, resource.version, f"{resource.kind}List"))
        for path, methods in operations(kind).items():
            item: Json = {}
            for method, (action, identity, query) in methods.items():
                parameters: list[Json] = []
                if method in ("post", "put"):
                    parameters.append({"in": "body", "name": "body", "required": True, "schema": _v2_reference(schema)})
                elif method == "patch":
                    patch = _v2_reference("io.k8s.apimachinery.pkg.apis.meta.v1.Patch")
                    parameters.append({"in": "body", "name": "body", "required": True, "schema": patch})
                parameters += [
                    {"in": "query", "name": name, "type": type_name, "uniqueItems": True} for name, type_name in query
                ]
                operation: Json = {
                    "tags": [_tag(kind)],
                    "operationId": identity,
                    "consumes": list(patch_types) if method == "patch" else ["*/*"],
                    "produces": ["application/json", "application/yaml"],
                    "schemes": ["https"],
                    "parameters": parameters,
                    "responses": {
                        "200": {"description": "OK", "schema": _v2_reference(listed if action == "list" else schema)},
                        "401": {"description": "Unauthorized"},
                    },
                    "x-kubernetes-action": action,
                    "x-kubernetes-group-version-kind": group_version_kind(kind),
                }
                item[method] = operation
            item["parameters"] = [
                {"in": "path", "name": name, "required": True, "type": "string", "uniqueItems": True}
                for name in path_parameters(path)
            ]
            paths[path] = item
    return paths


def _v2_reference(name: str | None) -> Json:
    return {"$ref": f"#/definitions/{name}"} if name else {"type": "object"}
