"""The whole kubelet on a floor in memory: what its users, kubectl and the controllers, see."""

from __future__ import annotations

import asyncio

from tests.lab.kubelet.kubelet_fakes import RESOURCES, eventually

from fairlead.api.resources import NODES, PODS, SERVICES


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


def container_of(status, name="app", field="containerStatuses"):
    return next(
        (entry for entry in status.get(field) or () if entry["name"] == name), {"state": {}, "restartCount": -1}
    )


def waiting(status, name="app"):
    return container_of(status, name)["state"].get("waiting", {}).get("reason")


async def test_init_containers_run_in_order_and_sidecars_last_to_the_end(lab):
    node = lab()
    spec = {
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "first", "image": "i", "command": ["sh", "-c", "1"]},
            {"name": "proxy", "image": "i", "restartPolicy": "Always"},
            {"name": "second", "image": "i", "command": ["sh", "-c", "2"]},
        ],
        "containers": [{"name": "app", "image": "i", "command": ["sleep", "1"]}],
    }
    async with node.kubelet():
        uid = node.pod(**spec)["metadata"]["uid"]
        status = await node.api.wait_pod(
            "web", lambda status: container_of(status, "first", "initContainerStatuses")["state"].get("running")
        )
        assert condition(status, "Initialized")["message"] == "containers with incomplete status: [first proxy second]"
        assert waiting(status) == "PodInitializing"
        node.runtime.exit(uid, "first", 0)
        await node.api.wait_pod(
            "web", lambda status: container_of(status, "second", "initContainerStatuses")["state"].get("running")
        )
        node.runtime.exit(uid, "second", 0)
        await node.api.wait_pod("web", is_ready)
        node.runtime.exit(uid, "app", 0)
        status = await node.api.wait_pod("web", lambda status: status.get("phase") == "Succeeded")
        assert condition(status, "Ready")["reason"] == "PodCompleted"
        assert container_of(status)["state"]["terminated"]["reason"] == "Completed"
    assert [call[1] for call in node.runtime.calls if call[0] == "start"] == ["first", "proxy", "second", "app"]
    assert [call[1] for call in node.runtime.calls if call[0] == "signal"] == ["proxy"]


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(lab):
    node = lab()
    async with node.kubelet():
        init = [{"name": "setup", "image": "i", "command": ["sh"]}]
        uid = node.pod(restartPolicy="Never", initContainers=init)["metadata"]["uid"]
        await node.api.wait_for(lambda: "Started" in node.api.reasons())
        node.runtime.exit(uid, "setup", 2)
        status = await node.api.wait_pod("web", lambda status: status.get("phase") == "Failed")
        assert waiting(status) == "PodInitializing"
        assert container_of(status, "setup", "initContainerStatuses")["state"]["terminated"]["exitCode"] == 2


async def test_a_crashing_container_restarts_at_once_then_backs_off(lab):
    node = lab()
    async with node.kubelet():
        uid = node.pod(containers=[{"name": "app", "image": "i", "command": ["sh"]}])["metadata"]["uid"]
        await node.api.wait_pod("web", is_ready)
        node.runtime.exit(uid, "app", 1)
        await node.api.wait_pod("web", lambda status: container_of(status)["restartCount"] == 1 and is_ready(status))
        node.runtime.exit(uid, "app", 1)
        status = await node.api.wait_pod("web", lambda status: waiting(status) == "CrashLoopBackOff")
        state = container_of(status)
        assert (
            state["state"]["waiting"]["message"]
            == f"back-off 10s restarting failed container=app pod=web_default({uid})"
        )
        assert state["lastState"]["terminated"]["exitCode"] == 1
        assert status["phase"] == "Running"
        assert not is_ready(status)
        await node.api.wait_for(lambda: "BackOff" in node.api.reasons())


async def test_a_missing_config_map_holds_its_container_until_it_appears(lab):
    node = lab()
    async with node.kubelet():
        env = [{"configMapRef": {"name": "later"}}]
        uid = node.pod(containers=[{"name": "app", "image": "i", "envFrom": env}])["metadata"]["uid"]
        status = await node.api.wait_pod("web", lambda status: waiting(status) == "CreateContainerConfigError")
        assert container_of(status)["state"]["waiting"]["message"] == 'configmap "later" not found'
        node.api.put(RESOURCES["configmap"], {"metadata": {"name": "later"}, "data": {"COLOR": "blue"}})
        await node.api.wait_pod("web", is_ready, timeout_s=3)
    assert node.runtime.specs[(uid, "app")].env["COLOR"] == "blue"


async def test_a_config_map_volume_follows_its_object(lab):
    node = lab()
    node.api.put(RESOURCES["configmap"], {"metadata": {"name": "conf"}, "data": {"a": "1"}})
    async with node.kubelet():
        mounts = [{"name": "conf", "mountPath": "/etc/conf"}]
        pod = node.pod(
            containers=[{"name": "app", "image": "i", "volumeMounts": mounts}],
            volumes=[{"name": "conf", "configMap": {"name": "conf"}}],
        )
        await node.api.wait_pod("web", is_ready)
        shown = node.settings.pods / pod["metadata"]["uid"] / "volumes" / "conf" / "a"
        assert shown.read_text() == "1"
        node.api.put(RESOURCES["configmap"], {"metadata": {"name": "conf"}, "data": {"a": "2"}})
        await eventually(lambda: shown.read_text() == "2")


