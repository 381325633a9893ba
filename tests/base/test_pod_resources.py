"""What pods ask for."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.base.pod_resources import peak, qos_class

Json = dict[str, Any]


def containers(*resources: Json) -> list[Json]:
    return [{"name": f"c{number}", "resources": one} for number, one in enumerate(resources)]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "0"}}], "BestEffort"),
        ([{"limits": {"disk": "1"}}], "BestEffort"),
        ([{"requests": {"cpu": "much"}}], "BestEffort"),
    ],
)
def test_class_of_the_quality_of_service(resources: list[Json], expected: str) -> None:
    assert qos_class({"containers": containers(*resources)}) == expected


def test_init_containers_count() -> None:
    full = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    assert qos_class({"containers": containers(full), "initContainers": containers({})}) == "Burstable"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"n": 1}, {"n": 2}]}, 3),
        ({"containers": [{"n": 1}], "initContainers": [{"n": 5}, {"n": 3}]}, 5),
        ({"containers": [{"n": 1}], "initContainers": [{"n": 2, "restartPolicy": "Always"}]}, 3),
        ({"containers": [{"n": 1}], "initContainers": [{"n": 2, "restartPolicy": "Always"}, {"n": 4}]}, 6),
        ({"containers": [{"n": 1}], "initContainers": [{"n": 4}, {"n": 2, "restartPolicy": "Always"}]}, 4),
        ({"containers": [], "initContainers": [{"n": 4}]}, 4),
    ],
)
def test_the_peak(spec: Json, expected: int) -> None:
    assert peak(spec, lambda container: {"cpu": container["n"]}) == {"cpu": expected}
