"""Objects as a definition's schema allows them, and as files may hold them although it does not: made from the definitions themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st

from fairlead.api.crds import FOLDER
from fairlead.api.decode import CLUSTER_SCOPED, KINDS

Json = dict[str, Any]
GROUPS = ("gateway.networking.k8s.io", "fairlead.dev")
_HINTS: Mapping[str, tuple[Any, ...]] = {
    "name": ("one", "web", "cert", "fuzz-a", "http"),
    "parentRefs.name": ("web", "web", "fuzz-a", "fuzz-b"),
    "parentRef.name": ("web", "fuzz-a"),
    "parentRefs.kind": ("Gateway",),
    "parentRefs.group": ("gateway.networking.k8s.io",),
    "parentRefs.namespace": ("default",),
    "parentRefs.sectionName": ("http",),
    "parentRefs.port": (80,),
    "backendRefs.kind": ("Service",),
    "backendRefs.group": ("",),
    "backendRefs.namespace": ("default",),
    "backendRefs.port": (80,),
    "backendRef.port": (80,),
    "certificateRefs.name": ("cert", "cert", "one"),
    "backendRefs.name": ("one", "one", "one", "none"),
    "backendRef.name": ("one", "one", "one", "none"),
    "sectionName": ("http", "a", "b"),
    "namespace": ("default", "other"),
    "gatewayClassName": ("fairlead", "fairlead", "fairlead", "nobodys"),
    "port": (80, 443, 8080),
    "protocol": ("HTTP", "HTTPS", "TLS", "TCP", "UDP", "nobodys.example.com/X"),
    "kind": ("Service", "Gateway", "Secret", "ConfigMap", "HTTPRoute", "ListenerSet", "Nothing"),
    "group": ("", "gateway.networking.k8s.io", "fairlead.dev", "core"),
    "hostname": ("*.example.com", "healthy.example.com", "a.example.com", "*.com"),
    "hostnames": ("*.example.com", "healthy.example.com", "a.example.com", "*.com"),
    "from": ("All", "Same", "Selector", "None"),
}
"""Field, or the field around it and field → values that lead to something; which of them the schema allows is looked up."""
_TEXTS = (
    *(
        "a",
        "A",
        "*",
        "/",
        "/a",
        "/a/",
        "/a/b",
        "//",
        "/a?b",
        "/a#b",
        "/%2e",
        "a b",
        "x-a",
        "X-A",
        ":path",
        "host",
        "Host",
    ),
    *("content-length", "connection", "5s", "0s", "1h", "99999h", "1.5s", "-1s", "(?=x)", "[a", "a.*", "a{1001}", "(a"),
    *(
        "https://a.example.com",
        "https://*.example.com:8443",
        "http://*",
        "a.example.com",
        "*.example.com",
        "a..b",
        "x" * 253,
    ),
    *(
        "192.0.2.1",
        "2001:db8::1",
        "10.0.0.0/8",
        "::/0",
        "GET",
        "get",
        "1",
        "0",
        "True",
        "%REQ(:path)%",
        "%",
        "%%",
        "\\1",
    ),
    *(
        "é",
        "\n",
        "a\r\nb: c",
        "\0",
        "\t",
        "",
        " ",
        "x" * 5000,
        "{}",
        "spiffe://a/b",
        "https",
        "ftp",
        "text/plain",
        "gzip",
    ),
)
_WRONG = (
    *(None, "", "%", "\n", "\0", "x" * 5000, -1, 0, 65536, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 1.5, True),
    *([], {}, [{}], [None]),
)
"""Values that some field or other does not allow."""
_OFTEN, _SELDOM, _SPOILED = 0.7, 0.3, 0.06


def definitions() -> Iterator[tuple[str, Json]]:
    """Yield kind and schema of every definition of the gateway's groups that the network is compiled from."""
    for path in sorted(FOLDER.glob("*.yaml")):
        spec = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        if spec["group"] in GROUPS and spec["names"]["kind"] in KINDS:
            version = next(each for each in spec["versions"] if each["storage"])
            yield spec["names"]["kind"], version["schema"]["openAPIV3Schema"]


