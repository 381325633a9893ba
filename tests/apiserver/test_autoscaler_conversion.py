"""autoscaling/v1 as a view of v2: what goes through it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.autoscaler_conversion import from_v2, to_v2

TARGET = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}


def v2(**spec):
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": TARGET | spec,
    }


def test_the_cpu_is_a_field_of_its_own():
    assert from_v2(v2(metrics=[CPU])) == {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": TARGET | {"targetCPUUtilizationPercentage": 70},
    }


def test_what_v1_cannot_say_is_annotated():
    found = from_v2(v2(metrics=[MEMORY], behavior={"scaleUp": {"selectPolicy": "Min"}}))
    assert found["spec"] == TARGET
    assert sorted(found["metadata"]["annotations"]) == [
        "autoscaling.alpha.kubernetes.io/behavior",
        "autoscaling.alpha.kubernetes.io/metrics",
    ]


def test_wrong_annotations_are_left_out():
    wrong = {"autoscaling.alpha.kubernetes.io/metrics": "{", "autoscaling.alpha.kubernetes.io/behavior": "[]"}
    found = to_v2(from_v2(v2()) | {"metadata": {"name": "web", "annotations": wrong}})
    assert found == v2()


@given(
    st.lists(st.sampled_from([CPU, MEMORY]), unique_by=id),
    st.none() | st.just({"scaleDown": {}}),
    st.dictionaries(st.just("a"), st.just("b")),
)
def test_there_and_back(metrics, behavior, annotations):
    obj = v2(**({"metrics": metrics} if metrics else {}), **({"behavior": behavior} if behavior else {}))
    obj["metadata"] |= {"annotations": annotations} if annotations else {}
    back = to_v2(from_v2(obj))
    back["spec"].get("metrics", []).sort(key=str)
    obj["spec"].get("metrics", []).sort(key=str)
    assert back == obj
