"""Examples can be applied as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "examples"
FILES = sorted(ROOT.rglob("*.yaml"))
GIVEN = {"default", "kube-system"}


def objects(*paths: Path) -> list[dict[str, Any]]:
    return [each for path in paths for each in yaml.safe_load_all(path.read_text()) if each]


def namespaces(*paths: Path) -> set[str]:
    """The namespaces that some files make."""
    return {each["metadata"]["name"] for each in objects(*paths) if each["kind"] == "Namespace"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_makes_the_namespaces_that_it_needs_but_the_shop_s(path: Path) -> None:
    used = {each["metadata"]["namespace"] for each in objects(path) if "namespace" in each["metadata"]}
    first = path.parent / "00-world.yaml"
    made = namespaces(path, *ROOT.glob("shop/*.yaml"), *([first] if first.exists() else []))
    assert used <= made | GIVEN
