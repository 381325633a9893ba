"""The node's attachments on disk: one file each, which is also the record that its addresses are taken.

A file is written, synced and renamed before anybody may use the addresses in it, and removed only after the kernel holds nothing
of the attachment. So a crash at any point leaves at worst an attachment too many, which DEL or GC removes, and never an
address that two pods hold. Nothing here may wait for the kernel or the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fairlead.agent.ipam import AddressError, History, Ipam
from fairlead.world.attachment import Attachment

log = logging.getLogger(__name__)

_COMPLETE = ".json"
# Written before the kernel is touched; renamed to `.json` when ADD is answered.
_PENDING = ".pending"
_TEMPORARY = ".tmp"
_HISTORY = "history"


class StoreError(Exception):
    """The store cannot be trusted or written; the message names the file and what to do."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the file of one attachment holds."""

    attachment: Attachment
    network: str
    """Name of the CNI network that the runtime attached it to."""


def host_ifname(container_id: str, ifname: str) -> str:
    """Return the name on the node of an attachment's link: `fl` and 12 hexadecimal digits, the same ones every time."""
    return "fl" + _digest(container_id, ifname)[:12]


def mac_address(container_id: str, ifname: str) -> str:
    """Return the hardware address of the pod's side: locally administered, unicast, the same every time."""
    digits = _digest(container_id, ifname)
    return "02:" + ":".join(digits[12 + 2 * i : 14 + 2 * i] for i in range(5))


class AttachmentStore:
    """All attachments of a node, in memory and below `folder`, for one process.

    An attachment goes through `reserve` (memory), `persist` (disk), `complete`, and ends by `erase` (disk) and `forget` (memory).
    `persist` and `erase` wait for the disk and may run in a thread, several at once for different attachments; all others belong
    to the thread of the event loop.
    """

    def __init__(self, folder: Path) -> None:
        """Load what is there; a file that cannot be read is kept, named in `damaged`, and stops new attachments only."""
        self._folder = folder
        self._records: dict[tuple[str, str], Record] = {}
        self._pending: set[tuple[str, str]] = set()
        self.damaged: dict[str, str] = {}
        self.ipam = Ipam()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load()

    @property
    def records(self) -> Mapping[tuple[str, str], Record]:
        """Return all records by (container id, interface)."""
        return self._records

    def attachments(self) -> list[Attachment]:
        """Return every attachment that is to be in the kernel: what the engine adopts after a restart."""
        return [record.attachment for record in self._records.values()]

    def is_complete(self, container_id: str, ifname: str) -> bool:
        """Return whether ADD of this attachment got as far as answering."""
        return (container_id, ifname) in self._records and (container_id, ifname) not in self._pending

    def configure(self, cidrs: Sequence[str]) -> None:
        """Give out addresses of `cidrs` from now on; free when they are the same as before. Raises StoreError on a conflict."""
        if tuple(cidrs) == self.ipam.cidrs:
            return
        ipam = Ipam(cidrs, self._read_history())
        for record in self._records.values():
            try:
                ipam.adopt(record.attachment.host_ifname, record.attachment.addresses)
            except AddressError as error:
                raise StoreError(f"{self._folder}: {error}; remove the file of the pod that is gone") from error
        self.ipam = ipam

    def reserve(self, attachment: Attachment, network: str, requested: Sequence[str] = ()) -> Record:
        """Take addresses for `attachment` and return its record with them; raises AddressError or StoreError. `persist` must follow."""
        for name, why in self.damaged.items():
            path = self._folder / name
            raise StoreError(
                f"{path} cannot be read ({why}), so its pod's addresses are unknown; remove it once that pod is gone"
            )
        holder = next(
            (key for key, other in self._records.items() if other.attachment.host_ifname == attachment.host_ifname),
            None,
        )
        if holder is not None:
            raise StoreError(f"interface {attachment.host_ifname} belongs to {holder[1]} of container {holder[0]}")
        addresses = self.ipam.take(attachment.host_ifname, requested)
        record = Record(attachment=msgspec.structs.replace(attachment, addresses=addresses), network=network)
        self._records[attachment.key] = record
        self._pending.add(attachment.key)
        return record

    def persist(self, record: Record) -> None:
        """Return when `record` is on the disk; raises OSError."""
        path = self._path(*record.attachment.key, _PENDING)
        temporary = path.with_suffix(_TEMPORARY)
        _write(temporary, msgspec.json.encode(record), durable=True)
        temporary.replace(path)
        _sync(self._folder)

    def complete(self, container_id: str, ifname: str) -> None:
        """Note that the attachment is in force and ADD is answered."""
        # Not synced: a machine that loses this rename has lost the pod too.
        self._path(container_id, ifname, _PENDING).replace(self._path(container_id, ifname, _COMPLETE))
        self._pending.discard((container_id, ifname))
        self._write_history()

    def erase(self, container_id: str, ifname: str) -> None:
        """Return when nothing of this attachment is on the disk; raises OSError. `forget` must follow."""
        found = False
        for suffix in (_PENDING, _COMPLETE):
            path = self._path(container_id, ifname, suffix)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                found = True
        if found:
            _sync(self._folder)

    def forget(self, container_id: str, ifname: str) -> None:
        """Free the addresses of an attachment that was erased; one that is unknown is fine."""
        name = host_ifname(container_id, ifname)
        for suffix in (_PENDING, _COMPLETE):
            self.damaged.pop(name + suffix, None)
        self._pending.discard((container_id, ifname))
        if self._records.pop((container_id, ifname), None):
            self.ipam.release(name)
            self._write_history()

    def _load(self) -> None:
        for path in sorted(self._folder.iterdir()):
            if path.suffix == _TEMPORARY:
                path.unlink()
            if path.suffix not in (_PENDING, _COMPLETE):
                continue
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
                if self._path(*record.attachment.key, path.suffix) != path:
                    raise ValueError("it holds another attachment than its name says")
            except (msgspec.MsgspecError, ValueError, OSError) as error:
                self.damaged[path.name] = str(error)
                log.error("attachment file cannot be read", extra={"path": str(path), "error": str(error)})
                continue
            self._records[record.attachment.key] = record
            if path.suffix == _PENDING:
                self._pending.add(record.attachment.key)

    def _path(self, container_id: str, ifname: str, suffix: str) -> Path:
        return self._folder / (host_ifname(container_id, ifname) + suffix)

    def _read_history(self) -> dict[str, History]:
        try:
            return msgspec.json.decode((self._folder / _HISTORY).read_bytes(), type=dict[str, History])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write_history(self) -> None:
        # Only a hint against early reuse: not worth a sync, and not worth an error.
        temporary = self._folder / (_HISTORY + _TEMPORARY)
        with contextlib.suppress(OSError):
            _write(temporary, msgspec.json.encode(self.ipam.history), durable=False)
            temporary.replace(self._folder / _HISTORY)


def _digest(container_id: str, ifname: str) -> str:
    return hashlib.sha256(f"{container_id}/{ifname}".encode()).hexdigest()


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
