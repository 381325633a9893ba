"""StatefulSets, DaemonSets, Jobs, CronJobs and budgets together with the real API server."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path
from typing import Any

from tests.controllers.lab import Lab, lab

from fairlead.api.resources import (
    CONTROLLERREVISIONS,
    CRONJOBS,
    DAEMONSETS,
    EVENTS,
    JOBS,
    PERSISTENTVOLUMECLAIMS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from fairlead.controllers import manager
from fairlead.controllers.conditions import condition, is_true

Json = dict[str, Any]
ALL = tuple(manager.CONTROLLERS)


def workload(kind: str, name: str = "db", image: str = "db:1", **spec: Any) -> Json:
    version = "batch/v1" if kind in ("Job", "CronJob") else "v1" if kind == "ReplicationController" else "apps/v1"
    template: Json = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": image}]}}
    body: Json = {"template": template, **spec}
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
    elif kind == "ReplicationController":
        body["selector"] = {"app": name}
    else:
        body["selector"] = {"matchLabels": {"app": name}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": body}


def image_of(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


async def quiet(it: Lab) -> None:
    """Wait until nothing is written any more: a controller that never rests would be noticed here."""

    def state() -> dict[Any, str]:
        return {
            (resource.plural, key): obj["metadata"]["resourceVersion"]
            for resource in (
                PODS,
                STATEFULSETS,
                DAEMONSETS,
                JOBS,
                CRONJOBS,
                PODDISRUPTIONBUDGETS,
                PERSISTENTVOLUMECLAIMS,
            )
            for key, obj in it.follow(resource).store.items()
        }

    for _ in range(20):
        before = state()
        await asyncio.sleep(0.5)
        if state() == before:
            return
    raise AssertionError("objects are written again and again")


async def test_stateful_set_keeps_order_names_and_storage(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=2) as it:
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        made = workload("StatefulSet", serviceName="db", replicas=3, volumeClaimTemplates=[claim])
        order: list[str] = []
        it.follow(PODS).on_change(lambda old, new: order.append(new["metadata"]["name"]) if new and not old else None)
        held = {"on": True}
        it.kubelet.outcome = lambda pod: "unready" if held["on"] and pod["metadata"]["name"] == "db-1" else "ready"
        await it.client.create(STATEFULSETS, made)
        await it.until(lambda: it.get(PODS, "db-1"), "second pod")
        await asyncio.sleep(0.2)
        assert it.get(PODS, "db-2") is None, "waits for db-1"
        held["on"] = False
        it.kubelet.look_again()
        await it.until(lambda: (it.get(STATEFULSETS, "db") or {}).get("status", {}).get("readyReplicas") == 3, "ready")
        assert order == ["db-0", "db-1", "db-2"]
        pod = it.get(PODS, "db-1")
        assert pod is not None
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        assert [each["metadata"]["name"] for each in it.all(PERSISTENTVOLUMECLAIMS)] == [
            f"data-db-{n}" for n in range(3)
        ]
        await quiet(it)
        # An update goes from the last to the first and stops at the partition.
        template = workload("StatefulSet", image="db:2")["spec"]["template"]
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        await it.client.patch(
            STATEFULSETS, "db", {"spec": {"template": template, "updateStrategy": strategy}}, namespace="default"
        )
        await it.until(
            lambda: (
                [image_of(pod) for pod in it.all(PODS)] == ["db:1", "db:2", "db:2"]
                and (it.get(STATEFULSETS, "db") or {})["status"].get("readyReplicas") == 3
            ),
            "updated to the partition",
        )
        status = (it.get(STATEFULSETS, "db") or {})["status"]
        assert status["currentRevision"] != status["updateRevision"]
        await it.client.patch(
            STATEFULSETS, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}, namespace="default"
        )
        await it.until(
            lambda: (
                (s := (it.get(STATEFULSETS, "db") or {})["status"])["currentRevision"] == s["updateRevision"]
                and s.get("updatedReplicas") == 3
            ),
            "updated",
        )
        assert len(it.all(CONTROLLERREVISIONS)) == 2
        await it.client.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}}, namespace="default")
        await it.until(lambda: [pod["metadata"]["name"] for pod in it.all(PODS)] == ["db-0"], "scaled down")
        assert len(it.all(PERSISTENTVOLUMECLAIMS)) == 3, "storage stays"
        await quiet(it)


async def test_parallel_stateful_set_starts_at_once(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        it.kubelet.outcome = lambda pod: "unready"
        made = workload("StatefulSet", serviceName="db", replicas=3, podManagementPolicy="Parallel")
        await it.client.create(STATEFULSETS, made)
        await it.until(lambda: len(it.all(PODS)) == 3, "all three")


async def test_daemon_set_covers_nodes_and_rolls(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=3) as it:
        tainted = {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}
        await it.node("node-4", **tainted)
        await it.client.create(DAEMONSETS, workload("DaemonSet", name="agent"))
        await it.until(
            lambda: (it.get(DAEMONSETS, "agent") or {}).get("status", {}).get("numberAvailable") == 3, "3 nodes"
        )
        assert sorted(pod["spec"]["nodeName"] for pod in it.all(PODS)) == ["node-1", "node-2", "node-3"]
        await it.node("node-5")
        await it.until(lambda: (it.get(DAEMONSETS, "agent") or {})["status"].get("numberAvailable") == 4, "new node")
        await quiet(it)
        template = workload("DaemonSet", name="agent", image="agent:2")["spec"]["template"]
        most_missing = 0

        def look() -> bool:
            nonlocal most_missing
            ready = sum(is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"] for pod in it.all(PODS))
            most_missing = max(most_missing, 4 - ready)
            status = (it.get(DAEMONSETS, "agent") or {})["status"]
            return bool(status.get("updatedNumberScheduled") == status.get("numberAvailable") == 4) and {
                image_of(pod) for pod in it.all(PODS)
            } == {"agent:2"}

        await it.client.patch(DAEMONSETS, "agent", {"spec": {"template": template}}, namespace="default")
        await it.until(look, "rolled")
        assert most_missing == 1
        assert len(it.all(CONTROLLERREVISIONS)) == 2
        await quiet(it)


async def test_job_counts_completions(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        it.kubelet.outcome = lambda pod: "succeeded"
        await it.client.create(JOBS, workload("Job", name="once", completions=5, parallelism=2))
        job = await it.until(
            lambda: is_true(it.get(JOBS, "once") or {}, "Complete") and it.get(JOBS, "once"), "complete"
        )
        assert job["status"]["succeeded"] == 5
        assert [each["type"] for each in job["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]
        assert "completionTime" in job["status"]
        assert len(it.all(PODS)) == 5
        assert not any(pod["metadata"].get("finalizers") for pod in it.all(PODS))
        await it.until(lambda: any(each["reason"] == "Completed" for each in it.all(EVENTS)), "event")
        await quiet(it)
        await it.client.delete(JOBS, "once", namespace="default", propagation="Background")
        await it.until(lambda: not it.all(PODS), "pods gone")


async def test_indexed_job(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        it.kubelet.outcome = lambda pod: "succeeded"
        await it.client.create(
            JOBS, workload("Job", name="shards", completions=4, parallelism=4, completionMode="Indexed")
        )
        job = await it.until(
            lambda: is_true(it.get(JOBS, "shards") or {}, "Complete") and it.get(JOBS, "shards"), "done"
        )
        assert (job["status"]["succeeded"], job["status"]["completedIndexes"]) == (4, "0-3")
        pods = it.all(PODS)
        assert {pod["spec"]["hostname"] for pod in pods} == {f"shards-{n}" for n in range(4)}
        assert pods[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


async def test_job_fails_after_its_limit_and_goes_after_its_time(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        it.kubelet.outcome = lambda pod: "failed"
        await it.client.create(JOBS, workload("Job", name="bad", backoffLimit=0, ttlSecondsAfterFinished=1))
        job = await it.until(lambda: is_true(it.get(JOBS, "bad") or {}, "Failed") and it.get(JOBS, "bad"), "failed")
        found = condition(job, "Failed")
        assert found is not None
        assert (found["reason"], found["message"]) == (
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        )
        assert job["status"]["failed"] == 1
        await it.until(lambda: it.get(JOBS, "bad") is None and not it.all(PODS), "gone after its time to live")


async def test_job_is_suspended_resumed_and_ended_by_its_deadline(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        await it.client.create(JOBS, workload("Job", name="slow", suspend=True))
        await it.until(lambda: is_true(it.get(JOBS, "slow") or {}, "Suspended"), "suspended")
        assert not it.all(PODS)
        await it.client.patch(JOBS, "slow", {"spec": {"suspend": False}}, namespace="default")
        await it.until(lambda: len(it.all(PODS)) == 1, "resumed")
        await it.client.patch(JOBS, "slow", {"spec": {"suspend": True}}, namespace="default")
        await it.until(lambda: not it.all(PODS), "suspended again")
        assert not (it.get(JOBS, "slow") or {})["status"].get("failed")
        await it.client.patch(
            JOBS, "slow", {"spec": {"suspend": False, "activeDeadlineSeconds": 1}}, namespace="default"
        )
        job = await it.until(lambda: is_true(it.get(JOBS, "slow") or {}, "Failed") and it.get(JOBS, "slow"), "deadline")
        assert (condition(job, "Failed") or {})["reason"] == "DeadlineExceeded"
        await quiet(it)


def _has_completed_beside(it: Lab, known: set[str]) -> bool:
    return any(is_true(each, "Complete") and each["metadata"]["name"] not in known for each in it.all(JOBS))


async def test_cron_job_starts_jobs_and_keeps_history(tmp_path: Path, certificates: Path) -> None:
    ahead = {"s": 0.0}
    async with lab(
        tmp_path, certificates, ("cronjob", "job", "scheduler"), nodes=1, now=lambda: time.time() + ahead["s"]
    ) as it:
        it.kubelet.outcome = lambda pod: "succeeded"
        job = workload("Job")["spec"]
        cron = workload("CronJob", name="tick")
        cron["spec"] = {"schedule": "* * * * *", "jobTemplate": {"spec": job}, "successfulJobsHistoryLimit": 1}
        await it.client.create(CRONJOBS, cron)
        await it.until(lambda: it.get(CRONJOBS, "tick"))
        for _ in range(2):
            ahead["s"] += 60
            before = {each["metadata"]["name"] for each in it.all(JOBS)}
            await it.client.patch(
                CRONJOBS, "tick", {"metadata": {"labels": {"at": str(int(ahead["s"]))}}}, namespace="default"
            )
            await it.until(functools.partial(_has_completed_beside, it, before), "ran")
        await it.until(lambda: len(it.all(JOBS)) == 1, "history of one")
        await it.until(lambda: (it.get(CRONJOBS, "tick") or {})["status"].get("lastSuccessfulTime"), "success noted")


async def test_budget_counts_and_replication_controller_replaces(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ALL, nodes=1) as it:
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "db"}}},
        }
        await it.client.create(PODDISRUPTIONBUDGETS, budget)
        await it.client.create(REPLICATIONCONTROLLERS, workload("ReplicationController", replicas=4))

        def status() -> Json:
            found: Json = (it.get(PODDISRUPTIONBUDGETS, "db") or {}).get("status", {})
            return found

        await it.until(lambda: status().get("disruptionsAllowed") == 2 and status()["expectedPods"] == 4, "budget")
        await it.client.delete(PODS, it.all(PODS)[0]["metadata"]["name"], namespace="default")
        await it.until(lambda: len(it.all(PODS)) == 4 and status().get("currentHealthy") == 4, "replaced")
        await quiet(it)
