"""Columns against those that a real server sent, cells against what kubectl users know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairlead.apiserver.kinds import ages, registry, tables

MEASURED = json.loads((Path(__file__).parent / "data" / "table_columns.json").read_text())
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def kind_of(path: str) -> registry.Kind:
    *_, version, plural = path.split("/")
    group = path.split("/")[1] if path.startswith("apis/") else ""
    found = registry.by_plural(group, "v1" if version == "v1beta1" else version, plural)
    assert found is not None
    return found


@pytest.mark.parametrize("path", MEASURED)
def test_columns_are_those_of_the_real_server(path: str) -> None:
    ours = [
        {key: column[key] for key in ("name", "type", "format", "priority")} for column in tables.columns(kind_of(path))
    ]
    assert ours == MEASURED[path]


@pytest.mark.parametrize("kind", registry.KINDS, ids=lambda kind: kind.resource.plural)
def test_every_column_has_a_cell_even_for_an_empty_object(kind: registry.Kind) -> None:
    assert len(tables.row_cells(kind, {"metadata": {}}, NOW)) == len(tables.columns(kind))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (18420, "5h7m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (51 * 3600, "2d3h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (800 * 86400, "2y70d"),
        (4000 * 86400, "10y"),
    ],
)
def test_durations_as_kubectl_prints_them(seconds: float, text: str) -> None:
    assert ages.human(seconds) == text


def running(name: str = "c", *, ready: bool = True, restarts: int = 0, last: str = "") -> dict[str, Any]:
    state: dict[str, Any] = {
        "name": name,
        "ready": ready,
        "started": True,
        "restartCount": restarts,
        "state": {"running": {}},
    }
    if last:
        state["lastState"] = {"terminated": {"finishedAt": last}}
    return state


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "c", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}}


def ended(code: int, reason: str = "", **extra: Any) -> dict[str, Any]:
    return {"name": "c", "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason, **extra}}}


PODS = {
    "pending": ({}, ["0/1", "Pending", 0]),
    "running": ({"phase": "Running", "containerStatuses": [running()]}, ["1/1", "Running", 0]),
    "crashing": (
        {"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]},
        ["0/1", "CrashLoopBackOff", 0],
    ),
    "restarted": (
        {"phase": "Running", "containerStatuses": [running(restarts=3, last="2026-03-01T11:58:00Z")]},
        ["1/1", "Running", "3 (2m ago)"],
    ),
    "completed": ({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}, ["0/1", "Completed", 0]),
    "exit code": ({"phase": "Failed", "containerStatuses": [ended(3)]}, ["0/1", "ExitCode:3", 0]),
    "signal": ({"phase": "Failed", "containerStatuses": [ended(137, signal=9)]}, ["0/1", "Signal:9", 0]),
    "first init": (
        {
            "phase": "Pending",
            "initContainerStatuses": [running("i", ready=False)],
            "containerStatuses": [waiting("PodInitializing")],
        },
        ["0/1", "Init:0/1", 0],
    ),
    "init failed": (
        {
            "phase": "Pending",
            "initContainerStatuses": [ended(1, "Error")],
            "containerStatuses": [waiting("PodInitializing")],
        },
        ["0/1", "Init:Error", 0],
    ),
    "init done": (
        {
            "phase": "Pending",
            "initContainerStatuses": [ended(0, "Completed")],
            "containerStatuses": [waiting("PodInitializing")],
        },
        ["0/1", "PodInitializing", 0],
    ),
}


@pytest.mark.parametrize("case", PODS)
def test_pod_status(case: str) -> None:
    status, expected = PODS[case]
    spec: dict[str, Any] = {"containers": [{"name": "c"}]}
    if "initContainerStatuses" in status:
        spec["initContainers"] = [{"name": "i"}]
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2026-03-01T11:00:00Z"},
        "spec": spec,
        "status": {"phase": "Pending"} | status,
    }
    cells = tables.row_cells(kind_of("api/v1/pods"), pod, NOW)
    assert cells[1:5] == [*expected, "60m"]


def test_a_deleted_pod_is_terminating_until_it_ended() -> None:
    pod: dict[str, Any] = {
        "metadata": {"deletionTimestamp": "2026-03-01T12:00:30Z"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Running", "containerStatuses": [running()]},
    }
    assert tables.row_cells(kind_of("api/v1/pods"), pod, NOW)[2] == "Terminating"
    pod["status"] = {"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}
    assert tables.row_cells(kind_of("api/v1/pods"), pod, NOW)[2] == "Completed"


def test_sidecars_count_as_containers() -> None:
    pod = {
        "metadata": {},
        "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "initContainerStatuses": [running("s")], "containerStatuses": [running()]},
    }
    assert tables.row_cells(kind_of("api/v1/pods"), pod, NOW)[1:3] == ["2/2", "Running"]


SERVICES = {
    "cluster": (
        {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
        ["ClusterIP", "10.96.0.9", "<none>", "80/TCP"],
    ),
    "node port": (
        {"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
        ["NodePort", "10.96.0.9", "<none>", "80:30080/TCP"],
    ),
    "pending balancer": (
        {"type": "LoadBalancer", "clusterIP": "10.96.0.9"},
        ["LoadBalancer", "10.96.0.9", "<pending>", "<none>"],
    ),
    "headless": ({"type": "ClusterIP", "clusterIP": "None"}, ["ClusterIP", "None", "<none>", "<none>"]),
    "name": (
        {"type": "ExternalName", "externalName": "example.com"},
        ["ExternalName", "<none>", "example.com", "<none>"],
    ),
}


@pytest.mark.parametrize("case", SERVICES)
def test_service_cells(case: str) -> None:
    spec, expected = SERVICES[case]
    assert tables.row_cells(kind_of("api/v1/services"), {"metadata": {"name": "s"}, "spec": spec}, NOW)[1:5] == expected


def test_balancer_address() -> None:
    obj = {
        "metadata": {},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "fd10:203::1"}]}},
    }
    assert tables.row_cells(kind_of("api/v1/services"), obj, NOW)[3] == "203.0.113.1,fd10:203::1"


def test_node_roles_and_cordon() -> None:
    obj = {
        "metadata": {"name": "node-1", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/os": "linux"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.33.0"},
            "addresses": [{"type": "InternalIP", "address": "10.10.0.11"}],
        },
    }
    cells = tables.row_cells(kind_of("api/v1/nodes"), obj, NOW)
    assert cells == [
        "node-1",
        "Ready,SchedulingDisabled",
        "worker",
        "<unknown>",
        "v1.33.0",
        "10.10.0.11",
        "<none>",
        "<unknown>",
        "<unknown>",
        "<unknown>",
    ]


def test_endpoint_slices_show_three_addresses() -> None:
    obj = {
        "metadata": {},
        "addressType": "IPv4",
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(1, 6)],
    }
    cells = tables.row_cells(kind_of("apis/discovery.k8s.io/v1/endpointslices"), obj, NOW)
    assert cells[1:4] == ["IPv4", "80", "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."]


def test_event_of_either_group() -> None:
    old = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "lastTimestamp": "2026-03-01T11:59:00Z",
        "type": "Normal",
        "reason": "R",
        "message": "m\n",
        "source": {"component": "kubelet", "host": "node-1"},
    }
    assert tables.row_cells(kind_of("api/v1/events"), old, NOW)[:7] == [
        "60s",
        "Normal",
        "R",
        "pod/p",
        "",
        "kubelet, node-1",
        "m",
    ]
