"""What each CNI command does: the order of steps that keeps disk, kernel and answer true to each other.

ADD reserves and persists before it touches the kernel, and answers only when the rules are in force; DEL goes the other way round.
A crash between any two steps therefore leaves at most an attachment that DEL or GC removes. Requests for one attachment never overlap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import msgspec

from fairlead.agent.attachments import AttachmentStore, StoreError, host_ifname, mac_address
from fairlead.agent.cni import protocol
from fairlead.agent.cni.ports import AttachError, Inspector, PodNetwork
from fairlead.agent.cni.protocol import CniError, Code, Request
from fairlead.agent.ipam import AddressError, Exhausted, OutsideRange
from fairlead.world.attachment import Attachment

log = logging.getLogger(__name__)


class Reply(msgspec.Struct, frozen=True):
    """What the plugin executable prints and how it exits."""

    exit_code: int
    output: bytes


class CniService:
    """Answers CNI requests for one node."""

    def __init__(self, store: AttachmentStore, network: PodNetwork, inspector: Inspector) -> None:
        self._store = store
        self._network = network
        self._inspector = inspector
        self._locks: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def answer(self, environment: Mapping[str, str], stdin: bytes) -> Reply:
        """Return the reply to one run of the plugin; never raises for anything that a request may hold."""
        try:
            request = protocol.parse(environment, stdin)
        except CniError as error:
            return Reply(1, protocol.error_result(error, protocol.version_of(stdin)))
        subject = {"command": request.command, "container": request.container_id, "ifname": request.ifname}
        subject["pod"] = f"{request.pod_namespace}/{request.pod_name}"
        try:
            return Reply(0, await self._dispatch(request))
        except CniError as error:
            log.warning("cni request refused", extra=subject | {"code": int(error.code), "error": str(error)})
            return Reply(1, protocol.error_result(error, request.version))
        except Exception as error:
            log.exception("cni request failed", extra=subject)
            unexpected = CniError(Code.TRY_AGAIN, "unexpected error", f"{type(error).__name__}: {error}")
            return Reply(1, protocol.error_result(unexpected, request.version))

    async def _dispatch(self, request: Request) -> bytes:
        match request.command:
            case "VERSION":
                return protocol.version_result(request.version)
            case "STATUS":
                self._status()
                return b""
            case "GC":
                await self._gc(request)
                return b""
        async with self._exclusive((request.container_id, request.ifname)):
            match request.command:
                case "ADD":
                    return await self._add(request)
                case "CHECK":
                    await self._check(request)
                case "DEL":
                    await self._detach(request.container_id, request.ifname)
        return b""

    async def _add(self, request: Request) -> bytes:
        key = (request.container_id, request.ifname)
        if self._store.is_complete(*key):
            details = f"container {key[0]} has {key[1]} already; DEL must come before another ADD"
            raise CniError(Code.INTERFACE_EXISTS, "interface exists", details)
        if problem := self._inspector.namespace_problem(request.netns):
            raise CniError(Code.UNKNOWN_CONTAINER, "container has no network namespace", f"{request.netns}: {problem}")
        if reason := self._unready():
            raise CniError(Code.TRY_AGAIN, "node's network is not ready", reason)
        if key in self._store.records:
            await self._detach(*key)
        wanted = Attachment(
            container_id=request.container_id,
            ifname=request.ifname,
            netns=request.netns,
            host_ifname=host_ifname(*key),
            mac=mac_address(*key),
            addresses=(),
            pod_namespace=request.pod_namespace,
            pod_name=request.pod_name,
            pod_uid=request.pod_uid,
            mtu=self._network.pod_mtu,
        )
        attachment = await self._bring_up(wanted, request)
        pod = f"{attachment.pod_namespace}/{attachment.pod_name}"
        addresses = ",".join(attachment.addresses)
        log.info("pod attached", extra={"pod": pod, "link": attachment.host_ifname, "addresses": addresses})
        return protocol.add_result(request, attachment)

    async def _bring_up(self, wanted: Attachment, request: Request) -> Attachment:
        """Reserve, persist, attach; on failure undo in reverse and raise."""
        try:
            record = self._store.reserve(wanted, request.network, request.requested)
        except Exhausted as error:
            raise CniError(Code.TRY_AGAIN, "no address left", str(error)) from error
        except OutsideRange as error:
            raise CniError(Code.INVALID_CONFIG, "invalid requested address", str(error)) from error
        except (AddressError, StoreError) as error:
            raise CniError(Code.TRY_AGAIN, "no address can be given", str(error)) from error
        try:
            await asyncio.to_thread(self._store.persist, record)
            await self._network.attach(record.attachment)
            self._store.complete(*wanted.key)
        except BaseException as error:
            # The addresses must not return to the pool while the kernel may still route them to this pod.
            await asyncio.shield(self._detach(*wanted.key))
            if isinstance(error, OSError):
                raise CniError(Code.TRY_AGAIN, "attachment cannot be recorded", str(error)) from error
            if isinstance(error, AttachError):
                raise CniError(Code.TRY_AGAIN, "pod cannot be attached", str(error)) from error
            raise
        return record.attachment

    async def _detach(self, container_id: str, ifname: str) -> None:
        known = (container_id, ifname) in self._store.records
        try:
            await self._network.detach(container_id, ifname)
            await asyncio.to_thread(self._store.erase, container_id, ifname)
        except (AttachError, OSError) as error:
            raise CniError(Code.TRY_AGAIN, "attachment cannot be removed", str(error)) from error
        self._store.forget(container_id, ifname)
        if known:
            log.info("pod detached", extra={"container": container_id, "ifname": ifname})

    async def _check(self, request: Request) -> None:
        record = self._store.records.get((request.container_id, request.ifname))
        if record is None:
            what = f"container {request.container_id} has no {request.ifname} on this node"
            raise CniError(Code.UNKNOWN_CONTAINER, "unknown attachment", what)
        problems = []
        if record.attachment.netns != request.netns:
            problems.append(f"attached in {record.attachment.netns}, not in {request.netns}")
        if mismatch := protocol.result_mismatch(request, record.attachment):
            problems.append(mismatch)
        problems += await self._inspector.problems(record.attachment)
        if problems:
            raise CniError(Code.CHECK_FAILED, "attachment differs from the kernel", "; ".join(problems))

    async def _gc(self, request: Request) -> None:
        stale = [
            key
            for key, record in self._store.records.items()
            if record.network == request.network and key not in request.valid
        ]
        errors = []
        for key in stale:
            try:
                async with self._exclusive(key):
                    await self._detach(*key)
            except CniError as error:
                errors.append(f"{key[0]}/{key[1]}: {error}")
        if errors:
            raise CniError(Code.TRY_AGAIN, f"{len(errors)} of {len(stale)} attachments remain", "; ".join(errors))

    def _status(self) -> None:
        reason = self._unready() or self._store.ipam.exhausted()
        if reason is None and self._store.damaged:
            reason = f"attachment files cannot be read: {', '.join(self._store.damaged)}"
        if reason:
            raise CniError(Code.NOT_AVAILABLE, "node's network is not ready", reason)

    def _unready(self) -> str | None:
        if reason := self._network.ready():
            return reason
        cidrs = self._network.pod_cidrs
        if not cidrs:
            return "the node has no podCIDRs yet"
        try:
            self._store.configure(cidrs)
        except (StoreError, ValueError) as error:
            return str(error)
        return None

    @contextlib.asynccontextmanager
    async def _exclusive(self, key: tuple[str, str]) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
