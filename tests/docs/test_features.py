"""Every row of the feature matrix that claims something names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fairlead.model.gateway.status import FEATURES

ROOT = Path(__file__).parents[2]
ROW = re.compile(
    r"\| (?P<feature>[^|]+) \| (?P<state>\w+) \| ?(?P<tests>(?:`[^`]+`(?:, )?)*) ?\|(?P<peers>(?: (?:yes|no|–) \|){3})?"
)
ROWS = [ROW.fullmatch(line) for line in (ROOT / "docs/features.md").read_text().splitlines() if line.startswith("| ")]
CLAIMS = [row for row in ROWS if row is not None]


def test_every_row_is_understood() -> None:
    headings = sum(line.startswith("| feature") for line in (ROOT / "docs/features.md").read_text().splitlines())
    assert len(CLAIMS) == len(ROWS) - headings
    assert {row["state"] for row in CLAIMS} <= {"done", "partly", "open"}


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row["feature"][:50])
def test_what_is_claimed_is_tested(row: re.Match[str]) -> None:
    tests = re.findall(r"`([^`]+)`", row["tests"])
    assert bool(tests) == (row["state"] != "open"), "a claim without a test, or a test of what is open"
    for test in tests:
        path, _, name = test.partition("::")
        target = ROOT / "tests" / path
        assert target.is_file(), path
        assert not name or name in defined(target), test


def test_the_names_that_a_gateway_class_claims_are_those_with_a_test() -> None:
    named = {row["feature"] for row in CLAIMS if row["peers"] and row["state"] == "done"}
    assert named == set(FEATURES)


def defined(file: Path) -> set[str]:
    """The names at the top level of a module."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names
