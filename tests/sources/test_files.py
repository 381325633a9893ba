from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.base.errors import UserError
from fairlead.sources.files import load

LIST = """\
# two documents
apiVersion: v1
kind: Service
metadata: {name: web}
---
---
kind: List
items:
  - kind: Service
    metadata: {name: one, annotations: {day: 2026-01-01}}
  - kind: Service
    metadata: {name: two}
"""


def test_each_object_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.yaml").write_text(LIST)
    (tmp_path / "a.json").write_text('{"kind": "Node", "metadata": {"name": "n1"}}')
    (tmp_path / "notes.txt").write_text(": not a manifest")
    manifests, diagnostics = load([tmp_path])
    assert [(each.object["metadata"]["name"], each.path.name, each.line) for each in manifests] == [
        ("n1", "a.json", 1), ("web", "b.yaml", 2), ("one", "b.yaml", 9), ("two", "b.yaml", 11),
    ]  # fmt: skip
    assert manifests[2].object["metadata"]["annotations"]["day"] == "2026-01-01"
    assert diagnostics == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Service\nmetadata: {name: web\n", "x.yaml:3"),
        ("just text", "no Kubernetes object"),
        ("kind: Service\nmetadata: {}", "Service without metadata.name"),
        ("kind: 7", "no Kubernetes object"),
        ("\udcff", "codec"),
        ("[" * 100_000, "nested deeper than 500 levels"),
        ("- " * 100_000 + "a", "nested deeper than 500 levels"),
        ("a: &a [*a]\nkind: Service\nmetadata: {name: loop}", ""),
    ],
)
def test_what_is_no_manifest_is_reported_and_the_rest_is_used(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "x.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "y.yaml").write_text("kind: Node\nmetadata: {name: n1}")
    manifests, diagnostics = load([tmp_path])
    assert manifests[-1].object["metadata"]["name"] == "n1"
    if expected:
        assert expected in str(diagnostics[0])


def test_nothing_to_read_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no manifests"):
        load([tmp_path])
    with pytest.raises(UserError, match="no such file"):
        load([tmp_path / "absent"])
