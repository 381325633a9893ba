from __future__ import annotations

import pytest

from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.qos import qos_class


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "0"}}], "BestEffort"),
    ],
)
def test_qos(resources, expected):
    containers = [{"name": f"c{index}", "resources": entry} for index, entry in enumerate(resources)]
    assert qos_class(decode({"metadata": {"name": "p"}, "spec": {"containers": containers}})) == expected
