"""`make demo`: the script that a newcomer runs first, against a lab that is there already, as a second run finds it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_that_everything_works(lab: Lab) -> None:
    try:
        done = subprocess.run(
            [ROOT / "tools/demo"],
            env=lab.environment | {"LAB": lab.name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    finally:
        lab.kubectl("delete", "-f", str(ROOT / "examples/gateway/gateway.yaml"), "--ignore-not-found")
        lab.kubectl("delete", "namespace/shop", "--ignore-not-found")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert len(re.findall(r"frontend-\S+ on node-\d in zone-\w answered \S+", printed)) == 6, "a Service by its name"
    assert len(re.findall(r"^200 http://", printed, re.MULTILINE)) == 11, "every service"
    reached = re.findall(r"(frontend|catalog)-\S+ answered /\S* for the client 198.51.100.10$", printed, re.MULTILINE)
    assert reached == ["frontend", "catalog"], "the internet calls the Gateway"
    assert f"fairlead down --name {lab.name}" in printed, "how to end it"
