"""The connectivity test of a whole lab: every path with real packets, in every form of output."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from tests.e2e.conftest import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_every_path_works(lab: Lab) -> None:
    result = lab.fairlead("check", "-o", "json", ok=False)
    report = json.loads(result.stdout)
    assert [test for test in report["tests"] if not test["passed"]] == []
    assert result.returncode == 0
    groups = {test["group"] for test in report["tests"]}
    assert groups == {
        "pod to pod",
        "MTU",
        "node to pod",
        "pod to node",
        "DNS",
        "Service",
        "leaving the cluster",
    }
    # Two pods on each of four nodes, with themselves, two families, two protocols.
    assert sum(test["group"] == "pod to pod" for test in report["tests"]) == 8 * 8 * 4


def test_the_report_is_junit_on_request(lab: Lab) -> None:
    root = ElementTree.fromstring(lab.fairlead("check", "-o", "junit").stdout)
    assert root.tag == "testsuites"
    assert all(suite.get("failures") == "0" for suite in root)


def test_status_is_healthy(lab: Lab) -> None:
    report = json.loads(lab.fairlead("status", "-o", "json").stdout)
    assert report["healthy"], [item for item in report["components"] if not item["healthy"]]