async def test_a_network_that_fails_is_reported_and_tried_again(lab):
    node = lab()
    broken = node.fail_cni("second", "ADD", "no address is free")
    async with node.kubelet():
        node.pod()
        await node.api.wait_for(lambda: "FailedCreatePodSandBox" in node.api.reasons())
        broken.unlink()
        await node.api.wait_pod("web", is_ready)
    message = next(message for _, _, reason, message in node.api.events if reason == "FailedCreatePodSandBox")
    assert message.endswith('plugin type="second" failed (add): no address is free')
    assert node.cni_calls()[:4] == [("first", "ADD"), ("second", "ADD"), ("second", "DEL"), ("first", "DEL")]


async def test_pods_wait_for_a_network_and_hostnetwork_pods_do_not(lab):
    node = lab()
    (node.settings.cni_conf_dir / "10-lab.conflist").unlink()
    async with node.kubelet():
        node.pod("waits")
        node.pod("host", hostNetwork=True)
        status = await node.api.wait_pod("host", is_ready)
        assert [entry["ip"] for entry in status["podIPs"]] == ["10.10.0.11", "fd10:10::b"]
        await node.api.wait_for(lambda: "NetworkNotReady" in node.api.reasons())
        ready = condition(node.api.objects[NODES][("", "node-1")]["status"], "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
        assert "cni plugin not initialized" in ready["message"]
        node.network_up()
        await node.api.wait_pod("waits", is_ready)
        await node.api.wait_for(lambda: is_ready(node.api.objects[NODES][("", "node-1")]["status"]))


async def test_a_restarted_kubelet_touches_nothing_that_runs(lab):
    node = lab()
    probe = {"exec": {"command": ["sh", "-c", "ok"]}, "periodSeconds": 60}
    async with node.kubelet():
        containers = [
            {"name": "app", "image": "i", "command": ["sleep"], "readinessProbe": probe, "startupProbe": probe}
        ]
        node.pod(containers=containers)
        await node.api.wait_pod("web", is_ready)
    patches, calls = len(node.api.patches), len(node.runtime.calls)
    async with node.kubelet():
        node.pod("other")
        await node.api.wait_pod("other", is_ready)
    assert [patch for patch in node.api.patches[patches:] if patch[1] == "web"] == []
    assert [
        call for call in node.runtime.calls[calls:] if call[0] not in ("exec", "start", "run_sandbox", "create_netns")
    ] == []
    assert node.runtime.containers(node.api.pod("web")["metadata"]["uid"])["app"].attempt == 0


async def test_a_restarted_kubelet_notices_what_ended_meanwhile(lab):
    node = lab()
    async with node.kubelet():
        uid = node.pod(containers=[{"name": "app", "image": "i", "command": ["sleep"]}], restartPolicy="OnFailure")[
            "metadata"
        ]["uid"]
        node.pod("gone")
        await node.api.wait_pod("web", is_ready)
        await node.api.wait_pod("gone", is_ready)
    node.runtime.exit(uid, "app", 0)
    node.api.remove(PODS, "gone")
    async with node.kubelet():
        await node.api.wait_pod("web", lambda status: status["phase"] == "Succeeded")
        await eventually(lambda: not node.runtime.pods)


async def test_a_pod_forgotten_by_a_restarted_machine_starts_again(lab):
    node = lab()
    async with node.kubelet():
        uid = node.pod()["metadata"]["uid"]
        await node.api.wait_pod("web", is_ready)
    node.runtime.pods.clear()
    node.runtime.states.clear()
    async with node.kubelet():
        status = await node.api.wait_pod(
            "web", lambda status: container_of(status)["restartCount"] == 1 and is_ready(status)
        )
    last = container_of(status)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "ContainerStatusUnknown")
    assert node.runtime.containers(uid)["app"].attempt == 1


async def test_liveness_replaces_a_container_and_tells_why(lab):
    node = lab()
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.runtime.exec_results[("check",)] = (1, b"broken")
    async with node.kubelet():
        node.pod(containers=[{"name": "app", "image": "i", "command": ["sleep"], "livenessProbe": probe}])
        await node.api.wait_pod("web", lambda status: container_of(status)["restartCount"] >= 1)
    messages = {reason: message for _, _, reason, message in node.api.events}
    assert messages["Unhealthy"] == "Liveness probe failed: broken"
    assert messages["Killing"] == "Container app failed liveness probe, will be restarted"


async def test_an_exec_probe_whose_program_is_absent_passes_with_one_warning(lab):
    node = lab()
    probe = {"exec": {"command": ["/opt/app/health"]}, "periodSeconds": 1}
    async with node.kubelet():
        node.pod(containers=[{"name": "app", "image": "i", "readinessProbe": probe, "livenessProbe": probe}])
        await node.api.wait_pod("web", is_ready)
        await node.api.wait_for(
            lambda: (
                sum(call[0] == "exec" for call in node.runtime.calls) > 3
                or node.api.put(SERVICES, {"metadata": {"name": "tick"}}) is None
            )
        )
    assert node.api.reasons().count("CommandNotOnHost") == 1


