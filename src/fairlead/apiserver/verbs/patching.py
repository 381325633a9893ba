"""Patch: the four media types, and creation by apply."""

from __future__ import annotations

import msgspec

from fairlead.apiserver.api import Api, Call, Json, timestamp
from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.errors import StatusError, bad_request, not_found, unsupported_media_type
from fairlead.apiserver.http import body as bodies
from fairlead.apiserver.http.info import flag
from fairlead.apiserver.patch import document, fields, managed
from fairlead.apiserver.patch import schema as schemas
from fairlead.apiserver.patch.apply import LAST_APPLIED, apply
from fairlead.apiserver.patch.schema import FieldSchema
from fairlead.apiserver.patch.strategic import strategic_merge
from fairlead.apiserver.store.records import Entry, decode, encode
from fairlead.apiserver.verbs.create import create
from fairlead.apiserver.verbs.decoding import settle
from fairlead.apiserver.verbs.update import Transform, update

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_YAML = "application/apply-patch+yaml"
APPLY_CBOR = "application/apply-patch+cbor"
OFFERED = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_YAML))


async def patch(api: Api, call: Call, media: str, content: bytes) -> tuple[int, Entry]:
    """Change the object by the patch in `content` and return the code and the result; apply creates what is absent."""
    if media == APPLY_YAML:
        return await _apply(api, call, content)
    transform = transformation(call, media, content)
    return 200, await update(api, call, transform)


def transformation(call: Call, media: str, content: bytes) -> Transform:
    """Return what the patch does to an object of the call's kind; raises 400 and 415."""
    expected = call.served.resource.kind
    if media == JSON_PATCH:
        operations = bodies.decode_json(content, expected)
        return lambda current: _checked(call, document.json_patch(current, decode(encode(operations))))
    if media not in (MERGE_PATCH, STRATEGIC_PATCH):
        raise unsupported_media_type(OFFERED)
    changes = bodies.decode_json(content, expected)
    if not isinstance(changes, dict):
        raise bad_request("error decoding patch: the patch must be a JSON object")
    if media == MERGE_PATCH:
        return lambda current: _checked(call, document.merge_patch(current, decode(encode(changes))))
    if call.served.strategy.custom:
        raise unsupported_media_type(f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY_YAML}")
    schema = schemas.of(call.served.strategy.patch_schema())
    return lambda current: _checked(call, strategic_merge(current, decode(encode(changes)), schema))


def _checked(call: Call, patched: object) -> Json:
    if not isinstance(patched, dict):
        raise bad_request("the patched document is no object")
    resource = call.served.resource
    for key, value in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if patched.setdefault(key, value) != value:
            raise bad_request(f"{key}: Invalid value: {patched[key]!r}: field is immutable; must be {value!r}")
    return settle(call, patched, None)


async def _apply(api: Api, call: Call, content: bytes) -> tuple[int, Entry]:
    if not call.query.get("fieldManager"):
        message = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        raise StatusError(_required_manager(message))
    config = bodies.decode_yaml(content)
    if not isinstance(config, dict):
        raise bad_request("error decoding YAML: the configuration must be an object")
    resource = call.served.resource
    if (
        config.get("kind", resource.kind) != resource.kind
        or config.get("apiVersion", resource.api_version) != resource.api_version
    ):
        raise bad_request(
            f"{config.get('apiVersion')}, Kind={config.get('kind')} does not match {resource.api_version}, Kind={resource.kind}"
        )
    metadata = config["metadata"] = config.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("failed to create typed patch object: .metadata: expected a map")
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    metadata.setdefault("name", call.info.name)
    problem = call.served.strategy.type_error(decode(encode(config)), None)
    if problem is not None:
        raise bad_request(f"failed to create typed patch object: {problem}")
    transform = _application(call, config)
    try:
        return 200, await update(api, call, transform, tracks=False)
    except StatusError as error:
        if error.code != 404 or call.info.subresource or metadata.get("uid"):
            raise
    if api.store.latest(call.served.table, call.namespace, call.info.name) is not None:
        raise not_found(resource, call.info.name)
    # The request was authorized as a patch; it is about to be a creation.
    creation = Question("create", resource.group, resource.plural, "", call.namespace, call.info.name)
    api.authorizer.require(call.identity, creation)
    fresh: Json = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": call.info.name}}
    fresh["metadata"] |= {key: metadata[key] for key in ("namespace",) if key in metadata}
    created = transform(fresh)
    owners = created["metadata"].pop("managedFields", [])
    entry = await create(api, call, created, owners=owners)
    return 201, entry


def _application(call: Call, config: Json) -> Transform:
    """Return what applying `config` does to an object, or to the bare metadata of one that is to be."""
    metadata = config["metadata"]
    manager, now = call.manager("Apply"), timestamp()
    schema = call.served.strategy.field_schema()
    ignored = call.ignored_fields
    if call.info.subresource == "status":
        ignored = tuple(key for key in config if key not in ("metadata", "status"))

    def transform(current: Json) -> Json:
        by_kubectl = manager.name == "kubectl" and LAST_APPLIED in (current["metadata"].get("annotations") or {})
        applied = apply(
            current,
            decode(encode(config)),
            schema,
            manager=manager,
            now=now,
            force=flag(call.query, "force"),
            ignored=ignored,
            yielding=_applied_before(current, schema) if by_kubectl else None,
        )
        if by_kubectl:
            # Who goes on with client-side apply must find what is wanted now.
            annotations = applied["metadata"].get("annotations") or {}
            stated = encode(config).decode() + "\n"
            applied["metadata"]["annotations"] = {**annotations, LAST_APPLIED: stated}
        if "resourceVersion" in metadata:
            applied["metadata"]["resourceVersion"] = metadata["resourceVersion"]
        return _checked(call, applied)

    return transform


def _applied_before(current: Json, schema: FieldSchema) -> fields.Fields:
    """Return the fields that kubectl's client-side apply set: its server-side apply may take them over without conflict."""
    try:
        before = decode(current["metadata"]["annotations"][LAST_APPLIED])
        return fields.of_value(managed.visible(before), schema)
    except (msgspec.DecodeError, StatusError, AttributeError, TypeError):
        return {}


def _required_manager(message: str) -> Json:
    cause = {
        "reason": "FieldValueRequired",
        "message": "Required value: is required for apply patch",
        "field": "fieldManager",
    }
    details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Invalid",
        "details": details,
        "code": 422,
    }
