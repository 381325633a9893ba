"""What objects take from quotas."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.base import quotas

Json = dict[str, Any]


def pod(**spec: Any) -> Json:
    return {"spec": {"containers": [{"name": "a"}], **spec}}


@pytest.mark.parametrize(
    ("resource", "collection"),
    [
        ("pods", "pods"),
        ("cpu", "pods"),
        ("limits.memory", "pods"),
        ("requests.nvidia.com/gpu", "pods"),
        ("services.nodeports", "services"),
        ("requests.storage", "persistentvolumeclaims"),
        ("fast.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ("count/deployments.apps", "deployments.apps"),
    ],
)
def test_who_is_charged(resource: str, collection: str) -> None:
    assert quotas.collection_of(resource) == collection


def test_pods_take_what_they_need_at_their_greatest() -> None:
    spec = {
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi", "x.io/y": "2"}}},
            {"name": "b", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "512Mi"}}},
        ],
        "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "2"}}}],
        "overhead": {"cpu": "250m"},
    }
    assert quotas.charges("pods", {"spec": spec}) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "2250m",
        "requests.cpu": "2250m",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "requests.x.io/y": "2",
        "limits.memory": "512Mi",
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ports": [{}, {}]}, {}),
        ({"type": "NodePort", "ports": [{}, {}]}, {"services.nodeports": "2"}),
        ({"type": "LoadBalancer", "ports": [{}]}, {"services.nodeports": "1", "services.loadbalancers": "1"}),
        (
            {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 30000}, {}]},
            {"services.nodeports": "1", "services.loadbalancers": "1"},
        ),
    ],
)
def test_services(spec: Json, expected: Json) -> None:
    assert quotas.charges("services", {"spec": spec}) == {"count/services": "1", "services": "1", **expected}


def test_claims_by_class() -> None:
    claim = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}
    assert quotas.charges("persistentvolumeclaims", claim) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "1Gi",
        "fast.storageclass.storage.k8s.io/requests.storage": "1Gi",
        "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
    }


@pytest.mark.parametrize(
    ("scope", "obj", "expected"),
    [
        ({"scopes": ["Terminating"]}, pod(activeDeadlineSeconds=1), True),
        ({"scopes": ["Terminating"]}, pod(), False),
        ({"scopes": ["NotTerminating", "BestEffort"]}, pod(), True),
        ({"scopes": ["NotBestEffort"]}, pod(), False),
        ({"scopes": ["PriorityClass"]}, pod(priorityClassName="high"), True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, pod(), False),
        ({"scopes": ["Unheard"]}, pod(), False),
        ({}, pod(), True),
    ]
    + [
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", **operator}]}},
            pod(priorityClassName="a"),
            expected,
        )
        for operator, expected in (
            ({"operator": "In", "values": ["a"]}, True),
            ({"operator": "NotIn", "values": ["a"]}, False),
            ({"operator": "Exists"}, True),
            ({"operator": "DoesNotExist"}, False),
        )
    ],
)
def test_scopes(scope: Json, obj: Json, expected: bool) -> None:
    assert quotas.covers({"spec": scope}, "pods", obj) is expected
    assert quotas.covers({"spec": scope}, "services", obj) is (not scope)


def test_sums_keep_the_family_of_their_amounts() -> None:
    found = [{"memory": "512Mi", "cpu": "100m"}, {"memory": "512Mi", "cpu": "0.9"}, {"other": "1"}]
    assert quotas.total(found, ["memory", "cpu", "pods"]) == {"memory": "1Gi", "cpu": "1", "pods": "0"}
