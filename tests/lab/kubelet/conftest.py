from __future__ import annotations

import asyncio
import contextlib
import json
import stat
import sys
import uuid

import pytest
from tests.lab.kubelet.kubelet_fakes import FakeApi, FakeRuntime

from fairlead.api.resources import PODS
from fairlead.lab.kubelet.kubelet import Kubelet
from fairlead.lab.kubelet.settings import Settings

PLUGIN = """#!{python} -S
import json, os, sys
config = json.load(sys.stdin)
command = os.environ["CNI_COMMAND"]
with open({log!r}, "a") as log:
    log.write(json.dumps([config["type"], command, os.environ.get("CNI_CONTAINERID"), config]) + "\\n")
failure = {log!r} + "." + config["type"] + "." + command
if os.path.exists(failure):
    print(json.dumps({{"code": 11, "msg": open(failure).read()}}))
    sys.exit(1)
if command == "ADD":
    result = config.get("prevResult") or {{"cniVersion": config["cniVersion"], "ips": [
        {{"address": "fd10:244:0:1::5/128"}}, {{"address": "10.244.1.5/32"}}]}}
    print(json.dumps(result))
"""


class Lab:
    """One node: an API server and a runtime in memory, real CNI plugins that only write down what they were asked."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.cni_log = folder / "cni.log"
        for name in ("first", "second"):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(PLUGIN.format(python=sys.executable, log=str(self.cni_log)))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.settings = Settings(
            node="node-1",
            lab="test",
            zone="zone-a",
            root=folder / "node-1",
            node_ips=("10.10.0.11", "fd10:10::b"),
            pod_cidrs=("10.244.1.0/24", "fd10:244:0:1::/64"),
            cluster_dns=("10.96.0.10",),
            cni_conf_dir=folder / "net.d",
            cni_bin_dirs=(folder / "bin",),
            **options,
        )
        self.api = FakeApi()
        self.runtime = FakeRuntime(self.settings.pods)
        self.network_up()

    def network_up(self):
        self.settings.cni_conf_dir.mkdir(exist_ok=True)
        plugins = [{"type": "first"}, {"type": "second", "capabilities": {"portMappings": True}}]
        config = {"cniVersion": "1.0.0", "name": "lab", "plugins": plugins}
        (self.settings.cni_conf_dir / "10-lab.conflist").write_text(json.dumps(config))

    def fail_cni(self, plugin, command, message):
        path = self.folder / f"cni.log.{plugin}.{command}"
        path.write_text(message)
        return path

    def cni_calls(self):
        if not self.cni_log.exists():
            return []
        return [tuple(json.loads(line)[:2]) for line in self.cni_log.read_text().splitlines()]

    @contextlib.asynccontextmanager
    async def kubelet(self):
        """Run a kubelet; leaving the block kills it as -9 would: nothing is cleaned up."""
        task = asyncio.create_task(Kubelet(self.settings, self.api, self.runtime).run())
        try:
            yield
        finally:
            failed = task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert not failed

    def pod(self, name="web", *, status=None, containers=None, metadata=None, **spec):
        """Bind a pod to the node."""
        return self.api.put(
            PODS,
            {
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "uid": str(uuid.uuid4()),
                    "generation": 1,
                    **(metadata or {}),
                },
                "spec": {
                    "nodeName": "node-1",
                    "containers": containers or [{"name": "app", "image": "nginx", "ports": [{"containerPort": 80}]}],
                    **spec,
                },
                "status": status or {"phase": "Pending"},
            },
        )


@pytest.fixture
def lab(tmp_path):
    def make(**options):
        return Lab(tmp_path, **options)

    return make
