"""Every row of the feature matrix that claims something names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| (?P<feature>[^|]+) \| (?P<state>\w+) \|(?: `(?P<test>[^`]+)`)? +\|")
ROWS = [ROW.fullmatch(line) for line in (ROOT / "docs/features.md").read_text().splitlines() if line.startswith("| ")]
CLAIMS = [row for row in ROWS if row is not None]


def test_every_row_is_understood() -> None:
    headings = sum(line.startswith("| feature") for line in (ROOT / "docs/features.md").read_text().splitlines())
    assert len(CLAIMS) == len(ROWS) - headings
    assert {row["state"] for row in CLAIMS} <= {"done", "partly", "open"}


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row["feature"][:50])
def test_what_is_claimed_is_tested(row: re.Match[str]) -> None:
    if row["state"] == "open":
        assert row["test"] is None
        return
    assert row["test"], "a claim without a test"
    path, _, name = row["test"].partition("::")
    target = ROOT / "tests" / path
    assert target.exists(), path
    if name:
        defined = {
            node.name
            for node in ast.parse(target.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        defined |= {
            target_name.id
            for node in ast.parse(target.read_text()).body
            if isinstance(node, ast.Assign)
            for target_name in node.targets
            if isinstance(target_name, ast.Name)
        }
        assert name in defined, row["test"]
