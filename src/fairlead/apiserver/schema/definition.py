"""Whether a CustomResourceDefinition may be stored: names, versions, columns, subresources, and the schema of each version.

Source: k8s.io/apiextensions-apiserver, pkg/apis/apiextensions/validation (apiextensions.k8s.io/v1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fairlead.apiserver import definition_status
from fairlead.apiserver.definition_status import APPROVAL
from fairlead.apiserver.kinds import formats
from fairlead.apiserver.kinds.field_error import (
    FieldError,
    GoLiteral,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from fairlead.apiserver.schema import default_values, keywords, rule_checks, shape, structure
from fairlead.apiserver.schema.field_paths import FieldPathError, resolve
from fairlead.apiserver.schema.node import compile_schema

Json = dict[str, Any]

_VERSIONS = GoLiteral("[]apiextensions.CustomResourceDefinitionVersion{...}")
_MOST_SELECTABLE_FIELDS = 8


def check(obj: Json) -> list[FieldError]:
    """Return why a definition may not be created."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    names, group, name = spec.get("names") or {}, spec.get("group") or "", metadata.get("name") or ""
    found: list[FieldError] = []
    if name != f"{names.get('plural') or ''}.{group}":
        found.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    return found + _spec(spec) + list(_approval(group, metadata, None)) + _preserving(spec, {})