def objects() -> st.SearchStrategy[list[Json]]:
    """Return a few objects of any kinds; some hold what their schema does not allow. Evenly drawn: examples do not shrink."""
    known = dict(definitions())
    kinds = [each for each in known for _ in range(4 if each.endswith("Route") else 1)]

    def made(random: Random) -> list[Json]:
        return [_object(kind, known[kind], random) for kind in random.choices(kinds, k=random.randint(1, 6))]

    return st.randoms(use_true_random=True).map(made)


def _object(kind: str, schema: Json, random: Random) -> Json:
    spoiled = _SPOILED if random.random() < _SELDOM else 0.0
    namespace = "" if kind in CLUSTER_SCOPED else random.choice(("default", "default", "other"))
    metadata = {"name": random.choice(("fuzz-a", "fuzz-b")), "namespace": namespace}
    drawn = _Draw(random, spoiled).structure(schema["properties"]["spec"], "spec", always=0.9)
    return {"kind": kind, "metadata": metadata, "spec": drawn}


class _Draw:
    """Draws values of schemas; each is replaced by a wrong one with probability `spoiled`."""

    def __init__(self, random: Random, spoiled: float) -> None:
        self._random = random
        self._spoiled = spoiled

    def value(self, schema: Json, at: str) -> Any:
        """`at` names the field and the one around it."""
        random = self._random
        if self._spoiled and random.random() < self._spoiled:
            return random.choice(_WRONG if random.random() < _SELDOM else _TEXTS)
        field = at.rpartition(".")[2]
        kind = schema.get("type")
        if "default" in schema and kind in ("string", "integer") and random.random() < _OFTEN:
            return schema["default"]
        if "enum" in schema:
            return random.choice(schema["enum"])
        if kind == "boolean":
            return random.random() < 0.5
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", -(1 << 31)), schema.get("maximum", (1 << 31) - 1)
            hints = _HINTS.get(at, _HINTS.get(field, ()))
            known = (*hints, *hints, *hints, 0, 1, 2, 100, low, high)
            return random.choice([each for each in known if isinstance(each, int) and low <= each <= high])
        if kind == "string":
            return self._text(schema, at)
        if kind == "array":
            least = schema.get("minItems", 0)
            count = max(least, random.choice((1, 1, 2, 3)) if random.random() < _OFTEN + 0.2 else 0)
            return [self.value(schema["items"], at) for _ in range(min(count, schema.get("maxItems", count)))]
        if kind == "object" and "additionalProperties" in schema:
            inner = schema["additionalProperties"]
            return {random.choice(_TEXTS): self.value(inner, at) for _ in range(random.randint(0, 2))}
        if kind == "object":
            return self.structure(schema, field)
        return random.choice((80, "80%", "http", *_TEXTS))

    def structure(self, schema: Json, field: str, *, always: float = 0.5) -> Json:
        random = self._random
        properties: Json = schema.get("properties", {})
        required = schema.get("required", ())
        variants = {each.lower(): each for each in properties.get("type", {}).get("enum", ())}
        branches = [name for name in properties if name.lower() in variants]
        names = [name for name in properties if name in required or random.random() < always]
        found: Json = {}
        if branches and random.random() >= self._spoiled:
            # A union: what `type` names is there, and nothing of the others.
            branch = random.choice(branches)
            found["type"] = variants[branch.lower()]
            names = [branch, *(name for name in names if name not in (*branches, "type"))]
        for name in names:
            if random.random() >= self._spoiled / 2:
                found[name] = self.value(properties[name], f"{field}.{name}")
        return found

    def _text(self, schema: Json, at: str) -> str:
        field = at.rpartition(".")[2]
        hints = [
            each for each in _HINTS.get(at, _HINTS.get(field, ())) if isinstance(each, str) and _allows(schema, each)
        ]
        allowed = [each for each in _TEXTS if _allows(schema, each)]
        if hints and (not allowed or self._random.random() < _OFTEN + 0.2):
            return self._random.choice(hints)
        return self._random.choice(allowed or ["a"])


def _allows(schema: Json, text: str) -> bool:
    return schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1 << 20) and (
        "pattern" not in schema or re.search(schema["pattern"], text) is not None
    )
