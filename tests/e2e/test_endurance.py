"""Nothing grows: not the machine over many labs, not a lab over many pods."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Lab
from tests.e2e.leaks import descriptors, machine, settled, wait_unchanged

CYCLES = int(os.environ.get("FAIRLEAD_SOAK_CYCLES", "100"))
WAVE = 40
WAVES = 3
_POOLS = {"socket": 16, "threads": 8}
"""By how many these may differ: connections kept for later, of eight requests at a time; threads that a pool starts when it first
needs them, six at most. A leak of one per pod would be 80."""


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(name=f"s{os.getpid() % 100000}", home=tmp_path / "home")
    yield lab
    lab.fairlead("down", ok=False)


def deployment(name: str, pods: int) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {pods}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: main, image: any, ports: [{{containerPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""


@pytest.mark.soak
@pytest.mark.e2e
@pytest.mark.timeout(3600)
def test_many_cycles_leave_nothing(own_lab: Lab) -> None:
    before = machine(own_lab)
    ups = []
    for cycle in range(CYCLES):
        begun = time.monotonic()
        own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
        ups.append(time.monotonic() - begun)
        own_lab.apply(deployment("web", 4))
        own_lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout_s=90)
        own_lab.fairlead("down")
        assert machine(own_lab) == before, f"after cycle {cycle + 1}"
    ups.sort()
    print(f"{CYCLES} cycles: up p50 {ups[len(ups) // 2]:.2f} s, slowest {ups[-1]:.2f} s")


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_pods_that_go_leave_nothing_in_a_lab_that_stays(own_lab: Lab) -> None:
    """120 pods in three waves; what the first wave made grow (pools, caches) may stay, nothing may grow with the others."""
    own_lab.fairlead("up", "--nodes", "2", "--zones", "2")
    empty = settled(own_lab)
    _wave(own_lab)
    wait_unchanged(own_lab, empty)
    first = descriptors(own_lab)
    for _ in range(WAVES - 1):
        _wave(own_lab)
    wait_unchanged(own_lab, empty)
    for component, kinds in descriptors(own_lab).items():
        for kind, count in kinds.items():
            slack = _POOLS.get(kind, 2)
            assert count <= first[component][kind] + slack, f"{component} holds {kinds} after {first[component]}"


def _wave(lab: Lab) -> None:
    lab.apply(deployment("wave", WAVE))
    lab.kubectl("rollout", "status", "deployment/wave", "--timeout=60s", timeout_s=90)
    lab.kubectl("delete", "deployment/wave", "service/wave", "--cascade=foreground", "--timeout=60s", timeout_s=90)
