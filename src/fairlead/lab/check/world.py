"""The pods and the Service that the connectivity test runs between: made, waited for, found, and removed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from fairlead.api.resources import DAEMONSETS, NAMESPACES, PODS, SERVICES
from fairlead.base.errors import UserError
from fairlead.lab.check.places import Family, Place, family_of
from fairlead.lab.check.suite import NAMESPACE, PORT, SERVICE, World
from fairlead.lab.home import LabHome
from fairlead.lab.netns import within
from fairlead.lab.topology import INTERNET_HOST, Topology
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, NotFound, Unreachable

_SETS = ("a", "b")
_SIOCGIFMTU = 0x8921


@contextlib.asynccontextmanager
async def world(home: LabHome, topology: Topology, *, timeout_s: float, keep: bool) -> AsyncIterator[World]:
    """Provide the world of the test and remove its objects afterwards; raises UserError when the pods do not get ready."""
    async with Client.from_kubeconfig(home.kubeconfig, user_agent="fairlead-check") as client:
        try:
            await _remove(client, timeout_s)
            try:
                await _create(client)
                pods = await _wait_ready(client, len(topology.nodes) * len(_SETS), timeout_s)
                service = await client.get(SERVICES, SERVICE, namespace=NAMESPACE)
                yield World(
                    pods=_pods(home, pods),
                    nodes=[_node(home, node.name, node.addresses) for node in topology.nodes],
                    internet=_node(home, "internet", INTERNET_HOST),
                    service={family_of(address): address for address in service["spec"]["clusterIPs"]},
                )
            finally:
                if not keep:
                    await _remove(client, timeout_s)
        except (ApiError, Unreachable) as error:
            raise UserError(f"the test's pods cannot be made: {error}") from error


async def _create(client: Client) -> None:
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for name in _SETS:
        await client.create(DAEMONSETS, _daemonset(name))
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": {"app": SERVICE},
            "ports": [{"port": PORT}],
        },
    }
    await client.create(SERVICES, service)


def _daemonset(name: str) -> dict[str, Any]:
    labels = {"app": SERVICE, "set": name}
    container = {"name": "responder", "image": "responder", "ports": [{"containerPort": PORT}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 1,
                },
            },
        },
    }


async def _remove(client: Client, timeout_s: float) -> None:
    """Delete the test's namespace and wait until it is gone."""
    try:
        await client.delete(NAMESPACES, NAMESPACE)
        async with asyncio.timeout(timeout_s):
            while True:
                await client.get(NAMESPACES, NAMESPACE)
                await asyncio.sleep(0.1)
    except NotFound:
        return
    except TimeoutError:
        raise UserError(f"namespace {NAMESPACE} is still there after {timeout_s:.0f} s") from None


async def _wait_ready(client: Client, count: int, timeout_s: float) -> list[dict[str, Any]]:
    pods: dict[str, dict[str, Any]] = {}
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                items, version = await client.list(PODS, namespace=NAMESPACE)
                pods = {item["metadata"]["name"]: item for item in items}
                if _ready(pods) >= count:
                    return list(pods.values())
                async for kind, item in client.watch(PODS, namespace=NAMESPACE, resource_version=version):
                    if kind != "BOOKMARK":
                        pods[item["metadata"]["name"]] = item
                    if _ready(pods) >= count:
                        return list(pods.values())
    except TimeoutError:
        raise UserError(
            f"{_ready(pods)} of {count} pods of the test are ready after {timeout_s:.0f} s",
            fix=f"see `kubectl -n {NAMESPACE} get pods,events` (--keep leaves them)",
        ) from None


def _ready(pods: dict[str, dict[str, Any]]) -> int:
    def is_ready(pod: dict[str, Any]) -> bool:
        conditions = pod.get("status", {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    return sum(map(is_ready, pods.values()))


class _Sandbox(msgspec.Struct, frozen=True):
    netns: str


def _pods(home: LabHome, pods: list[dict[str, Any]]) -> list[Place]:
    return sorted((_pod(home, pod) for pod in pods), key=lambda place: (place.node, place.name))


def _pod(home: LabHome, pod: dict[str, Any]) -> Place:
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    record = (home.node(node) / "pods" / uid / "sandbox.json").read_bytes()
    netns = Path(msgspec.json.decode(record, type=_Sandbox).netns)
    addresses: dict[Family, str] = {family_of(entry["ip"]): entry["ip"] for entry in pod["status"]["podIPs"]}
    return Place(
        name=pod["metadata"]["name"],
        node=node,
        netns=netns,
        addresses=addresses,
        mtu_bytes=within(netns, lambda: _mtu("eth0")),
    )


def _node(home: LabHome, name: str, addresses: tuple[str, str]) -> Place:
    netns = Path("/run/netns", home.namespace(name))
    return Place(name=name, node=name, netns=netns, addresses={4: addresses[0], 6: addresses[1]})


def _mtu(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sI", interface.encode(), 0) + bytes(20)
        mtu: int = struct.unpack_from("16sI", fcntl.ioctl(any_socket, _SIOCGIFMTU, request))[1]
        return mtu
