"""Manifests from files and folders, each object with the file and line where it begins.

YAML (several documents) and JSON; `kind: List` is taken apart. A file that cannot be read as manifests becomes a diagnostic, the others
are used. It must never change a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fairlead.base.diagnostics import Diagnostic
from fairlead.base.errors import UserError
from fairlead.base.yaml_bounds import require_bounded

_SUFFIXES = frozenset((".yaml", ".yml", ".json"))
STANDARD_INPUT = Path("-")
"""Reads what is piped in."""
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Manifest(msgspec.Struct, frozen=True):
    """One object as written."""

    object: dict[str, Any]
    path: Path
    line: int
    """Counted from 1."""

    @property
    def source(self) -> str:
        """Return `file:line`."""
        return f"{self.path}:{self.line}"


class _Loader(yaml.CSafeLoader):
    """Reads dates as the strings that Kubernetes takes them for."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(paths: Iterable[Path]) -> tuple[list[Manifest], list[Diagnostic]]:
    """Return the objects in files, on standard input for `-`, and in all manifests below folders in the order of their names; raises UserError."""
    manifests: list[Manifest] = []
    diagnostics: list[Diagnostic] = []
    for path in paths:
        for file in _files(path):
            try:
                for manifest in _parse(file):
                    if isinstance(manifest, Diagnostic):
                        diagnostics.append(manifest)
                    else:
                        manifests.append(manifest)
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                diagnostics.append(_unreadable(file, error))
    return manifests, diagnostics


def _files(path: Path) -> list[Path]:
    if path == STANDARD_INPUT:
        return [path]
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
        if not found:
            raise UserError(f"-f {path}: no manifests below this folder", fix="name a folder with .yaml or .json files")
        return found
    if not path.is_file():
        raise UserError(f"-f {path}: no such file or folder", fix="name a manifest or a folder of manifests")
    return [path]


def _parse(file: Path) -> Iterator[Manifest | Diagnostic]:
    is_piped = file == STANDARD_INPUT
    text = sys.stdin.read() if is_piped else file.read_text(encoding="utf-8")
    require_bounded(text)
    loader = _Loader(text)
    file = Path("stdin") if is_piped else file
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            yield from _objects(file, loader.construct_document(node), node)
    finally:
        loader.dispose()


def _objects(file: Path, document: Any, node: yaml.Node) -> Iterator[Manifest | Diagnostic]:
    line = node.start_mark.line + 1
    if document is None:
        return
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        yield Diagnostic(
            object=str(file), message="this document is no Kubernetes object: it has no kind", source=f"{file}:{line}"
        )
        return
    items = document.get("items")
    if document["kind"].endswith("List") and isinstance(items, list):
        nodes = next(value.value for key, value in node.value if key.value == "items")
        for item, at in zip(items, nodes, strict=True):
            yield from _objects(file, item, at)
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        message = f"{document['kind']} without metadata.name"
        yield Diagnostic(object=str(file), field="metadata.name", message=message, source=f"{file}:{line}")
        return
    yield Manifest(document, file, line)


def _unreadable(file: Path, error: Exception) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    source = f"{file}:{mark.line + 1}" if mark is not None else str(file)
    return Diagnostic(object=str(file), message=str(getattr(error, "problem", None) or error), source=source)
