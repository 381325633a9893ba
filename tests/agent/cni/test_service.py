"""CNI commands against an engine in memory: what is on disk, in the kernel and in the answer after each, also when steps fail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.agent.cni.memory import Kernel, Network

from fairlead.agent.attachments import AttachmentStore
from fairlead.agent.cni.ports import AttachError
from fairlead.agent.cni.service import CniService


class Node:
    """A node's CNI as a runtime sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = Network()
        self.inspector = Kernel(self.network)
        self.restart()

    def restart(self) -> None:
        self.store = AttachmentStore(self.folder)
        self.service = CniService(self.store, self.network, self.inspector)

    async def call(self, command: str, container: str = "a", **more: object) -> tuple[int, dict]:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/ns/{container}",
        }
        document = {"cniVersion": "1.1.0", "name": "fairlead", "type": "fairlead"} | more
        reply = await self.service.answer(variables, json.dumps(document).encode())
        return reply.exit_code, json.loads(reply.output) if reply.output else {}

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.iterdir() if path.name != "history")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_add_is_on_disk_and_in_force_when_it_answers(node: Node) -> None:
    status, result = await node.call("ADD")
    assert status == 0
    assert [each["address"] for each in result["ips"]] == ["10.244.1.2/32", "fd10:244:0:1::2/128"]
    assert node.network.kernel["a", "eth0"].addresses == ("10.244.1.2", "fd10:244:0:1::2")
    assert node.files() == [".json"]


async def test_a_second_add_is_refused_and_harmless(node: Node) -> None:
    await node.call("ADD")
    status, error = await node.call("ADD")
    assert (status, error["code"]) == (1, 100)
    assert ("a", "eth0") in node.network.kernel


@pytest.mark.parametrize("failure", [AttachError("no such device"), OSError(28, "No space left"), RuntimeError("bug")])
async def test_an_add_that_fails_leaves_nothing(node: Node, failure: Exception) -> None:
    node.network.fail_attach = failure
    status, error = await node.call("ADD")
    assert (status, error["code"]) == (1, 11)
    assert str(failure.args[-1]) in error["details"]
    assert (node.files(), dict(node.network.kernel), dict(node.store.records)) == ([], {}, {})


async def test_addresses_stay_taken_while_the_kernel_may_hold_them(node: Node) -> None:
    node.network.fail_attach = AttachError("stuck")
    node.network.fail_detach = AttachError("stuck too")
    status, error = await node.call("ADD")
    assert (status, error["code"]) == (1, 11)
    assert node.files() == [".pending"]
    node.network.fail_attach = node.network.fail_detach = None
    _, result = await node.call("ADD", "b")
    assert result["ips"][0]["address"] == "10.244.1.3/32"


async def test_an_add_after_a_crash_starts_anew(node: Node) -> None:
    node.network.gate = asyncio.Event()
    task = asyncio.create_task(node.call("ADD"))
    await node.network.started.wait()
    assert node.files() == [".pending"]
    node.restart()
    node.network.gate.set()
    assert (await node.call("ADD"))[0] == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_del_waits_for_the_add_that_is_under_way(node: Node) -> None:
    node.network.gate = asyncio.Event()
    add = asyncio.create_task(node.call("ADD"))
    await node.network.started.wait()
    delete = asyncio.create_task(node.call("DEL"))
    await asyncio.sleep(0)
    node.network.gate.set()
    assert (await add)[0] == (await delete)[0] == 0
    assert (node.files(), node.network.kernel) == ([], {})


async def test_del_is_idempotent_also_after_a_restart_and_without_a_network(node: Node) -> None:
    await node.call("ADD")
    node.network.reason = "no API server yet"
    node.network.pod_cidrs = ()
    node.restart()
    for _ in range(3):
        assert await node.call("DEL") == (0, {})
    assert await node.call("DEL", "never-added") == (0, {})
    assert (node.files(), node.network.kernel) == ([], {})


