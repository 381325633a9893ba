"""Controllers, scheduler and the real API server together: what a user sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.lab import lab

from fairlead.api.resources import DEPLOYMENTS, ENDPOINTS, ENDPOINTSLICES, EVENTS, PODS, REPLICASETS, SERVICES

Json = dict[str, Any]
CORE = ("scheduler", "deployment", "replicaset", "endpointslice", "endpoints")


def deployment(name: str = "web", replicas: int = 3, image: str = "web:1", **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]
                },
            },
            **spec,
        },
    }


def service(name: str = "web", **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}], **spec},
    }


def rolled_out(obj: Json | None) -> bool:
    """What `kubectl rollout status` waits for."""
    if obj is None:
        return False
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    return (
        status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


async def test_deployment_becomes_scheduled_pods_and_endpoints(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, CORE, nodes=3) as it:
        await it.client.create(SERVICES, service(ipFamilyPolicy="RequireDualStack"))
        await it.client.create(DEPLOYMENTS, deployment(replicas=6))
        found = await it.until(
            lambda: rolled_out(it.get(DEPLOYMENTS, "web")) and it.get(DEPLOYMENTS, "web"), "rolled out"
        )
        reasons = {each["type"]: (each["status"], each["reason"]) for each in found["status"]["conditions"]}
        assert reasons["Available"] == ("True", "MinimumReplicasAvailable")
        await it.until(
            lambda: (it.get(DEPLOYMENTS, "web") or {})["status"]["conditions"][-1]["reason"] == "NewReplicaSetAvailable"
        )
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        pods = it.all(PODS)
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == sorted(["node-1", "node-2", "node-3"] * 2)

        def endpoints() -> dict[str, set[str]]:
            return {
                each["addressType"]: {
                    address
                    for endpoint in each["endpoints"] or ()
                    if endpoint["conditions"]["ready"]
                    for address in endpoint["addresses"]
                }
                for each in it.all(ENDPOINTSLICES, **{"kubernetes.io/service-name": "web"})
            }

        wanted = {
            "IPv4": {pod["status"]["podIPs"][0]["ip"] for pod in it.all(PODS)},
            "IPv6": {pod["status"]["podIPs"][1]["ip"] for pod in it.all(PODS)},
        }
        await it.until(lambda: endpoints() == wanted, "all endpoints ready")
        (slice4,) = [each for each in it.all(ENDPOINTSLICES) if each["addressType"] == "IPv4"]
        assert slice4["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
        assert {each["zone"] for each in slice4["endpoints"]} == {"zone-a", "zone-b", "zone-c"}
        await it.until(
            lambda: len(((it.get(ENDPOINTS, "web") or {}).get("subsets") or [{}])[0].get("addresses", ())) == 6,
            "legacy endpoints",
        )
        await it.until(lambda: any(each["reason"] == "Scheduled" for each in it.all(EVENTS)), "event of scheduling")


async def test_update_rolls_and_rollback_reuses_the_old_replica_set(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, CORE, nodes=2) as it:
        await it.client.create(DEPLOYMENTS, deployment(replicas=4))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "first rollout")
        (first,) = it.all(REPLICASETS)
        await it.client.patch(
            DEPLOYMENTS,
            "web",
            deployment(image="web:2")["spec"] and {"spec": {"template": deployment(image="web:2")["spec"]["template"]}},
            namespace="default",
        )
        await it.until(
            lambda: len(it.all(REPLICASETS)) == 2 and rolled_out(it.get(DEPLOYMENTS, "web")), "second rollout"
        )
        await it.until(
            lambda: {pod["spec"]["containers"][0]["image"] for pod in it.all(PODS)} == {"web:2"}, "old pods gone"
        )
        revisions = {
            each["spec"]["template"]["spec"]["containers"][0]["image"]: each["metadata"]["annotations"][
                "deployment.kubernetes.io/revision"
            ]
            for each in it.all(REPLICASETS)
        }
        assert revisions == {"web:1": "1", "web:2": "2"}
        await it.client.patch(
            DEPLOYMENTS, "web", {"spec": {"template": deployment()["spec"]["template"]}}, namespace="default"
        )
        await it.until(
            lambda: (
                {pod["spec"]["containers"][0]["image"] for pod in it.all(PODS)} == {"web:1"}
                and rolled_out(it.get(DEPLOYMENTS, "web"))
            ),
            "rolled back",
        )
        again = it.get(REPLICASETS, first["metadata"]["name"])
        assert again is not None
        assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        assert len(it.all(REPLICASETS)) == 2


async def test_not_ready_pods_stop_a_rollout(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, CORE, nodes=2) as it:
        it.kubelet.outcome = lambda pod: "unready" if pod["spec"]["containers"][0]["image"] == "bad:1" else "ready"
        await it.client.create(DEPLOYMENTS, deployment(replicas=4))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "first rollout")
        template = deployment(image="bad:1")["spec"]["template"]
        await it.client.patch(DEPLOYMENTS, "web", {"spec": {"template": template}}, namespace="default")
        await it.until(lambda: (it.get(DEPLOYMENTS, "web") or {})["status"].get("updatedReplicas") == 2, "two new pods")
        await it.until(lambda: (it.get(DEPLOYMENTS, "web") or {})["status"].get("replicas") == 5, "surge of one")
        good = [pod for pod in it.all(PODS) if pod["spec"]["containers"][0]["image"] == "web:1"]
        assert len(good) == 3, "one of four may be unavailable"


async def test_pod_that_fits_nowhere_says_why_and_starts_when_it_can(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, CORE, nodes=1) as it:
        template = deployment()["spec"]["template"]
        template["spec"]["nodeSelector"] = {"disk": "fast"}
        await it.client.create(DEPLOYMENTS, deployment(replicas=1, template=template))
        (pod,) = await it.until(
            lambda: [each for each in it.all(PODS) if each["status"].get("conditions")], "condition PodScheduled"
        )
        (condition,) = pod["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
        await it.node("node-2", labels={"disk": "fast"})
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "scheduled on the new node")
        await it.until(lambda: any(each["reason"] == "FailedScheduling" for each in it.all(EVENTS)), "event")