def check_update(new: Json, old: Json) -> list[FieldError]:
    """Return why a definition may not become `new`. What names its objects stays; versions that are stored stay."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = _spec(spec)
    kept = [("group",), ("names", "plural")]
    if definition_status.is_true(old, "Established"):
        kept = [("scope",), ("names", "kind"), *kept]
    for path in kept:
        if (value := _at(spec, path)) != _at(before, path):
            found.append(invalid(f"spec.{'.'.join(path)}", value, "field is immutable"))
    found += _stored((new.get("status") or {}).get("storedVersions") or [], spec.get("versions") or [])
    found += _approval(spec.get("group") or "", new["metadata"], old["metadata"])
    return found + _preserving(spec, before)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = (value or {}).get(key)
    return value


def _spec(spec: Json) -> list[FieldError]:
    found = [*_group(spec.get("group") or ""), *_scope(spec.get("scope") or "")]
    versions = spec.get("versions") or []
    seen: set[str] = set()
    for position, version in enumerate(versions):
        name = version.get("name") or ""
        where = f"spec.versions[{position}]"
        found += [invalid(f"{where}.name", name, text) for text in formats.dns_1035_label(name)]
        found += _version(version, where)
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
    if sum(bool(version.get("storage")) for version in versions) != 1:
        found.append(invalid("spec.versions", _VERSIONS, "must have exactly one version marked as storage version"))
    found += _names(spec.get("names") or {})
    found += _conversion(spec.get("conversion") or {})
    return found


def _group(group: str) -> Iterator[FieldError]:
    if not group:
        yield required("spec.group")
    elif texts := formats.dns_subdomain(group):
        yield invalid("spec.group", group, ",".join(texts))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")


def _scope(scope: str) -> Iterator[FieldError]:
    if not scope:
        yield required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield not_supported("spec.scope", scope, ("Cluster", "Namespaced"))


def _names(names: Json) -> Iterator[FieldError]:
    mixed = "may have mixed case, but should otherwise match: "
    for part in ("plural", "singular", "kind", "listKind"):
        value, where = names.get(part) or "", f"spec.names.{part}"
        if not value:
            yield required(where)
        elif part in ("plural", "singular"):
            yield from _label(value, where)
        elif texts := formats.dns_1035_label(value.lower()):
            yield invalid(where, value, mixed + ",".join(texts))
    for part in ("shortNames", "categories"):
        for position, value in enumerate(names.get(part) or ()):
            yield from _label(value, f"spec.names.{part}[{position}]")
    if names.get("kind") and names["kind"] == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def _label(value: str, where: str) -> Iterator[FieldError]:
    if texts := formats.dns_1035_label(value):
        yield invalid(where, value, ",".join(texts))


def _conversion(conversion: Json) -> Iterator[FieldError]:
    strategy, webhook = conversion.get("strategy") or "None", conversion.get("webhook") or {}
    where = "spec.conversion.webhookClientConfig"
    if strategy not in ("None", "Webhook"):
        yield not_supported("spec.conversion.strategy", strategy, ("None", "Webhook"))
    elif strategy == "None":
        if webhook:
            yield forbidden(where, "should not be set when strategy is not set to Webhook")
    else:
        config = webhook.get("clientConfig")
        if config is None:
            yield required(where, "required when strategy is set to Webhook")
        elif (config.get("url") is None) is (config.get("service") is None):
            yield required(where, "exactly one of url or service is required")
        if not webhook.get("conversionReviewVersions"):
            yield required("spec.conversion.conversionReviewVersions")


def _approval(group: str, metadata: Json, before: Json | None) -> Iterator[FieldError]:
    if not definition_status.is_protected(group):
        return
    value = (metadata.get("annotations") or {}).get(APPROVAL) or ""
    if before is not None and ((before.get("annotations") or {}).get(APPROVAL) or "") == value:
        return
    where, more = f"metadata.annotations[{APPROVAL}]", "see https://github.com/kubernetes/enhancements/pull/1111"
    text = f'protected groups must have approval annotation "{APPROVAL}"'
    if not value:
        yield required(where, f"{text}, {more}")
    elif not value.startswith("unapproved") and not (urlsplit(value).scheme and urlsplit(value).netloc):
        yield invalid(where, value, f'{text} with either a URL or a reason starting with "unapproved", {more}')


def _preserving(spec: Json, before: Json) -> list[FieldError]:
    if not spec.get("preserveUnknownFields") or before.get("preserveUnknownFields"):
        return []
    text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
    return [invalid("spec.preserveUnknownFields", True, text)]


def _stored(stored: list[str], versions: list[Json]) -> Iterator[FieldError]:
    names = {version.get("name") for version in versions}
    for position, name in enumerate(stored):
        if name not in names:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a "
                f"storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            yield invalid(f"status.storedVersions[{position}]", name, text)


# One version.


def _version(version: Json, path: str) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is not None:
        for text in _warning_problems(warning, deprecated=bool(version.get("deprecated"))):
            yield invalid(f"{path}.deprecationWarning", warning, text)
    subresources = version.get("subresources") or {}
    schema, where = (version.get("schema") or {}).get("openAPIV3Schema"), f"{path}.schema.openAPIV3Schema"
    if schema is None:
        yield required(where, "schemas are required")
    else:
        yield from check_schema(schema, where, has_status="status" in subresources)
    yield from _scale(subresources.get("scale"), f"{path}.subresources.scale")
    for position, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{path}.additionalPrinterColumns[{position}]")
    yield from _selectable(version.get("selectableFields") or [], schema or {}, f"{path}.selectableFields")


def _warning_problems(warning: str, *, deprecated: bool) -> Iterator[str]:
    if not deprecated:
        yield "can only be set for deprecated versions"
        return
    if len(warning.encode()) > 256:
        yield "must be <= 256 characters long"
    if not warning:
        yield "must not be an empty string"
    for position, one in enumerate(warning):
        if not one.isprintable():
            yield f"must only contain printable UTF-8 characters; non-printable character found at index {position}"
            return


_AT_ROOT = frozenset(
    """description type format title maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems minItems
    uniqueItems multipleOf required items properties externalDocs example x-kubernetes-preserve-unknown-fields
    x-kubernetes-validations""".split()
)
_AT_ROOT_TEXT = (
    "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems "
    "UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]"
)


def check_schema(schema: Json, path: str, *, has_status: bool = False) -> list[FieldError]:
    """Return what is wrong with the schema of a version; rules are judged only when the rest is right."""
    found = list(shape.check(schema, path))
    if found:
        return found
    if has_status:
        found += _root(schema, path)
    if schema.get("nullable"):
        found.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    not_structural = structure.check(schema, path)
    wrong: list[FieldError] = []
    ruled = list(keywords.check(schema, path, wrong))
    found += not_structural
    if not not_structural and not wrong:
        found += default_values.check(compile_schema(schema), path)
    found += wrong
    return found or rule_checks.check(schema, path, ruled)


def _root(schema: Json, path: str) -> Iterator[FieldError]:
    if schema.get("type") != "object":
        text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield invalid(f"{path}.type", schema.get("type") or "", text)
    elif any(value for key, value in schema.items() if key not in _AT_ROOT):
        text = f"only {_AT_ROOT_TEXT} fields are allowed at the root of the schema if the status subresource is enabled"
        yield invalid(path, GoLiteral("apiextensions.JSONSchemaProps{...}"), text)


def _scale(scale: Json | None, path: str) -> Iterator[FieldError]:
    if scale is None:
        return
    for key, above in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",))):
        value = scale.get(key) or ""
        if not value:
            yield required(f"{path}.{key}")
        else:
            yield from _simple_path(value, f"{path}.{key}", above)
    if selector := scale.get("labelSelectorPath"):
        yield from _simple_path(selector, f"{path}.labelSelectorPath", (".spec.", ".status."))


def _simple_path(value: str, where: str, above: tuple[str, ...] = ()) -> Iterator[FieldError]:
    if not value.startswith("."):
        yield invalid(where, value, "must be a simple json path starting with .")
    elif above and not value.startswith(above):
        parts = [one.rstrip(".") for one in above]
        text = f"either {parts[0]} or {parts[1]}" if len(parts) > 1 else parts[0]
        yield invalid(where, value, f"should be a json path under {text}")


_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def _column(column: Json, path: str) -> Iterator[FieldError]:
    kind, form, text = column.get("type") or "", column.get("format") or "", f"must be one of {','.join(_COLUMN_TYPES)}"
    if not column.get("name"):
        yield required(f"{path}.name")
    if not kind:
        yield required(f"{path}.type", text)
    elif kind not in _COLUMN_TYPES:
        yield invalid(f"{path}.type", kind, text)
    if form and form not in _COLUMN_FORMATS:
        yield invalid(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
    if not column.get("jsonPath"):
        yield required(f"{path}.JSONPath")
    else:
        yield from _simple_path(column["jsonPath"], f"{path}.JSONPath")


def _selectable(fields: list[Json], schema: Json, path: str) -> Iterator[FieldError]:
    seen: set[tuple[str, ...]] = set()
    for position, field in enumerate(fields):
        value, where = field.get("jsonPath") or "", f"{path}[{position}].jsonPath"
        if not value:
            yield required(where)
            continue
        try:
            steps, below = resolve(value, schema, brackets=False)
        except FieldPathError as error:
            yield invalid(where, value, f"is an invalid path: {error}")
            continue
        if steps[0] == "metadata":
            yield invalid(where, value, "must not point to fields in metadata")
        if below.get("type") not in ("string", "boolean", "integer"):
            text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(where, value, text)
        if steps in seen:
            yield duplicate(where, value)
        seen.add(steps)
    if len(seen) > _MOST_SELECTABLE_FIELDS:
        yield too_many(path, len(seen), _MOST_SELECTABLE_FIELDS)