async def test_a_del_that_fails_keeps_the_record_for_the_next_one(node: Node) -> None:
    await node.call("ADD")
    node.network.fail_detach = AttachError("busy")
    assert (await node.call("DEL"))[1]["code"] == 11
    assert node.files() == [".json"]
    node.network.fail_detach = None
    assert await node.call("DEL") == (0, {})


@pytest.mark.parametrize(
    ("reason", "cidrs", "mentions"),
    [("waiting for the API server", ("10.0.0.0/24",), "API server"), (None, (), "podCIDRs")],
)
async def test_an_add_before_the_node_is_ready_may_be_tried_again(
    node: Node, reason: str | None, cidrs: tuple[str, ...], mentions: str
) -> None:
    node.network.reason, node.network.pod_cidrs = reason, cidrs
    status, error = await node.call("ADD")
    assert (status, error["code"]) == (1, 11)
    assert mentions in error["details"]
    status, error = await node.call("STATUS")
    assert (status, error["code"]) == (1, 50)
    assert mentions in error["details"]
    assert node.files() == []


async def test_status_of_a_ready_node_says_nothing(node: Node) -> None:
    assert await node.call("STATUS") == (0, {})


async def test_exhaustion_names_the_range(node: Node) -> None:
    for name in "abcde":
        assert (await node.call("ADD", name))[0] == 0
    status, error = await node.call("ADD", "f")
    assert (status, error["code"]) == (1, 11)
    assert "all 5 usable addresses of 10.244.1.0/29 are in use" in error["details"]
    assert (await node.call("STATUS"))[1]["code"] == 50
    await node.call("DEL", "c")
    assert (await node.call("STATUS"))[0] == 0
    assert (await node.call("ADD", "f"))[1]["ips"][0]["address"] == "10.244.1.4/32"


async def test_parallel_adds_get_different_addresses(node: Node) -> None:
    replies = await asyncio.gather(*(node.call("ADD", name) for name in "abcde"))
    assert len({reply["ips"][0]["address"] for _, reply in replies}) == 5


async def test_a_namespace_that_is_gone_is_an_unknown_container(node: Node) -> None:
    node.inspector.gone.add("/ns/a")
    assert (await node.call("ADD"))[1]["code"] == 3
    assert node.files() == []


async def test_check_tells_the_truth(node: Node) -> None:
    _, result = await node.call("ADD")
    assert await node.call("CHECK", prevResult=result) == (0, {})
    assert (await node.call("CHECK", "b", prevResult=result))[1]["code"] == 3
    assert "prevResult" in (await node.call("CHECK", prevResult={}))[1]["details"]
    node.network.kernel.clear()
    status, error = await node.call("CHECK", prevResult=result)
    assert (status, error["code"], error["details"]) == (1, 101, "link is gone")


async def test_gc_removes_what_the_runtime_no_longer_knows(node: Node) -> None:
    for name in "abc":
        await node.call("ADD", name)
    node.restart()
    valid = [{"containerID": "b", "ifname": "eth0"}, {"containerID": "a", "ifname": "eth1"}]
    assert await node.call("GC", **{"cni.dev/valid-attachments": valid}) == (0, {})
    assert list(node.network.kernel) == [("b", "eth0")]
    assert list(node.store.records) == [("b", "eth0")]
    # Another network's garbage is none of ours.
    assert await node.call("GC", name="other", **{"cni.dev/valid-attachments": []}) == (0, {})


async def test_gc_goes_on_after_a_failure_and_reports_it(node: Node) -> None:
    await node.call("ADD")
    node.network.fail_detach = AttachError("busy")
    status, error = await node.call("GC", **{"cni.dev/valid-attachments": []})
    assert (status, error["code"], error["msg"]) == (1, 11, "1 of 1 attachments remain")


async def test_version(node: Node) -> None:
    status, answer = await node.call("VERSION")
    assert (status, answer["supportedVersions"][-1]) == (0, "1.1.0")
