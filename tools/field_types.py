"""Extract how server-side apply treats lists and maps of the Kubernetes API into one JSON data file for the API server.

Reads the schemas that the package kubernetes-validate carries. Message → field → the keys of a list whose items have an identity, "set",
or "atomic" for a map that is owned as a whole; the field "" stands for the message itself. Lists that are not named are atomic.

    python tools/field_types.py > src/fairlead/apiserver/kinds/field_types.json
"""

from __future__ import annotations

import json
import re

from fairlead.apiserver.kinds import schemas

NAME = re.compile(r"(?:io\.k8s\.api|io\.k8s\.(?:apimachinery|apiextensions-apiserver)\.pkg\.apis)\.(\w+)\.(\w+)\.(\w+)")


def main() -> None:
    """Write the table to standard output."""
    table: dict[str, dict[str, object]] = {}
    for name, schema in schemas.load().items():
        found = NAME.fullmatch(name)
        if found is None:
            continue
        rows: dict[str, object] = {}
        if schema.get("x-kubernetes-map-type") == "atomic":
            rows[""] = "atomic"
        for field, declared in (schema.get("properties") or {}).items():
            if declared.get("x-kubernetes-list-type") == "map":
                rows[field] = declared["x-kubernetes-list-map-keys"]
            elif declared.get("x-kubernetes-list-type") == "set":
                rows[field] = "set"
            elif declared.get("x-kubernetes-map-type") == "atomic":
                rows[field] = "atomic"
        if rows:
            table["{}/{}.{}".format(*found.groups())] = rows
    print(json.dumps(table, sort_keys=True, separators=(",", ":")))


if __name__ == "__main__":
    main()
