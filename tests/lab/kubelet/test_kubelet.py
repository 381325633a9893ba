"""The whole kubelet on a floor in memory: what its users, kubectl and the controllers, see."""

from __future__ import annotations


def condition(status, kind):
    return next((entry for entry in status.get("conditions", ()) if entry["type"] == kind), {"status": None})


def is_ready(status):
    return condition(status, "Ready")["status"] == "True"


async def test_a_pod_becomes_ready_and_is_deleted(lab):
    node = lab()
    async with node.kubelet():
        pod = node.pod()
        status = await node.api.wait_pod("web", is_ready)
        assert status["phase"] == "Running"
        assert [entry["ip"] for entry in status["podIPs"]] == ["10.244.1.5", "fd10:244:0:1::5"]
        assert status["hostIP"] == "10.10.0.11"
        (container,) = status["containerStatuses"]
        assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)
        assert len(node.api.status_patches("web")) <= 3
        node.api.ask_delete("web", grace_s=30)
        await node.api.wait_for(lambda: node.api.pod("web") is None)
        await node.api.wait_for(lambda: "Killing" in node.api.reasons())
    assert node.cni_calls() == [("first", "ADD"), ("second", "ADD"), ("second", "DEL"), ("first", "DEL")]
    assert ("signal", "app", 15) in node.runtime.calls
    assert node.runtime.pods == {}
    assert not (node.settings.pods / pod["metadata"]["uid"]).exists()
    assert [reason for reason in node.api.reasons() if reason != "Starting"] == [
        "Pulled",
        "Created",
        "Started",
        "Killing",
    ]
