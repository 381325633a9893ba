from __future__ import annotations

from fractions import Fraction

import pytest

from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.qos import qos_class
from fairlead.lab.kubelet.quantity import divided, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500m", Fraction(1, 2)),
        ("1Ki", 1024),
        ("2G", 2 * 10**9),
        ("1e3", 1000),
        ("1.5", Fraction(3, 2)),
        (3, 3),
    ],
)
def test_parse(text, value):
    assert parse(text) == value


def test_what_is_no_quantity():
    with pytest.raises(ValueError, match="'x' is no quantity"):
        parse("x")


def test_division_rounds_up():
    assert divided("1001m", "1") == 2


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
