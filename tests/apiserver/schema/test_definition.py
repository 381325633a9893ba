"""Definitions that are refused, in the real server's words; those that come with Fairlead are not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.api.crds import FOLDER
from fairlead.apiserver.schema import definition
from fairlead.apiserver.schema.resource import ResourceSchema

Json = dict[str, Any]
STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def boats(schema: Json | None = None, *, group: str = "sea.io", version: Json | None = None, **spec: Any) -> Json:
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or {"type": "object"}}}
    return {
        "metadata": {"name": f"boats.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [first | (version or {})], **spec},
    }


def fields(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def ruled(schema: Json, **rule: Any) -> Json:
    return fields(a=schema | {"x-kubernetes-validations": [rule]})


AT = "spec.versions[0].schema.openAPIV3Schema"
A = f"{AT}.properties[a]"
RULE = f"{A}.x-kubernetes-validations[0]"
SHOWN = "apiextensions.ValidationRule{...}"
LIMITS = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
MAP = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}

SCHEMAS: dict[str, tuple[Json, list[str]]] = {
    "no type at the root": ({"properties": {}}, [f"{AT}.type: Required value: must not be empty at the root"]),
    "another type at the root": (
        {"type": "string"},
        [f'{AT}.type: Invalid value: "string": must be object at the root'],
    ),
    "no type of a field": (fields(a={}), [f"{A}.type: Required value: must not be empty for specified object fields"]),
    "no type of items": (
        fields(a={"type": "array", "items": {}}),
        [f"{A}.items.type: Required value: must not be empty for specified array items"],
    ),
    "a list without items": (fields(a={"type": "array"}), [f"{A}.items: Required value: must be specified"]),
    "additionalProperties at the root": (
        {"type": "object", "additionalProperties": STRING},
        [f"{AT}.additionalProperties: Forbidden: must not be used at the root"],
    ),
    "both kinds of properties": (
        fields(a={"type": "object", "properties": {"b": STRING}, "additionalProperties": STRING}),
        [f"{A}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    ),
    "structure within a combination": (
        fields(a={"type": "object", "properties": {"b": STRING}, "oneOf": [{"type": "object", "default": 1}]}),
        [
            f"{A}.oneOf[0].default: Forbidden: must be undefined to be structural",
            f"{A}.oneOf[0].type: Forbidden: must be empty to be structural",
        ],
    ),
    "a combination of what is nowhere else": (
        fields(a={"type": "object", "anyOf": [{"properties": {"b": {"minLength": 1}}}]}),
        [f"{A}.properties[b]: Required value: because it is defined in {A}.anyOf[0].properties[b]"],
    ),
    "int-or-string": (
        fields(a={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        [],
    ),
    "int-or-string that preserves": (
        fields(a={"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}),
        [
            f"{A}.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"
        ],
    ),
    "an embedded resource without type": (
        fields(a={"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}),
        [f"{A}.type: Required value: must be object if x-kubernetes-embedded-resource is true"],
    ),
    "an embedded resource without fields": (
        fields(a={"type": "object", "x-kubernetes-embedded-resource": True}),
        [
            f"{A}.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        ],
    ),
    "metadata": (
        fields(metadata={"type": "object", "properties": {"labels": {"type": "object"}}}),
        [
            f"{AT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is "
            "implicitly specified"
        ],
    ),
    "the name in metadata": (fields(metadata=fields(name={"type": "string", "maxLength": 10})), []),
    "an unknown type": (
        fields(a={"type": "text"}),
        [
            f'{A}.type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"'
        ],
    ),
    "a pattern that is none": (
        fields(a={"type": "string", "pattern": "("}),
        [
            f'{A}.pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: missing ): ('
        ],
    ),
    "unique items": (
        fields(a={"type": "array", "items": STRING, "uniqueItems": True}),
        [
            f"{A}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        ],
    ),
    "references": (fields(a={"type": "object", "$ref": "#/x"}), [f"{A}.$ref: Forbidden: $ref is not supported"]),
    "preserve false": (
        fields(a={"type": "object", "x-kubernetes-preserve-unknown-fields": False}),
        [f"{A}.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
    ),
    "nullable root": (
        {"type": "object", "nullable": True},
        [f"{AT}.nullable: Forbidden: nullable cannot be true at the root"],
    ),
    "a list type of an object": (
        fields(a={"type": "object", "x-kubernetes-list-type": "set"}),
        [f'{A}.type: Invalid value: "object": must be array if x-kubernetes-list-type is specified'],
    ),
    "an unknown list type": (
        fields(a={"type": "array", "items": STRING, "x-kubernetes-list-type": "bag"}),
        [f'{A}.x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map"'],
    ),
    "a set of objects": (
        fields(a={"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}),
        [
            f'{A}.items.x-kubernetes-map-type: Invalid value: "null": must be atomic as item of a list with '
            "x-kubernetes-list-type=set"
        ],
    ),
    "a map without keys": (
        fields(a={"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
        [f"{A}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    ),
    "a map by a field that is not there": (
        fields(a=MAP | {"items": {"type": "object"}}),
        [f'{A}.x-kubernetes-list-map-keys: Invalid value: ["k"]: entries must all be names of item properties'],
    ),
    "a map by a field that may be absent": (
        fields(a=MAP | {"items": {"type": "object", "properties": {"k": STRING}}}),
        [
            f"{A}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a "
            "default or be a required property"
        ],
    ),
    "a map by objects": (
        fields(a=MAP | {"items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "object"}}}}),
        [
            f'{A}.items.properties[k].type: Invalid value: "object": must be a scalar type if parent array\'s '
            "x-kubernetes-list-type is map"
        ],
    ),
    "keys without a map": (
        fields(a={"type": "array", "items": STRING, "x-kubernetes-list-map-keys": ["k"]}),
        [f"{A}.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"],
    ),
    "a map type of a list": (
        fields(a={"type": "array", "items": STRING, "x-kubernetes-map-type": "atomic"}),
        [f'{A}.type: Invalid value: "array": must be object if x-kubernetes-map-type is specified'],
    ),
    "a default of another type": (
        fields(a={"type": "string", "default": 1}),
        [f'{A}.default: Invalid value: "integer":  in body must be of type string: "integer"'],
    ),
    "a default with unknown fields": (
        fields(a={"type": "object", "default": {"x": 1}}),
        [f'{A}.default: Invalid value: {{"x":1}}: must not have unknown fields'],
    ),
    "a default that breaks a rule": (
        fields(a=INTEGER | {"default": 1, "x-kubernetes-validations": [{"rule": "self > 1", "message": "more"}]}),
        [f"{A}.default: Invalid value: 1: more"],
    ),
    "a default of the kind": (
        fields(kind={"type": "string", "default": "X"}),
        [f"{AT}.properties[kind].default: Forbidden: must not be set in top-level kind"],
    ),
    "a rule without text": (ruled(INTEGER, rule=" "), [f"{RULE}.rule: Required value: rule is not specified"]),
    "a message of two lines": (
        ruled(INTEGER, rule="self > 0", message="a\nb"),
        [f'{RULE}.message: Invalid value: "a\\nb": must not contain line breaks'],
    ),
    "a long rule without message": (
        ruled(INTEGER, rule="self > 0 &&\nself < 5"),
        [f"{RULE}.message: Required value: message must be specified if rule contains line breaks"],
    ),
    "an unknown reason": (
        ruled(INTEGER, rule="self > 0", reason="Bad"),
        [
            f'{RULE}.reason: Unsupported value: "Bad": supported values: "FieldValueDuplicate", "FieldValueForbidden", '
            '"FieldValueInvalid", "FieldValueRequired"'
        ],
    ),
    "a field path to nowhere": (
        ruled(fields(b=STRING), rule="self.b == ''", fieldPath=".c"),
        [f'{RULE}.fieldPath: Invalid value: ".c": must be a valid path'],
    ),
    "no expression": (
        ruled(INTEGER, rule="self >"),
        [
            f"{RULE}.rule: Invalid value: {SHOWN}: compilation failed: ERROR: <input>:1:7: Syntax error: mismatched input '<EOF>' "
            "expecting an expression\n | self >\n | ......^"
        ],
    ),
    "an undefined field": (
        ruled(fields(b=STRING), rule="self.c == ''"),
        [
            f"{RULE}.rule: Invalid value: {SHOWN}: compilation failed: ERROR: <input>:1:5: undefined field 'c'\n | self.c == ''\n | ....^"
        ],
    ),
    "types that do not match": (
        ruled(fields(b=STRING), rule="self.b == 1"),
        [
            f"{RULE}.rule: Invalid value: {SHOWN}: compilation failed: ERROR: <input>:1:8: found no matching overload for '_==_' "
            "applied to '(string, int)'\n | self.b == 1\n | .......^"
        ],
    ),
    "no yes or no": (
        ruled(fields(b=STRING), rule="self.b"),
        [f"{RULE}.rule: Invalid value: {SHOWN}: cel expression must evaluate to a bool"],
    ),
    "a message that is no text": (
        ruled(INTEGER, rule="self > 0", messageExpression="self"),
        [f"{RULE}.messageExpression: Invalid value: {SHOWN}: messageExpression must evaluate to a string"],
    ),
    "a transition of items that have no past": (
        fields(
            a={
                "type": "array",
                "maxItems": 5,
                "items": INTEGER | {"x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
            }
        ),
        [
            f'{A}.items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the '
            f"uncorrelatable portion of the schema within {A}"
        ],
    ),
    "optionalOldSelf for nothing": (
        ruled(INTEGER, rule="self > 0", optionalOldSelf=True),
        [f"{RULE}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"],
    ),
    "a rule that grows with the square": (
        ruled({"type": "array", "items": STRING}, rule="self.all(x, self.exists_one(y, x == y))"),
        [
            f"{RULE}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {LIMITS}",
            f"{RULE}.rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            f"{AT}: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor "
            f"of more than 100x {LIMITS}",
        ],
    ),
    "the same within bounds": (
        ruled(
            {"type": "array", "maxItems": 32, "items": {"type": "string", "maxLength": 63}},
            rule="self.all(x, self.exists_one(y, x == y))",
        ),
        [],
    ),
    "metadata in a rule": (
        {
            "type": "object",
            "x-kubernetes-validations": [{"rule": "self.metadata.name.size() < 10 && self.kind == 'Boat'"}],
        },
        [],
    ),
    "labels in a rule": (
        {"type": "object", "x-kubernetes-validations": [{"rule": "has(self.metadata.labels)"}]},
        [
            f"{AT}.x-kubernetes-validations[0].rule: Invalid value: {SHOWN}: compilation failed: ERROR: <input>:1:18: undefined field "
            "'labels'\n | has(self.metadata.labels)\n | .................^"
        ],
    ),
    "a rule on a dashed field": (ruled(fields(**{"b-c": STRING}), rule="self.b__dash__c == ''"), []),
    "a text where a schema goes": (
        fields(a={"type": "array", "items": {"properties": 5, "maxItems": "x", "enum": {}, "required": "a"}}),
        [
            f'{A}.items.maxItems: Invalid value: "x": must be an integer',
            f"{A}.items.enum: Invalid value: {{}}: must be a list",
            f"{A}.items.properties: Invalid value: 5: must be an object",
            f'{A}.items.required: Invalid value: "a": must be a list of strings',
        ],
    ),
}

V1 = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}

DEFINITIONS: dict[str, tuple[Json, list[str]]] = {
    "good": (boats(), []),
    "another name": (
        boats() | {"metadata": {"name": "ships.sea.io"}},
        ['metadata.name: Invalid value: "ships.sea.io": must be spec.names.plural+"."+spec.group'],
    ),
    "a group without dot": (
        boats(group="sea"),
        ['spec.group: Invalid value: "sea": should be a domain with at least one dot'],
    ),
    "a group of Kubernetes": (
        boats(group="sea.k8s.io"),
        [
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "
            '"api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
        ],
    ),
    "a scope that is none": (
        boats(scope="World"),
        ['spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"'],
    ),
    "kind and list kind alike": (
        boats(names={"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "Boat"}),
        ['spec.names.listKind: Invalid value: "Boat": kind and listKind may not be the same'],
    ),
    "no storage version": (
        boats(version={"storage": False}),
        [
            "spec.versions: Invalid value: []apiextensions.CustomResourceDefinitionVersion{...}: must have exactly one version marked "
            "as storage version"
        ],
    ),
    "no schema": (
        boats(version={"schema": None}),
        [f"{AT}: Required value: schemas are required"],
    ),
    "a warning without deprecation": (
        boats(version={"deprecationWarning": "old"}),
        ['spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions'],
    ),
    "combinations at the root beside a status": (
        boats(
            {"type": "object", "properties": {"a": STRING}, "oneOf": [{"required": ["a"]}]},
            version={"subresources": {"status": {}}},
        ),
        [
            f"{AT}: Invalid value: apiextensions.JSONSchemaProps{{...}}: only {definition._AT_ROOT_TEXT} fields are allowed at the "
            "root of the schema if the status subresource is enabled"
        ],
    ),
    "a scale elsewhere": (
        boats(version={"subresources": {"scale": {"specReplicasPath": "spec.x", "statusReplicasPath": ".spec.x"}}}),
        [
            'spec.versions[0].subresources.scale.specReplicasPath: Invalid value: "spec.x": must be a simple json path starting with .',
            'spec.versions[0].subresources.scale.statusReplicasPath: Invalid value: ".spec.x": should be a json path under .status',
        ],
    ),
    "a column of no type": (
        boats(
            version={
                "additionalPrinterColumns": [
                    {"name": "X", "type": "text", "jsonPath": ".x"},
                    {"name": "Y", "type": "string"},
                ]
            }
        ),
        [
            'spec.versions[0].additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
            "spec.versions[0].additionalPrinterColumns[1].JSONPath: Required value",
        ],
    ),
    "fields that cannot be selected": (
        boats(
            fields(a=STRING, b={"type": "object"}),
            version={"selectableFields": [{"jsonPath": one} for one in (".a", ".a", ".b", ".c", ".a['x']")]},
        ),
        [
            'spec.versions[0].selectableFields[1].jsonPath: Duplicate value: ".a"',
            'spec.versions[0].selectableFields[2].jsonPath: Invalid value: ".b": must point to a field of type string, boolean or '
            "integer. Enum string fields and strings with formats are allowed.",
            'spec.versions[0].selectableFields[3].jsonPath: Invalid value: ".c": is an invalid path: does not refer to a valid field',
            "spec.versions[0].selectableFields[4].jsonPath: Invalid value: \".a['x']\": is an invalid path: array notation is not allowed",
        ],
    ),
    "a webhook without address": (
        boats(conversion={"strategy": "Webhook", "webhook": {"clientConfig": {}}}),
        [
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    ),
    "a webhook for no conversion": (
        boats(conversion={"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}),
        ["spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook"],
    ),
    "unknown fields preserved as of old": (
        boats(preserveUnknownFields=True),
        [
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead"
        ],
    ),
}


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS.values(), ids=SCHEMAS)
def test_schema(schema: Json, expected: list[str]) -> None:
    assert [str(error) for error in definition.check(boats(schema))] == expected


@pytest.mark.parametrize(("obj", "expected"), DEFINITIONS.values(), ids=DEFINITIONS)
def test_definition(obj: Json, expected: list[str]) -> None:
    assert [str(error) for error in definition.check(obj)] == expected


def test_what_objects_are_stored_by_stays() -> None:
    old = boats() | {"status": {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]}}
    new = copy.deepcopy(old)
    new["spec"] |= {"scope": "Cluster", "versions": [V1 | {"name": "v2"}]}
    new["spec"]["names"]["kind"] = "Ship"
    found = [str(error) for error in definition.check_update(new, old)]
    assert found[:2] == [
        'spec.scope: Invalid value: "Cluster": field is immutable',
        'spec.names.kind: Invalid value: "Ship": field is immutable',
    ]
    assert len(found) == 3
    assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in found[2]
    assert definition.check_update(old, old) == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_comes_with_fairlead_is_right(path: Path) -> None:
    assert list(map(str, definition.check(yaml.load(path.read_text(), yaml.CSafeLoader)))) == []


WORDS = st.sampled_from(
    """type properties items additionalProperties required enum default nullable anyOf allOf oneOf not pattern format maxItems minimum
    x-kubernetes-list-type x-kubernetes-list-map-keys x-kubernetes-validations x-kubernetes-int-or-string metadata
    x-kubernetes-embedded-resource x-kubernetes-preserve-unknown-fields rule message a b""".split()
)
ATOMS = st.sampled_from(
    ["object", "array", "string", "integer", "set", "map", "self.a == 1", "(", "", "a"]
) | st.integers(-1, 9)
ANYTHING = st.recursive(
    ATOMS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING, ANYTHING)
def test_any_schema_is_judged_and_what_passes_judges_any_object(schema: Any, value: Any) -> None:
    if definition.check_schema(schema, "s"):
        return
    found = ResourceSchema(schema)
    obj = {"apiVersion": "x/v1", "kind": "X", "metadata": {}, "a": value}
    found.settle(obj)
    assert found.unknown_fields(obj) == []
    found.check(obj)
