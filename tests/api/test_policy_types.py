from __future__ import annotations

from typing import Any

import pytest

from fairlead.api.decode import decode
from fairlead.api.networkpolicy import NetworkPolicy
from fairlead.api.pod import Pod
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.selectors import SelectorError


def policy(**spec: Any) -> NetworkPolicy:
    found = decode("NetworkPolicy", {"metadata": {"name": "p", "namespace": "n"}, "spec": spec})
    assert isinstance(found, NetworkPolicy)
    return found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"Ingress"}),
        ({"egress": []}, {"Ingress"}),
        ({"egress": [{}]}, {"Ingress", "Egress"}),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, {"Egress"}),
        ({"policyTypes": ["Egress", "Ingress", "Egress"]}, {"Ingress", "Egress"}),
    ],
)
def test_policy_types_are_defaulted(spec: dict[str, Any], expected: set[str]) -> None:
    assert policy(**spec).spec.directions == expected


def test_missing_and_empty_are_kept_apart() -> None:
    rules = policy(ingress=[{}, {"from": [], "ports": []}, {"from": [{"podSelector": {}}]}]).spec.ingress
    assert rules is not None
    assert [(each.sources, each.ports) for each in rules[:2]] == [(None, None), ((), ())]
    assert rules[2].sources is not None and rules[2].sources[0].pod_selector is not None


def test_one_odd_object_is_a_diagnostic() -> None:
    wire = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"ingress": [{"ports": [{"port": 1.5}]}]}}
    found = decode("NetworkPolicy", wire)
    assert isinstance(found, Diagnostic)
    assert found.object == "NetworkPolicy/n/p"
    assert found.field == "spec.ingress[0].ports[0].port"


def test_an_unknown_kind_of_peer_is_decoded_without_a_field() -> None:
    spec = {"subject": {"namespaces": {}}, "priority": 1, "egress": [{"action": "Deny", "to": [{"planets": ["mars"]}]}]}
    found: Any = decode("AdminNetworkPolicy", {"metadata": {"name": "p"}, "spec": spec})
    (peer,) = found.spec.egress[0].to
    assert not any((peer.namespaces, peer.pods, peer.nodes, peer.networks, peer.domain_names))


def test_a_selector_that_makes_no_sense_is_an_error() -> None:
    selector = policy(podSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}).spec.pod_selector
    with pytest.raises(SelectorError):
        selector.parsed()


def test_pods_that_differ_in_nothing_of_the_network_are_equal() -> None:
    wire: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "n", "resourceVersion": "1"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}],
            "initContainers": [
                {"name": "once", "ports": [{"name": "x", "containerPort": 1}]},
                {"name": "side", "restartPolicy": "Always", "ports": [{"name": "proxy", "containerPort": 2}]},
            ],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    }
    one: Any = decode("Pod", wire)
    other: Any = decode("Pod", wire | {"metadata": wire["metadata"] | {"resourceVersion": "2"}})
    assert isinstance(one, Pod) and one == other
    assert one.addresses == ("10.0.0.1", "fd00::1")
    assert [each.name for each in one.ports] == ["http", "proxy"]
