"""The results of the connectivity test as text, JSON and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from fairlead.lab.check.suite import Result


def as_dict(lab: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return the stable form of `-o json`: lab, passed, failed, tests[] of group, name, passed, failure, seconds."""
    failed = sum(result.failure is not None for result in results)
    return {
        "lab": lab,
        "passed": len(results) - failed,
        "failed": failed,
        "tests": [
            {
                "group": result.group,
                "name": result.name,
                "passed": result.failure is None,
                "failure": result.failure,
                "seconds": round(result.seconds, 6),
            }
            for result in results
        ],
    }


def as_junit(lab: str, results: Sequence[Result]) -> str:
    """Return JUnit XML, one suite per group."""
    root = ElementTree.Element("testsuites", name=f"fairlead check {lab}")
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=group,
            tests=str(len(members)),
            failures=str(sum(result.failure is not None for result in members)),
            time=f"{sum(result.seconds for result in members):.3f}",
        )
        for result in members:
            case = ElementTree.SubElement(
                suite, "testcase", classname=group, name=result.name, time=f"{result.seconds:.3f}"
            )
            if result.failure is not None:
                ElementTree.SubElement(case, "failure", message=result.failure)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def summary(results: Sequence[Result]) -> list[str]:
    """Return a line per group with its counts, and one per failure below it."""
    lines: list[str] = []
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        failures = [result for result in members if result.failure is not None]
        mark = "✗" if failures else "✓"
        seconds = sum(result.seconds for result in members)
        lines.append(f"{mark} {group:<22}{len(members) - len(failures):>5} of {len(members):<5}{seconds:6.2f} s")
        lines += [f"    {result.name}: {result.failure}" for result in failures]
    return lines