async def test_strict_commands_let_an_absent_probe_fail(lab):
    node = lab(strict_commands=True)
    probe = {"exec": {"command": ["/opt/app/health"]}, "periodSeconds": 1}
    async with node.kubelet():
        node.pod(containers=[{"name": "app", "image": "i", "readinessProbe": probe}])
        await node.api.wait_for(lambda: "Unhealthy" in node.api.reasons())
        assert not is_ready(node.api.pod("web")["status"])


async def test_deletion_runs_pre_stop_then_term_then_kill(lab):
    node = lab()
    node.runtime.stubborn.add("app")
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "bye"]}}}
    async with node.kubelet():
        node.pod(containers=[{"name": "app", "image": "i", "command": ["sleep"], "lifecycle": hook}])
        await node.api.wait_pod("web", is_ready)
        node.api.ask_delete("web", grace_s=1)
        await node.api.wait_for(lambda: node.api.pod("web") is None)
    acts = [call for call in node.runtime.calls if call[0] in ("exec", "signal")]
    assert acts == [("exec", "app", ("sh", "-c", "bye")), ("signal", "app", 15), ("signal", "app", 9)]
    assert node.api.deletes == [(PODS, "web", 0)]


async def test_a_finalizer_keeps_the_object_and_nothing_else(lab):
    node = lab()
    async with node.kubelet():
        pod = node.pod(metadata={"finalizers": ["example.com/hold"]})
        await node.api.wait_pod("web", is_ready)
        node.api.ask_delete("web", grace_s=1)
        status = await node.api.wait_pod("web", lambda status: status["phase"] in ("Succeeded", "Failed"))
        await node.api.wait_for(lambda: node.api.deletes)
        assert condition(status, "Ready")["status"] == "False"
        assert node.runtime.pods == {}
        node.api.remove(PODS, "web")
        await eventually(lambda: not (node.settings.pods / pod["metadata"]["uid"]).exists())
    assert len(node.api.deletes) == 1


async def test_the_deadline_fails_a_pod(lab):
    node = lab()
    async with node.kubelet():
        node.pod(activeDeadlineSeconds=1, restartPolicy="Never", terminationGracePeriodSeconds=1)
        status = await node.api.wait_pod("web", lambda status: status["phase"] == "Failed")
    assert (status["reason"], status["message"]) == (
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )


async def test_readiness_gates_hold_ready_back(lab):
    node = lab()
    async with node.kubelet():
        node.pod(readinessGates=[{"conditionType": "lb"}])
        status = await node.api.wait_pod("web", lambda status: condition(status, "ContainersReady")["status"] == "True")
        assert (
            condition(status, "Ready")["message"]
            == 'corresponding condition of pod readiness gate "lb" does not exist.'
        )
        patch = {"status": {"conditions": [{"type": "lb", "status": "True"}]}}
        await node.api.patch(PODS, "web", patch, namespace="default", subresource="status")
        await node.api.wait_pod("web", is_ready)


UNREADY = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}


async def test_a_status_that_somebody_else_wrote_is_corrected(lab):
    node = lab()
    async with node.kubelet():
        node.pod()
        await node.api.wait_pod("web", is_ready)
        await node.api.patch(PODS, "web", UNREADY, namespace="default", subresource="status")
        await node.api.wait_pod("web", is_ready)


async def test_a_status_that_somebody_else_wrote_before_ours_was_answered_is_corrected(lab):
    """The watch tells of the later change before the earlier one is answered, as on a node that was silent and comes back."""
    node = lab()
    async with node.kubelet():
        node.pod()
        await node.api.wait_pod("web", is_ready)
        plain, late = node.api.patch, []

        async def patch(resource, name, change, **more):
            answer = await plain(resource, name, change, **more)
            if resource == PODS and not late and "Ready" in str(change):
                late.append(await plain(resource, name, UNREADY, namespace="default", subresource="status"))
                # The watch is a queue in memory: its events are worked off meanwhile.
                for _ in range(100):
                    await asyncio.sleep(0)
            return answer

        node.api.patch = patch
        await plain(PODS, "web", UNREADY, namespace="default", subresource="status")
        await node.api.wait_for(lambda: bool(late))
        await node.api.wait_pod("web", is_ready)


async def test_a_shell_that_does_not_find_its_program_is_replaced(lab):
    node = lab()
    async with node.kubelet():
        uid = node.pod(containers=[{"name": "app", "image": "i", "command": ["sh", "-c", "exec /app/run"]}])[
            "metadata"
        ]["uid"]
        await node.api.wait_pod("web", is_ready)
        node.runtime.exit(uid, "app", 127)
        await node.api.wait_pod("web", lambda status: container_of(status)["imageID"] == "fairlead://responder")
    assert node.runtime.specs[(uid, "app")].argv is None
    assert "CommandNotOnHost" in node.api.reasons()
