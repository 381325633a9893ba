"""The kubelet on the real runtime: real processes in real namespaces, adopted by the next kubelet after the first was killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import sys
import time
import uuid

import pytest
from tests.lab.kubelet.kubelet_fakes import FakeApi, eventually

from fairlead.api.resources import CONFIGMAPS, PODS
from fairlead.lab.kubelet.kubelet import Kubelet
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.runtime.runtime import Runtime

pytestmark = pytest.mark.kernel

# No packet is sent here, so a network of made-up addresses will do.
PLUGIN = """#!{python} -S
import json, os, sys
config = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps({{"cniVersion": config["cniVersion"], "ips": [{{"address": "192.0.2.5/32"}}, {{"address": "2001:db8::5/128"}}]}}))
"""


class Node:
    def __init__(self, folder):
        self.settings = Settings(
            node="node-1",
            lab=f"tkubelet{os.getpid()}",
            zone="zone-a",
            root=folder / "node-1",
            node_ips=("192.0.2.1", "2001:db8::1"),
            cluster_dns=("10.96.0.10",),
            cni_conf_dir=folder,
            cni_bin_dirs=(folder,),
        )
        program = folder / "made-up"
        program.write_text(PLUGIN.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        config = {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "made-up"}]}
        (folder / "10.conflist").write_text(json.dumps(config))
        self.api = FakeApi()

    @contextlib.asynccontextmanager
    async def kubelet(self):
        """Run a kubelet; leaving the block ends it as a kill would."""
        self.runtime = Runtime(self.settings.pods, netns_prefix=f"fl-{self.settings.lab}-pod-")
        task = asyncio.create_task(Kubelet(self.settings, self.api, self.runtime).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def pod(self, **spec):
        metadata = {"name": "web", "namespace": "default", "uid": str(uuid.uuid4())}
        return self.api.put(PODS, {"metadata": metadata, "spec": {"nodeName": "node-1", **spec}, "status": {}})

    async def clean(self):
        """Remove whatever a failed test left."""
        runtime = Runtime(self.settings.pods, netns_prefix=f"fl-{self.settings.lab}-pod-")
        await runtime.start()
        for uid, spec in runtime.sandboxes().items():
            await runtime.remove_sandbox(uid)
            if spec.netns is not None:
                await runtime.delete_netns(spec.netns.name)
        await runtime.close()


@pytest.fixture
async def node(tmp_path):
    made = Node(tmp_path)
    try:
        yield made
    finally:
        await made.clean()


def ready(status):
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions", ()))


SCRIPT = "cat /etc/conf/greeting /shared/from-init; echo bye > /dev/termination-log; touch /tmp/ok; while [ ! -e /shared/end ]; do sleep 0.05; done; exit 3"


async def test_a_pod_from_its_volumes_to_its_last_words(node):
    node.api.put(CONFIGMAPS, {"metadata": {"name": "conf"}, "data": {"greeting": "hello\n"}})
    shared = {"name": "shared", "mountPath": "/shared"}
    started = time.monotonic()
    async with node.kubelet():
        uid = node.pod(
            restartPolicy="Never",
            volumes=[{"name": "conf", "configMap": {"name": "conf"}}, {"name": "shared", "emptyDir": {}}],
            initContainers=[
                {
                    "name": "init",
                    "image": "i",
                    "command": ["sh", "-c", "hostname > /shared/from-init"],
                    "volumeMounts": [shared],
                }
            ],
            containers=[
                {
                    "name": "app",
                    "image": "i",
                    "command": ["sh", "-c", SCRIPT],
                    "volumeMounts": [shared, {"name": "conf", "mountPath": "/etc/conf"}],
                    "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1},
                }
            ],
        )["metadata"]["uid"]
        await node.api.wait_pod("web", ready)
        (state,) = [state for name, state in node.runtime.containers(uid).items() if name == "app"]
    # The first kubelet is gone; what runs must not notice.
    os.kill(state.pid, 0)
    async with node.kubelet():
        await eventually(lambda: node.runtime.is_running(uid))
        assert node.runtime.containers(uid)["app"].pid == state.pid
        (node.settings.pods / uid / "volumes" / "shared" / "end").touch()
        status = await node.api.wait_pod("web", lambda status: status["phase"] == "Failed")
        ended = status["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "bye\n")
        log = (node.settings.pods / uid / "logs" / "app" / "0.log").read_text()
        assert [line.split(" ", 3)[3] for line in log.splitlines()] == ["hello", "web"]
        node.api.ask_delete("web", grace_s=1)
        await node.api.wait_for(lambda: node.api.pod("web") is None)
        await eventually(lambda: not (node.settings.pods / uid).exists())
    assert time.monotonic() - started < 20
    assert not [name for name in os.listdir("/run/netns") if node.settings.lab in name]
