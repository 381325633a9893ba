"""Extract the wire facts of the Kubernetes API types into one JSON data file for the API server.

Reads struct declarations (field number, JSON name, type, pointer, omitempty) from checkouts of k8s.io/api,
k8s.io/apimachinery and k8s.io/apiextensions-apiserver. Only names, numbers and types are taken, no text.

    python tools/wire_types.py --ref v0.33.0 API_GIT APIMACHINERY_GIT APIEXTENSIONS_GIT > src/fairlead/apiserver/kinds/wire_types.json
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

API = """core/v1 apps/v1 batch/v1 networking/v1 discovery/v1 rbac/v1 policy/v1 autoscaling/v1 autoscaling/v2 coordination/v1
storage/v1 scheduling/v1 authorization/v1 authentication/v1 events/v1 admissionregistration/v1 certificates/v1 node/v1""".split()
ALIASES = {"k8s.io/apimachinery/pkg/api/resource": "resource", "k8s.io/apimachinery/pkg/util/intstr": "intstr"}
ALIASES |= {"k8s.io/apimachinery/pkg/runtime": "runtime", "k8s.io/apimachinery/pkg/types": "types"}
SPECIAL = {
    "resource.Quantity",
    "intstr.IntOrString",
    "meta/v1.Time",
    "meta/v1.MicroTime",
    "meta/v1.Duration",
    "meta/v1.FieldsV1",
}
SPECIAL |= {"runtime.RawExtension", "apiextensions/v1.JSON", "apiextensions/v1.JSONSchemaPropsOrArray"}
SPECIAL |= {"apiextensions/v1.JSONSchemaPropsOrBool", "apiextensions/v1.JSONSchemaPropsOrStringArray"}
SCALARS = {"string", "bool", "int32", "int64", "int", "float64", "byte", "uint32", "uint64"}

FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\*?[\w.\[\]*]+)\s+`([^`]*)`")
STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.M | re.S)
NAMED = re.compile(r"^type (\w+) (\[\]\w[\w.]*|map\[\w+\][\w.]+|string|int32|int64|bool)\b", re.M)
IMPORT = re.compile(r'^\t(?:(\w+) )?"(k8s\.io/[^"]+)"', re.M)


def package_of(path: str) -> str | None:
    """Return the short package name of an import path."""
    if path in ALIASES:
        return ALIASES[path]
    for prefix in ("k8s.io/api/", "k8s.io/apimachinery/pkg/apis/"):
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return None


def read(repo: str, ref: str, path: str) -> str:
    """Return the text of one file at a tag."""
    return subprocess.run(
        ["git", "-C", repo, "show", f"{ref}:{path}"], check=True, capture_output=True, text=True
    ).stdout


def main() -> None:
    """Write the table to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ref", default="v0.33.0")
    parser.add_argument("repos", nargs=3)
    arguments = parser.parse_args()
    api, machinery, extensions = arguments.repos
    sources = {package: [read(api, arguments.ref, f"{package}/types.go")] for package in API}
    sources["meta/v1"] = [read(machinery, arguments.ref, "pkg/apis/meta/v1/types.go")]
    sources["apiextensions/v1"] = [
        read(extensions, arguments.ref, f"pkg/apis/apiextensions/v1/{name}.go")
        for name in ("types", "types_jsonschema")
    ]
    named: dict[str, str] = {"types.UID": "string", "types.NamespacedName": "string", "types.NodeName": "string"}
    structs: dict[str, tuple[str, str, dict[str, str]]] = {}
    for package, texts in sources.items():
        for text in texts:
            imports = {}
            for alias, path in IMPORT.findall(text):
                short = package_of(path)
                if short:
                    imports[alias or path.rsplit("/", 1)[-1]] = short
            for name, target in NAMED.findall(text):
                named[f"{package}.{name}"] = qualify(target, package, imports)
            for name, body in STRUCT.findall(text):
                structs[f"{package}.{name}"] = (package, body, imports)
    table = {}
    for name, (package, body, imports) in structs.items():
        if name in SPECIAL:
            continue
        fields = [field for line in body.splitlines() if (field := parse(line, package, imports, named)) is not None]
        table[name] = fields
    json_lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(table[name], separators=(',', ':'))}" for name in sorted(reach(table))
    )
    sys.stdout.write("{\n" + json_lines + "\n}\n")


def qualify(text: str, package: str, imports: dict[str, str]) -> str:
    """Return a Go type with every name prefixed by its short package."""

    def one(match: re.Match[str]) -> str:
        word = match.group(0)
        if "." in word:
            alias, name = word.split(".")
            return f"{imports[alias]}.{name}"
        return word if word in SCALARS or word == "map" else f"{package}.{word}"

    return re.sub(r"[A-Za-z_][\w.]*", one, text)


def parse(line: str, package: str, imports: dict[str, str], named: dict[str, str]) -> list[object] | None:
    """Return [number, JSON name ("" when inlined), type, Go name, flags] of one field line, or None."""
    match = FIELD.match(line)
    if not match:
        return None
    go_name, go_type, tags = match.groups()
    json_tag = re.search(r'json:"([^"]*)"', tags)
    protobuf = re.search(r'protobuf:"(\w+),(\d+)', tags)
    if json_tag is None or json_tag.group(1) == "-":
        return None
    json_name, *options = json_tag.group(1).split(",")
    if json_name == "" and go_name is None and "TypeMeta" in go_type:
        return None
    full = qualify(go_type, package, imports)
    while True:
        resolved = re.sub(r"[\w/]+\.\w+", lambda m: named.get(m.group(0), m.group(0)), full)
        if "ExtraValue" in full or resolved == full:
            break
        full = resolved
    flags = "o" if "omitempty" in options or "omitzero" in options else ""
    strategy = re.search(r'patchStrategy:"([^"]*)"', tags)
    merge_key = re.search(r'patchMergeKey:"([^"]*)"', tags)
    if strategy:
        flags += f"|{strategy.group(1)}|{merge_key.group(1) if merge_key else ''}"
    number = int(protobuf.group(2)) if protobuf else 0
    return [number, json_name, full, go_name or go_type.split(".")[-1].lstrip("*"), flags]


def reach(table: dict[str, list[list[object]]]) -> set[str]:
    """Return the types that hold metadata or are options, reviews and statuses, and everything below them."""
    todo = [name for name, fields in table.items() if any(field[1] == "metadata" for field in fields)]
    todo += [
        "meta/v1.DeleteOptions",
        "meta/v1.CreateOptions",
        "meta/v1.UpdateOptions",
        "meta/v1.PatchOptions",
        "meta/v1.Status",
    ]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen or name not in table:
            continue
        seen.add(name)
        for field in table[name]:
            todo += re.findall(r"[\w/]+\.\w+", str(field[2]))
    return seen


if __name__ == "__main__":
    main()
