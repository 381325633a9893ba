"""Turn the published JSON schemas into those of OpenAPI v2 and v3 documents.

They differ in how they write references beside other words, nullable types and the few types with several JSON forms.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TWO_FORMS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ("int-or-string", ("integer", "string")),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ("", ("string", "number")),
}
_KEPT = frozenset(
    {"description", "format", "required", "default", "enum", "minimum", "maximum", "pattern", "title", "uniqueItems"}
)
_EXTENSIONS_OF_V2 = frozenset(
    {
        "x-kubernetes-group-version-kind",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-patch-merge-key",
        "x-kubernetes-patch-strategy",
        "x-kubernetes-unions",
    }
)


def for_v3(name: str, schema: Schema) -> Schema:
    """Return the definition `name` for `components.schemas` of a v3 document."""
    special = _TWO_FORMS.get(name)
    if special is not None:
        form, types = special
        result: Schema = {"oneOf": [{"type": item} for item in types]} | ({"format": form} if form else {})
        return result | ({"description": schema["description"]} if "description" in schema else {})
    return _v3(schema)


def _v3(schema: Schema) -> Schema:
    result: Schema = {}
    for key, value in schema.items():
        if key == "$ref":
            target = {"$ref": f"#/components/schemas/{value.rpartition('/')[2]}"}
            if len(schema) == 1:
                return target
            result["allOf"] = [target]
        else:
            _copy(result, key, value, _v3)
    return result


def for_v2(name: str, schema: Schema) -> Schema:
    """Return the definition `name` for `definitions` of a v2 document."""
    special = _TWO_FORMS.get(name)
    if special is not None:
        result: Schema = {"type": "string"} | ({"format": special[0]} if special[0] else {})
        return result | ({"description": schema["description"]} if "description" in schema else {})
    return _v2(schema)


def _v2(schema: Schema) -> Schema:
    result: Schema = {}
    for key, value in schema.items():
        if key == "$ref":
            result["$ref"] = f"#/definitions/{value.rpartition('/')[2]}"
        elif not key.startswith("x-") or key in _EXTENSIONS_OF_V2:
            _copy(result, key, value, _v2)
    return result


def _copy(result: Schema, key: str, value: Any, convert: Any) -> None:
    if key == "type":
        result["type"] = next(item for item in value if item != "null") if isinstance(value, list) else value
    elif key == "properties":
        result["properties"] = {name: convert(_plain(name, item)) for name, item in value.items()}
    elif key in ("items", "additionalProperties") and isinstance(value, dict):
        result[key] = convert(value)
    elif key in _KEPT or key.startswith("x-kubernetes"):
        result[key] = value


def _plain(name: str, schema: Schema) -> Schema:
    """Drop the fixed values that the published schemas give to apiVersion and kind: servers publish none."""
    if name in ("apiVersion", "kind") and "enum" in schema:
        return {key: value for key, value in schema.items() if key != "enum"}
    return schema
