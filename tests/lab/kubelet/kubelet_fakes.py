"""An API server and a container runtime in memory: the fast floor on which the whole kubelet runs in tests."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
import uuid
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from fairlead.api.resources import CONFIGMAPS, PODS, SECRETS, SERVICES
from fairlead.lab.runtime.spec import CommandMissing, ContainerMissing, ContainerState, SandboxMissing
from fairlead.sources.errors import AlreadyExists, Conflict, NotFound


def _not_found(resource, name):
    return NotFound({"code": 404, "reason": "NotFound", "message": f'{resource.plural} "{name}" not found'})


class FakeApi:
    """The methods of `fairlead.sources.client.Client` that a kubelet uses; records patches and events."""

    def __init__(self):
        self.objects = defaultdict(dict)
        self.events = []
        self.patches = []
        self.deletes = []
        self.tokens = []
        self._versions = itertools.count(1)
        self._watchers = []
        self._changed = asyncio.Condition()

    # What tests do.

    def put(self, resource, obj):
        metadata = obj["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("namespace", "default") if resource.namespaced else None
        metadata["resourceVersion"] = str(next(self._versions))
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        key = (metadata.get("namespace", ""), metadata["name"])
        kind = "MODIFIED" if key in self.objects[resource] else "ADDED"
        self.objects[resource][key] = obj
        self._notify(resource, kind, obj)
        return copy.deepcopy(obj)

    def remove(self, resource, name, namespace="default"):
        obj = self.objects[resource].pop((namespace, name))
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self._notify(resource, "DELETED", obj)

    def ask_delete(self, name, *, grace_s, namespace="default"):
        """What `kubectl delete` does to a pod that runs."""
        pod = copy.deepcopy(self.objects[PODS][(namespace, name)])
        pod["metadata"]["deletionTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + grace_s))
        pod["metadata"]["deletionGracePeriodSeconds"] = grace_s
        self.put(PODS, pod)

    def pod(self, name, namespace="default"):
        return self.objects[PODS].get((namespace, name))

    async def wait_for(self, predicate, timeout_s=10):
        """Wait until `predicate()` is true; it is asked again after every change."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(predicate)

    async def wait_pod(self, name, predicate, timeout_s=10):
        def holds():
            pod = self.pod(name)
            return pod is not None and predicate(pod.get("status", {}))

        try:
            await self.wait_for(holds, timeout_s)
        except TimeoutError:
            raise AssertionError(f"{self.pod(name)}\nevents: {self.reasons()}") from None
        return self.pod(name)["status"]

    def reasons(self):
        return [reason for _, _, reason, _ in self.events]

    def status_patches(self, name):
        return [patch for resource, patched, patch, sub in self.patches if (patched, sub) == (name, "status")]

    # What the kubelet does.

    async def get(self, resource, name, *, namespace=None, subresource=None):
        try:
            return copy.deepcopy(self.objects[resource][(namespace or "", name)])
        except KeyError:
            raise _not_found(resource, name) from None

    async def list(self, resource, *, namespace=None, label_selector=None, field_selector=None):
        found = [obj for obj in self.objects[resource].values() if _selected(obj, namespace, field_selector)]
        return copy.deepcopy(found), str(next(self._versions))

    async def watch(self, resource, *, resource_version, namespace=None, label_selector=None, field_selector=None):
        queue = asyncio.Queue()
        self._watchers.append((resource, namespace, field_selector, queue))
        while True:
            yield await queue.get()

    async def create(self, resource, obj, *, namespace=None, name=None, subresource=None):
        if subresource == "token":
            return self._token(obj, namespace, name)
        metadata = obj["metadata"]
        if (metadata.get("namespace", ""), metadata["name"]) in self.objects[resource]:
            raise AlreadyExists({"code": 409, "reason": "AlreadyExists"})
        return self.put(resource, copy.deepcopy(obj))

    async def patch(self, resource, name, patch, *, namespace=None, kind="merge", subresource=None):
        self.patches.append((resource, name, patch, subresource))
        current = self.objects[resource].get((namespace or "", name))
        if current is None:
            raise _not_found(resource, name)
        wanted = patch.get("metadata", {}).get("uid")
        if wanted and wanted != current["metadata"]["uid"]:
            raise Conflict({"code": 409, "reason": "Conflict", "message": "uid differs"})
        return self.put(resource, _merge(copy.deepcopy(current), patch))

    async def delete(self, resource, name, *, namespace=None, grace_period_s=None, uid=None, propagation=None):
        current = self.objects[resource].get((namespace or "", name))
        if current is None:
            raise _not_found(resource, name)
        assert uid in (None, current["metadata"]["uid"])
        self.deletes.append((resource, name, grace_period_s))
        if not current["metadata"].get("finalizers"):
            self.remove(resource, name, namespace or "")

    async def event(self, regarding, *, type, reason, message, component, node=None):
        self.events.append((regarding["metadata"]["name"], type, reason, message))
        await self._wake()

    def _token(self, request, namespace, account):
        spec = request["spec"]
        self.tokens.append((namespace, account, spec["boundObjectRef"]["name"], spec.get("audiences", [])))
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + spec["expirationSeconds"]))
        return {"status": {"token": f"token-{len(self.tokens)}", "expirationTimestamp": expires}}

    def _notify(self, resource, kind, obj):
        for watched, namespace, field_selector, queue in self._watchers:
            if watched == resource and _selected(obj, namespace, field_selector):
                queue.put_nowait((kind, copy.deepcopy(obj)))
        self._waking = asyncio.get_running_loop().create_task(self._wake())

    async def _wake(self):
        async with self._changed:
            self._changed.notify_all()


