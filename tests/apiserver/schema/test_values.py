"""Values against schemas, in the real server's words."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.apiserver.schema import values
from fairlead.apiserver.schema.node import MISSING, compile_schema

INT_OR_STRING = {"x-kubernetes-int-or-string": True}
BOTH = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def texts(schema: Any, value: Any, old: Any = MISSING) -> list[str]:
    root = compile_schema({"type": "object", "properties": {"field": schema}})
    before = {"field": old} if old is not MISSING else MISSING
    return sorted(map(str, values.check({"field": value}, root, before)))


def mismatch(wanted: str, found: str) -> str:
    return f'field: Invalid value: "{found}": field in body must be of type {wanted}: "{found}"'


ANY_OF = '<nil>: Invalid value: "": "field" must validate at least one schema (anyOf)'
ONE_OF = '<nil>: Invalid value: "": "field" must validate one and only one schema (oneOf). '
ALL_OF = '<nil>: Invalid value: "": "field" must validate all the schemas (allOf)'

CASES: dict[str, tuple[Any, Any, list[str]]] = {
    "object": ({"type": "object"}, {}, []),
    "object is text": ({"type": "object"}, "foo", [mismatch("object", "string")]),
    "object is number": ({"type": "object"}, 1.2, [mismatch("object", "number")]),
    "object is list": ({"type": "object"}, [], [mismatch("object", "array")]),
    "object is null": ({"type": "object"}, None, [mismatch("object", "null")]),
    "nullable": ({"type": "object", "nullable": True}, None, []),
    "no type": ({"nullable": True}, 1.2, []),
    "integer is boolean": ({"type": "integer"}, True, [mismatch("integer", "boolean")]),
    "integer as 1.0": ({"type": "integer"}, 1.0, []),
    "integer is 1.5": (
        {"type": "integer"},
        1.5,
        [
            '<nil>: Invalid value: "": Checked value must be of type integer (default format) in field',
            mismatch("integer", "number"),
        ],
    ),
    "number is integer": ({"type": "number"}, 1, []),
    "text is number": ({"type": "string"}, 42, [mismatch("string", "integer")]),
    "int-or-string": (INT_OR_STRING, "50%", []),
    "int-or-string is boolean": (INT_OR_STRING, True, [mismatch("integer,string", "boolean")]),
    "int-or-string is null": (INT_OR_STRING, None, [mismatch("integer,string", "null")]),
    "int-or-string, nullable": (INT_OR_STRING | {"nullable": True}, None, []),
    "int-or-string with anyOf": (
        INT_OR_STRING | BOTH,
        {},
        [ANY_OF, mismatch("integer,string", "object"), mismatch("integer", "object")],
    ),
    "int-or-string with allOf": (
        INT_OR_STRING | {"allOf": [BOTH]},
        True,
        [f"{ALL_OF}. None validated", ANY_OF, mismatch("integer,string", "boolean"), mismatch("integer", "boolean")],
    ),
    "int32": (
        {"type": "integer", "format": "int32"},
        2**31,
        ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in field'],
    ),
    "float": (
        {"type": "number", "format": "float"},
        1e39,
        ['<nil>: Invalid value: "": Checked value must be of type number with format float in field'],
    ),
    "unknown format": ({"type": "string", "format": "color"}, "x", []),
    "enum": ({"type": "string", "enum": ["a", "b"]}, "b", []),
    "not in enum": (
        {"type": "string", "enum": ["a", "b"]},
        "c",
        ['field: Unsupported value: "c": supported values: "a", "b"'],
    ),
    "wrong type, not in enum": (
        {"type": "integer", "enum": [1, 2]},
        "x",
        [mismatch("integer", "string"), 'field: Unsupported value: "x": supported values: "1", "2"'],
    ),
    "true is not 1": ({"enum": [1]}, True, ['field: Unsupported value: true: supported values: "1"']),
    "pattern": (
        {"type": "string", "pattern": "^a+$"},
        "ab",
        ["field: Invalid value: \"ab\": field in body should match '^a+$'"],
    ),
    "pattern of RE2": ({"type": "string", "pattern": r"^(?i)\pL+\z"}, "äB", []),
    "pattern that is none": (
        {"type": "string", "pattern": "+"},
        "foo",
        [
            'field: Invalid value: "foo": field in body should match \'+, but pattern is invalid: '
            "error parsing regexp: no argument for repetition operator: +'"
        ],
    ),
    "maxLength": ({"type": "string", "maxLength": 2}, "abc", ["field: Too long: may not be more than 2 bytes"]),
    "maxLength counts characters": ({"type": "string", "maxLength": 2}, "äö", []),
    "minLength": (
        {"type": "string", "minLength": 2},
        "a",
        ['field: Invalid value: "a": field in body should be at least 2 chars long'],
    ),
    "maximum": (
        {"type": "integer", "maximum": 10},
        11,
        ["field: Invalid value: 11: field in body should be less than or equal to 10"],
    ),
    "exclusive maximum": (
        {"type": "number", "maximum": 1.5, "exclusiveMaximum": True},
        1.5,
        ["field: Invalid value: 1.5: field in body should be less than 1.5"],
    ),
    "minimum": (
        {"type": "integer", "minimum": 1},
        0,
        ["field: Invalid value: 0: field in body should be greater than or equal to 1"],
    ),
    "exclusive minimum": (
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        1,
        ["field: Invalid value: 1: field in body should be greater than 1"],
    ),
    "multipleOf": (
        {"type": "integer", "multipleOf": 5},
        7,
        ["field: Invalid value: 7: field in body should be a multiple of 5"],
    ),
    "maxItems": ({"type": "array", "maxItems": 2}, [1, 2, 3], ["field: Too many: 3: must have at most 2 items"]),
    "minItems": (
        {"type": "array", "minItems": 1},
        [],
        ["field: Invalid value: 0: field in body should have at least 1 items"],
    ),
    "maxProperties": (
        {"type": "object", "maxProperties": 1},
        {"a": 1, "b": 2},
        ["field: Too many: 2: must have at most 1 item"],
    ),
    "minProperties": (
        {"type": "object", "minProperties": 1},
        {},
        ["field: Invalid value: 0: field in body should have at least 1 properties"],
    ),
    "required": ({"type": "object", "required": ["a"]}, {}, ["field.a: Required value"]),
    "items": (
        {"type": "array", "items": {"type": "integer"}},
        [1, "x"],
        ['field[1]: Invalid value: "string": field[1] in body must be of type integer: "string"'],
    ),
    "additionalProperties": (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"a": 1},
        ['field.a: Invalid value: "integer": field.a in body must be of type string: "integer"'],
    ),
    "anyOf": ({"anyOf": [{"minimum": 5}, {"enum": [1]}]}, 1, []),
    "anyOf, none": (
        {"anyOf": [{"minimum": 5}, {"minimum": 4}]},
        1,
        [ANY_OF, "field: Invalid value: 1: field in body should be greater than or equal to 5"],
    ),
    "oneOf, none": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {},
        [f"{ONE_OF}Found none valid", "field.a: Required value"],
    ),
    "oneOf, two": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"a": 1, "b": 1},
        [f"{ONE_OF}Found 2 valid alternatives"],
    ),
    "not": (
        {"not": {"enum": ["x"]}},
        "x",
        ['<nil>: Invalid value: "": "field" must not validate the schema (not)'],
    ),
}

FORMATS = {
    "bsonobjectid": ("507f1f77bcf86cd799439011", "507f"),
    "uri": ("https://a.example/x?y", "a b"),
    "email": ("a@example.com", "example.com"),
    "hostname": ("a.example.com", "-a.example"),
    "ipv4": ("10.0.0.1", "10.0.0.256"),
    "ipv6": ("2001:db8::1", "10.0.0.1"),
    "cidr": ("10.0.0.0/8", "10.0.0.0"),
    "mac": ("01:23:45:67:89:ab", "01:23:45:67:89"),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    "uuid3": ("bcd02e22-68f0-3046-a512-327cca9def8f", "bcd02e22-68f0-4046-a512-327cca9def8f"),
    "uuid4": ("025b0d74-00a2-4048-bf57-227c5111bb34", "025b0d74-00a2-5048-bf57-227c5111bb34"),
    "uuid5": ("886313e1-3b8a-5372-9b90-0c9aee199e5d", "886313e1-3b8a-4372-9b90-0c9aee199e5d"),
    "isbn": ("978-0321751041", "978-0321751042"),
    "isbn10": ("0321751043", "0321751044"),
    "isbn13": ("978-0321751041", "0321751043"),
    "creditcard": ("4111-1111-1111-1111", "4111-1111-1111-1112"),
    "ssn": ("111-11-1111", "111-1111"),
    "hexcolor": ("#FFFFFF", "#FFFFF"),
    "rgbcolor": ("rgb(100,100,100)", "rgb(100,100,256)"),
    "byte": ("aGk=", "aGk"),
    "date": ("2024-02-29", "2023-02-29"),
    "date-time": ("2024-02-29T10:00:00.5+02:00", "2024-02-29 10:00"),
    "duration": ("1h30m", "1x"),
    "k8s-short-name": ("a-b", "a-"),
    "k8s-long-name": ("a.b", "a.-"),
}


@pytest.mark.parametrize(("schema", "value", "expected"), CASES.values(), ids=CASES)
def test_case(schema: Any, value: Any, expected: list[str]) -> None:
    assert texts(schema, value) == sorted(expected)


@pytest.mark.parametrize("name", FORMATS)
def test_format(name: str) -> None:
    good, bad = FORMATS[name]
    schema = {"type": "string", "format": name}
    assert texts(schema, good) == []
    assert texts(schema, bad) == [f'field: Invalid value: "{bad}": field in body must be of type {name}: "{bad}"']


def test_any_text_is_a_password() -> None:
    assert texts({"type": "string", "format": "password"}, "?") == []


@pytest.mark.parametrize(
    ("schema", "old", "new", "refused"),
    [
        ({"type": "string", "maxLength": 1}, "ab", "ab", []),
        ({"type": "string", "maxLength": 1}, "ab", "abc", ["field"]),
        (
            {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [1]}}},
            {"a": 2, "b": 1},
            {"a": 2, "b": 2},
            ["field.b"],
        ),
        ({"type": "object", "required": ["a"]}, {"x": 1}, {"x": 1}, []),
        ({"type": "object", "required": ["a"]}, {"x": 1}, {"x": 2}, ["field.a"]),
        # Items without a key cannot be told apart.
        ({"type": "array", "items": {"enum": [1]}}, [2], [2, 1], ["field[0]"]),
        ({"type": "array", "items": {"enum": [1]}}, [2], [2], []),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"enum": [1]}}},
            },
            [{"k": "a", "v": 2}, {"k": "b", "v": 1}],
            [{"k": "b", "v": 2}, {"k": "a", "v": 2}],
            ["field[0].v"],
        ),
    ],
)
def test_what_an_update_leaves_alone_is_not_held_against_it(
    schema: Any, old: Any, new: Any, refused: list[str]
) -> None:
    assert [text.partition(":")[0] for text in texts(schema, new, old)] == refused


def test_the_status_alone_has_paths_of_its_own() -> None:
    root = compile_schema({"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["phase"]})
    assert [str(error) for error in values.check({"ready": 1}, root, prefix="status")] == [
        'status.ready: Invalid value: "integer": ready in body must be of type boolean: "integer"',
        "status.phase: Required value",
    ]
