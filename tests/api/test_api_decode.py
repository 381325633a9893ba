from __future__ import annotations

from typing import Any

import pytest

from fairlead.api.decode import decode
from fairlead.api.endpointslice import EndpointSlice
from fairlead.api.node import Node
from fairlead.api.service import Service
from fairlead.base.diagnostics import Diagnostic


def test_nulls_mean_absent() -> None:
    found = decode(
        "EndpointSlice",
        {
            "metadata": {"name": "a", "namespace": "default", "labels": None},
            "addressType": "IPv4",
            "endpoints": None,
            "ports": [{"name": None, "port": None, "protocol": None}],
        },
    )
    assert isinstance(found, EndpointSlice)
    assert found.service is None and found.ports is not None and found.ports[0].port is None


def test_what_we_do_not_read_is_ignored_and_what_says_the_same_is_equal() -> None:
    wire: dict[str, Any] = {
        "kind": "Node",
        "metadata": {"name": "n1", "resourceVersion": "1"},
        "spec": {"podCIDR": "10.0.0.0/24", "taints": []},
    }
    later = {**wire, "metadata": {"name": "n1", "resourceVersion": "2", "annotations": {"beat": "1"}}}
    found = decode("Node", wire)
    assert isinstance(found, Node) and found.pod_cidrs == ("10.0.0.0/24",)
    assert found == decode("Node", later)


@pytest.mark.parametrize(
    ("spec", "headless", "addresses"),
    [
        ({"clusterIP": "None"}, True, ()),
        ({"clusterIPs": ["None"]}, True, ()),
        ({"clusterIP": "10.96.0.1"}, False, ("10.96.0.1",)),
        ({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd10::1"]}, False, ("10.96.0.1", "fd10::1")),
        ({"clusterIP": ""}, False, ()),
        ({"type": "ExternalName", "clusterIP": "10.96.0.1"}, False, ()),
    ],
)
def test_virtual_addresses(spec: dict[str, Any], headless: bool, addresses: tuple[str, ...]) -> None:
    found = decode("Service", {"metadata": {"name": "web"}, "spec": spec})
    assert isinstance(found, Service)
    assert (found.headless, found.cluster_ips) == (headless, addresses)


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (
            {"metadata": {"name": "web", "namespace": "x"}, "spec": {"ports": [{"port": "http"}]}},
            "spec.ports[0].port",
        ),
        ({"metadata": {"name": "web", "namespace": "x"}, "spec": 7}, "spec"),
        ({"metadata": {"name": "web", "namespace": "x", "labels": {"a": 1}}}, "metadata.labels[...]"),
    ],
)
def test_an_odd_object_becomes_a_diagnostic_with_the_field(wire: dict[str, Any], field: str) -> None:
    found = decode("Service", wire)
    assert isinstance(found, Diagnostic)
    assert (found.object, found.field) == ("Service/x/web", field)


@pytest.mark.parametrize("wire", [{}, {"metadata": 7}, {"metadata": None}, {"metadata": {}}])
def test_an_object_without_a_name_is_no_reason_to_stop(wire: dict[str, Any]) -> None:
    assert isinstance(decode("Node", wire), Diagnostic)