def _selected(obj, namespace, field_selector):
    key, _, value = (field_selector or "").partition("=")
    metadata = obj["metadata"]
    return namespace in (None, metadata.get("namespace")) and (key != "metadata.name" or metadata["name"] == value)


def _merge(target, patch):
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = _merge(target.get(key) or {}, value)
        elif key == "conditions":
            merged = {entry["type"]: entry for entry in target.get(key) or ()}
            for entry in value:
                merged[entry["type"]] = _merge(merged.get(entry["type"], {}), entry)
            target[key] = list(merged.values())
        else:
            target[key] = (
                [entry for entry in value if entry != {"$patch": "replace"}] if isinstance(value, list) else value
            )
    return target


class FakeSession:
    """A process that has already ended with `code` after writing `output`."""

    def __init__(self, code, output=b""):
        self.code, self.chunks, self.input, self.killed, self.eof = code, [output] if output else [], [], False, False

    async def read(self):
        return (1, self.chunks.pop(0)) if self.chunks else None

    async def write(self, data):
        self.input.append(data)

    def close_stdin(self):
        self.eof = True

    async def resize(self, width, height):
        self.size = (width, height)

    async def wait(self):
        return self.code

    async def kill(self):
        self.killed = True


class FakeRuntime:
    """Sandboxes and containers that do what the test says. It outlives kubelets, as the real one's processes do."""

    def __init__(self, root: Path):
        self.root = root
        self.calls = []
        self.pods = {}
        self.states = defaultdict(dict)
        self.specs = {}
        self.programs = {"sh", "sleep", "true"}
        self.exec_results = {}
        self.stubborn = set()
        self.fail_next = []
        self._callbacks = []

    async def start(self):
        self.root.mkdir(parents=True, exist_ok=True)

    async def close(self):
        self._callbacks.clear()

    async def create_netns(self, name):
        self.calls.append(("create_netns", name))
        path = self.root.parent / "netns" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    async def delete_netns(self, name):
        self.calls.append(("delete_netns", name))
        (self.root.parent / "netns" / name).unlink(missing_ok=True)

    async def run_sandbox(self, spec):
        self.calls.append(("run_sandbox", spec.name))
        if self.fail_next:
            raise self.fail_next.pop()
        self.pods[spec.uid] = spec

    async def remove_sandbox(self, uid):
        self.calls.append(("remove_sandbox", uid))
        self.pods.pop(uid, None)
        self.states.pop(uid, None)

    async def start_container(self, uid, spec):
        if uid not in self.pods:
            raise SandboxMissing(uid)
        self.calls.append(("start", spec.name, spec.attempt))
        self.specs[(uid, spec.name)] = spec
        state = ContainerState(name=spec.name, attempt=spec.attempt, state="running", pid=1, started_at=time.time())
        if spec.argv == ("true",):
            self.states[uid][spec.name] = state
            self.exit(uid, spec.name, 0)
        else:
            self._set(uid, state)

    async def signal_container(self, uid, container, signal):
        self.calls.append(("signal", container, int(signal)))
        state = self.states[uid].get(container)
        if state is None or state.state != "running":
            raise ContainerMissing(container)
        if int(signal) == 9 or container not in self.stubborn:
            self.exit(uid, container, 128 + int(signal), int(signal))

    def exit(self, uid, container, code, signal=None):
        """End a container as the test wants."""
        reason = "Error" if code else "Completed"
        state = self.states[uid][container]
        self._set(
            uid,
            replace(
                state, state="exited", pid=None, exit_code=code, signal=signal, finished_at=time.time(), reason=reason
            ),
        )

    def _set(self, uid, state):
        self.states[uid][state.name] = state
        for callback in self._callbacks:
            callback(uid)

    def sandboxes(self):
        return dict(self.pods)

    def containers(self, uid):
        return dict(self.states.get(uid, {}))

    def command_exists(self, argv, spec):
        return argv[0].rpartition("/")[2] in self.programs

    def on_change(self, callback):
        self._callbacks.append(callback)

    async def exec(self, uid, container, argv, *, tty, stdin, env=None):
        self.calls.append(("exec", container, tuple(argv)))
        if argv[0] not in self.programs and tuple(argv) not in self.exec_results:
            raise CommandMissing(f'exec: "{argv[0]}": executable file not found in $PATH')
        return FakeSession(*self.exec_results.get(tuple(argv), (0, b"")))

    async def attach(self, uid, container, *, stdin):
        return FakeSession(0, b"attached")

    async def dial(self, uid, port):
        raise ConnectionRefusedError(111, "Connection refused")


async def eventually(predicate, timeout_s=5):
    """Wait for something that nothing announces, such as a file."""
    async with asyncio.timeout(timeout_s):
        while not predicate():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


RESOURCES = {"configmap": CONFIGMAPS, "secret": SECRETS, "service": SERVICES}
