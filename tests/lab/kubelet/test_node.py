from __future__ import annotations

from tests.lab.kubelet.kubelet_fakes import eventually

from fairlead.api.resources import LEASES, NODES
from fairlead.lab.kubelet.node import node_object, node_status


def test_what_a_node_says_of_itself(lab):
    settings = lab(labels={"disk": "ssd"}, taints=(("only", "gpu", "NoSchedule"),)).settings
    node = node_object(settings)
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == "node-1"
    assert (labels["topology.kubernetes.io/zone"], labels["topology.kubernetes.io/region"]) == ("zone-a", "lab")
    assert labels["disk"] == "ssd"
    assert node["spec"] == {
        "providerID": "fairlead:///zone-a/node-1",
        "podCIDR": "10.244.1.0/24",
        "podCIDRs": ["10.244.1.0/24", "fd10:244:0:1::/64"],
        "taints": [{"key": "only", "effect": "NoSchedule", "value": "gpu"}],
    }


def test_status_keeps_times_of_transition(lab):
    settings = lab().settings
    first = node_status(settings, {}, not_ready=None, now=1000.0)
    later = node_status(settings, first, not_ready="no network", now=2000.0)
    assert [address["address"] for address in first["addresses"]] == ["10.10.0.11", "fd10:10::b", "node-1"]
    times = {entry["type"]: entry["lastTransitionTime"] for entry in later["conditions"]}
    assert times["Ready"] != times["DiskPressure"]
    assert later["conditions"][-1]["message"] == "no network"


async def test_the_lease_is_renewed(lab):
    node = lab(lease_interval_s=0.01)
    leases = node.api.objects[LEASES]
    async with node.kubelet():
        await node.api.wait_for(lambda: leases)
        first = leases[("kube-node-lease", "node-1")]["spec"]["renewTime"]
        await eventually(lambda: leases[("kube-node-lease", "node-1")]["spec"]["renewTime"] > first)
    owner = leases[("kube-node-lease", "node-1")]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == node.api.objects[NODES][("", "node-1")]["metadata"]["uid"]


async def test_a_node_that_exists_keeps_what_others_wrote(lab):
    node = lab()
    taint = {"key": "mine", "effect": "NoSchedule"}
    node.api.put(NODES, {"metadata": {"name": "node-1", "labels": {"team": "a"}}, "spec": {"taints": [taint]}})
    async with node.kubelet():
        await node.api.wait_for(lambda: node.api.objects[NODES][("", "node-1")].get("status"))
    found = node.api.objects[NODES][("", "node-1")]
    assert found["metadata"]["labels"]["team"] == "a"
    assert found["spec"]["taints"] == [taint]
    assert found["spec"]["providerID"] == "fairlead:///zone-a/node-1"
