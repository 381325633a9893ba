"""What goes when something goes: namespaces, owners, nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.lab import Lab, lab
from tests.controllers.test_together import CORE, deployment, rolled_out, service

from fairlead.api.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    SERVICES,
)
from fairlead.controllers.conditions import condition, is_true
from fairlead.controllers.context import Settings

Json = dict[str, Any]
ALL = (*CORE, "namespace", "garbage-collector", "node-lifecycle", "pod-garbage-collector", "persistentvolume-binder")


def config_map(name: str, namespace: str = "default", owner: Json | None = None, **metadata: Any) -> Json:
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "blockOwnerDeletion": True,
            }
        ]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": {},
    }


async def test_namespace_goes_with_everything_in_it(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        await it.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        made = deployment(replicas=3)
        made["metadata"]["namespace"] = "shop"
        await it.client.create(DEPLOYMENTS, made)
        front = service()
        front["metadata"]["namespace"] = "shop"
        await it.client.create(SERVICES, front)
        held = config_map("held", "shop", finalizers=["example.com/held"])
        await it.client.create(CONFIGMAPS, held)
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web", "shop")), "rolled out")
        await it.client.delete(NAMESPACES, "shop")
        await it.until(
            lambda: is_true(it.get(NAMESPACES, "shop") or {}, "NamespaceFinalizersRemaining"),
            "held back by a finalizer",
        )
        found = it.get(NAMESPACES, "shop")
        assert found is not None
        remaining = condition(found, "NamespaceContentRemaining")
        assert remaining is not None
        assert "configmaps. has 1 resource instances" in remaining["message"]
        await it.client.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, namespace="shop")
        await it.until(lambda: it.get(NAMESPACES, "shop") is None, "namespace gone")
        assert not it.all(PODS, "shop")


async def test_dependents_follow_their_owner(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        await it.client.create(SERVICES, service())
        await it.client.create(DEPLOYMENTS, deployment(replicas=2))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "rolled out")
        await it.client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Background")
        await it.client.delete(SERVICES, "web", namespace="default")
        await it.until(lambda: not it.all(REPLICASETS) and not it.all(PODS), "ReplicaSets and pods gone")
        await it.until(lambda: not it.all(ENDPOINTSLICES, **{"kubernetes.io/service-name": "web"}), "slices gone")


async def test_foreground_waits_for_the_dependents(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        it.kubelet.lets_go = lambda pod: False
        await it.client.create(DEPLOYMENTS, deployment(replicas=1))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "rolled out")
        await it.client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Foreground")
        await it.until(
            lambda: [pod for pod in it.all(PODS) if "deletionTimestamp" in pod["metadata"]], "pod is deleted"
        )
        assert it.get(DEPLOYMENTS, "web") is not None
        assert it.all(REPLICASETS)
        it.kubelet.lets_go = lambda pod: True
        it.kubelet.look_again()
        await it.until(lambda: it.get(DEPLOYMENTS, "web") is None and not it.all(REPLICASETS), "all gone")


async def test_orphans_stay(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        await it.client.create(DEPLOYMENTS, deployment(replicas=1))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "rolled out")
        await it.client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Orphan")
        await it.until(lambda: it.get(DEPLOYMENTS, "web") is None, "Deployment gone")
        (replica_set,) = await it.until(
            lambda: [each for each in it.all(REPLICASETS) if not each["metadata"].get("ownerReferences")], "disowned"
        )
        assert len(it.all(PODS)) == 1
        # A Deployment of the same template takes it over.
        await it.client.create(DEPLOYMENTS, deployment(replicas=1))
        await it.until(
            lambda: (it.get(REPLICASETS, replica_set["metadata"]["name"]) or {})["metadata"].get("ownerReferences"),
            "adopted",
        )
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "rolled out again")
        assert len(it.all(REPLICASETS)) == 1


async def test_object_with_an_owner_that_never_was(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL) as it:
        there = await it.client.create(CONFIGMAPS, config_map("there"))
        ghost = {**there, "metadata": {**there["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
        await it.client.create(CONFIGMAPS, config_map("haunted", owner=ghost))
        both = config_map("both", owner=ghost)
        both["metadata"]["ownerReferences"] += config_map("x", owner=there)["metadata"]["ownerReferences"]
        await it.client.create(CONFIGMAPS, both)
        await it.until(lambda: it.get(CONFIGMAPS, "haunted") is None and it.get(CONFIGMAPS, "both"), "haunted is gone")
        await it.until(
            lambda: len((it.get(CONFIGMAPS, "both") or {})["metadata"]["ownerReferences"]) == 1, "reference dropped"
        )


async def beat(it: Lab, *nodes: str) -> None:
    number = 0
    while True:
        number += 1
        for name in nodes:
            lease = {"spec": {"renewTime": f"2026-01-01T00:00:00.{number:06}Z"}}
            await it.client.patch(LEASES, name, lease, namespace="kube-node-lease")
        await asyncio.sleep(0.1)


async def test_silent_node_loses_its_pods(tmp_path: Path, certificates: Path) -> None:
    settings = Settings(node_monitor_grace_s=0.8, node_monitor_period_s=0.1)
    async with lab(tmp_path, certificates, ALL, nodes=2, settings=settings) as it:
        for name in ("node-1", "node-2"):
            lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}}
            await it.client.create(LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})
        alive = asyncio.create_task(beat(it, "node-1", "node-2"))
        await it.client.create(SERVICES, service())
        template = deployment()["spec"]["template"]
        template["spec"]["tolerations"] = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}
            for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        ]
        await it.client.create(DEPLOYMENTS, deployment(replicas=2, template=template))
        await it.until(lambda: rolled_out(it.get(DEPLOYMENTS, "web")), "rolled out")
        alive.cancel()
        alive = asyncio.create_task(beat(it, "node-1"))
        it.kubelet.outcome = lambda pod: "ready" if pod["spec"]["nodeName"] == "node-1" else "pending"
        lost = next(pod for pod in it.all(PODS) if pod["spec"]["nodeName"] == "node-2")

        def ready() -> set[str]:
            return {
                endpoint["nodeName"]
                for each in it.all(ENDPOINTSLICES, **{"kubernetes.io/service-name": "web"})
                for endpoint in each["endpoints"] or ()
                if endpoint["conditions"]["ready"]
            }

        await it.until(lambda: ready() == {"node-1"}, "only node-1 serves")
        node = it.get(NODES, "node-2")
        assert node is not None
        found = condition(node, "Ready")
        assert found is not None
        assert (found["status"], found["reason"]) == ("Unknown", "NodeStatusUnknown")
        await it.until(
            lambda: (
                {(each["key"], each["effect"]) for each in (it.get(NODES, "node-2") or {})["spec"].get("taints", ())}
                == {("node.kubernetes.io/unreachable", "NoExecute"), ("node.kubernetes.io/unreachable", "NoSchedule")}
            ),
            "tainted",
        )
        await it.until(lambda: it.get(PODS, lost["metadata"]["name"]) is None, "evicted")
        await it.until(
            lambda: [pod["spec"].get("nodeName") for pod in it.all(PODS)] == ["node-1"] * 2, "replaced on node-1"
        )
        alive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await alive


async def test_pods_of_a_deleted_node_are_buried(tmp_path: Path, certificates: Path) -> None:
    settings = Settings(node_monitor_grace_s=0.3, node_monitor_period_s=0.1)
    async with lab(tmp_path, certificates, ("scheduler", "pod-garbage-collector"), nodes=1, settings=settings) as it:
        it.kubelet.lets_go = lambda pod: False
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "lonely", "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]},
        }
        await it.client.create(PODS, pod)
        await it.until(lambda: is_true(it.get(PODS, "lonely") or {}, "Ready"), "running")
        await it.client.delete(NODES, "node-1")
        await it.until(lambda: it.get(PODS, "lonely") is None, "buried")


async def test_claim_is_bound_and_its_volume_goes_with_it(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ("persistentvolume-binder",)) as it:
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await it.client.create(PERSISTENTVOLUMECLAIMS, claim)
        await it.until(
            lambda: (it.get(PERSISTENTVOLUMECLAIMS, "data") or {}).get("status", {}).get("phase") == "Bound", "bound"
        )
        (volume,) = await it.until(
            lambda: [each for each in it.all(PERSISTENTVOLUMES) if each["status"].get("phase") == "Bound"], "volume"
        )
        assert volume["spec"]["claimRef"]["name"] == "data"
        await it.client.delete(PERSISTENTVOLUMECLAIMS, "data", namespace="default")
        await it.until(lambda: not it.all(PERSISTENTVOLUMES), "volume gone")
