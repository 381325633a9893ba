"""Brings pods' statuses to the API server: one patch per change set, the newest state only, nothing in steady state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fairlead.aio.workqueue import WorkQueue
from fairlead.api.resources import PODS
from fairlead.lab.kubelet.decide import initialized
from fairlead.lab.kubelet.pod import Json
from fairlead.lab.kubelet.record import PodRecord
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.kubelet.status import Situation, patch_between, pod_status
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Conflict, NotFound, Unreachable

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_WORKERS = 4


class StatusWriter:
    """Writes the status of pods whose uid was given to `touch`. `find` returns a pod's record."""

    def __init__(self, settings: Settings, client: Client, find: Callable[[str], PodRecord | None]) -> None:
        self._settings = settings
        self._client = client
        self._find = find
        self._queue: WorkQueue[str] = WorkQueue()

    def touch(self, uid: str, delay_s: float = 0.0) -> None:
        """Have the status of a pod compared and, if it differs, written; at most `delay_s` seconds from now."""
        self._queue.add_after(uid, delay_s)

    async def run(self) -> None:
        """Write forever."""
        await self._queue.run(self._write, workers=_WORKERS)

    def compare(self, record: PodRecord) -> bool:
        """Tell whether somebody else changed what we reported, by the newest object that is known; then it is reported again."""
        version = str(record.obj["metadata"].get("resourceVersion") or 0)
        if not version.isdigit() or int(version) <= record.sent_version:
            return False
        status = record.obj.get("status") or {}
        ours = {entry["type"]: entry["status"] for entry in record.sent.get("conditions") or ()}
        theirs = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
        same = status.get("phase") == record.sent.get("phase") and all(theirs.get(kind) == ours[kind] for kind in ours)
        if not same:
            record.sent = status
            record.sent_version = int(version)
        return not same

    async def flush(self, record: PodRecord) -> None:
        """Write the status now if it differs; raises ApiError or Unreachable."""
        status = self.status(record)
        changes = patch_between(record.sent, status)
        if changes is None:
            return
        pod = record.pod
        patch = {"metadata": {"uid": pod.uid}, "status": changes}
        answer = await self._client.patch(
            PODS,
            pod.metadata.name,
            patch,
            namespace=pod.metadata.namespace,
            kind="strategic",
            subresource="status",
        )
        record.sent = status
        record.sent_version = int(answer["metadata"]["resourceVersion"])
        if status.get("phase") != answer.get("status", {}).get("phase"):
            log.warning("status not taken", extra={"pod": pod.ref, "phase": answer.get("status", {}).get("phase")})
        # A later change by somebody else may have been heard of before this answer.
        if self.compare(record):
            self.touch(pod.uid)

    def status(self, record: PodRecord) -> Json:
        """Return the pod's status as of now."""
        now = time.time()
        pod = record.pod
        reports = {
            container.name: record.container(container.name).report(pod, container, now)
            for container in pod.all_containers
        }
        situation = Situation(
            reports=reports,
            attached=record.attached,
            pod_ips=record.ips,
            host_ips=self._settings.node_ips,
            initialized=initialized(pod, record.seen()),
            finish=record.finish,
            ending=record.ending,
        )
        return pod_status(pod, record.sent, situation, now)

    async def _write(self, uid: str) -> None:
        record = self._find(uid)
        if record is None or record.gone:
            return
        try:
            await self.flush(record)
        except NotFound:
            return
        except Conflict as error:
            # Another pod has this name now; our object is gone and the watch will say so.
            log.info("status refused", extra={"pod": record.pod.ref, "error": str(error)})
        except (ApiError, Unreachable) as error:
            log.info("status not written", extra={"pod": record.pod.ref, "error": str(error)})
            self._queue.add_after(uid, _RETRY_S)
