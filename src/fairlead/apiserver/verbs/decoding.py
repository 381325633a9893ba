"""From a body to an object that verbs may work on: type, unknown fields, defaults.

Field validation (KEP-2885): Strict refuses unknown and duplicate fields, Warn (the default) warns, Ignore says nothing.
"""

from __future__ import annotations

from fairlead.apiserver.api import Call, Json
from fairlead.apiserver.errors import bad_request, invalid
from fairlead.apiserver.http import body as bodies


def decode_for(call: Call, media: str, content: bytes) -> Json:
    """Return the defaulted object in a create or update body; raises 400, 415, 422."""
    resource = call.served.resource
    if not content:
        raise bad_request("the request body is empty: an object of kind " + resource.kind + " is needed")
    obj = bodies.decode_object(content, media, resource.kind)
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if api_version and api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({resource.api_version})"
        )
    if kind and kind != resource.kind:
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"converting ({kind}) to ({resource.kind}): unknown conversion"
        )
    obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
    is_json = content.lstrip()[:1] == b"{"
    return settle(call, obj, content if is_json else None)


def settle(call: Call, obj: Json, content: bytes | None) -> Json:
    """Return `obj` checked for types and unknown fields, and defaulted; `content` is its JSON as received, if it came so."""
    strategy, resource = call.served.strategy, call.served.resource
    problem = strategy.type_error(obj, content)
    if problem is not None:
        raise bad_request(problem)
    mode = call.query.get("fieldValidation") or "Warn"
    if mode not in ("Strict", "Warn", "Ignore"):
        message = f'Unsupported value: "{mode}": supported values: "Ignore", "Strict", "Warn"'
        raise invalid("CreateOptions", "meta.k8s.io", "", [("fieldValidation", "FieldValueNotSupported", message)])
    if mode != "Ignore":
        found = strategy.unknown_fields(obj, content)
        if found and mode == "Strict":
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {', '.join(found)}"
            )
        call.warnings.extend(item for item in found if item not in call.warnings)
    strategy.default(obj)
    return obj
