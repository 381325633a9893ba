"""Forgets what connection tracking remembers of endpoints that went.

A datagram of a known flow is translated as the first one was, so a client that keeps its port would talk to a dead endpoint for as long as
it talks. Entries of UDP and SCTP whose first packet went to a service port of ours and that lead to none of its endpoints are deleted;
TCP is left alone, since a connection to a pod that is going must be able to end. Everything is decided by the plan and by what the kernel lists.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from fairlead.drivers.conntrack import wire
from fairlead.drivers.protocol import Outcome
from fairlead.plan.plan import Plan
from fairlead.plan.tables import Key, LocalPort, Row, ServicePort

log = logging.getLogger(__name__)

_PROTOCOLS = {"udp": 17, "sctp": 132}
_NETFILTER = 12
_RECEIVE_BYTES = 1 << 20
_TIMEOUT_S = 10
_CLONE_NEWNET = 0x40000000
_TABLES = ("service_ports", "local_ports")

Frontend: TypeAlias = tuple[int, bytes, int]
"""Protocol, address and port that clients use."""


class ConntrackDriver:
    """Implements `fairlead.drivers.protocol.Driver`; it owns entries, not rows: the same rows are the nftables driver's too."""

    name = "conntrack"
    tables = frozenset(_TABLES)

    def __init__(self, netns: Path | None = None) -> None:
        """Drive the network namespace at `netns`; by default the one of the process."""
        self._netns = netns
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="conntrack")
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._plan: Plan | None = None

    def __repr__(self) -> str:
        return f"<ConntrackDriver of {self._netns or 'this namespace'}>"

    async def start(self) -> None:
        """Open the socket; raises OSError."""
        self._socket = _inside(self._netns, _open)

    async def apply(self, plan: Plan) -> Outcome:
        """Delete stale entries of every service port whose endpoints changed since the last plan; of all at the first one."""
        before, self._plan = self._plan, plan
        if before is None:
            return await self._clean(plan, None)
        names: dict[str, set[Key]] = {}
        for table in _TABLES:
            old, new = before.table(table), plan.table(table)
            if old is not new:
                names[table] = {key for key in old.keys() | new.keys() if old.get(key) is not new.get(key)}
        return await self._clean_changed(before, plan, names)

    async def apply_changes(self, plan: Plan, changed: Mapping[str, Collection[Key]]) -> Outcome:
        """As `apply`, looking at the keys in `changed` alone."""
        before, self._plan = self._plan, plan
        return await (self._clean(plan, None) if before is None else self._clean_changed(before, plan, changed))

    async def resync(self, plan: Plan) -> Outcome:
        """Look at all service ports."""
        self._plan = plan
        return await self._clean(plan, None)

    async def close(self) -> None:
        """Close the socket."""
        self._worker.shutdown()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _clean_changed(self, before: Plan, plan: Plan, changed: Mapping[str, Collection[Key]]) -> Outcome:
        touched = {
            key
            for table in _TABLES
            for key in changed.get(table, ())
            if key[1] in _PROTOCOLS and _lost(before.table(table).get(key), plan.table(table).get(key))
        }
        if not touched:
            return Outcome()
        # A service port that is gone has no row: its flows are as stale as those of one without endpoints.
        return await self._clean(plan, touched)

    async def _clean(self, plan: Plan, keys: Collection[Key] | None) -> Outcome:
        wanted = _frontends(plan, keys)
        if not wanted:
            return Outcome()
        loop = asyncio.get_running_loop()
        return Outcome(await loop.run_in_executor(self._worker, self._delete_stale, wanted))

    def _delete_stale(self, wanted: Mapping[Frontend, frozenset[tuple[bytes, int]]]) -> int:
        families = {(socket.AF_INET if len(address) == 4 else socket.AF_INET6, proto) for proto, address, _ in wanted}
        stale = [
            entry
            for family, protocol in sorted(families)
            for entry in self._list(family, protocol)
            if (targets := wanted.get((entry.protocol, entry.destination, entry.port))) is not None
            and (entry.answerer, entry.answering_port) not in targets
        ]
        for entry in stale:
            self._delete(entry)
        if stale:
            log.info("forgot connections to endpoints that went", extra={"entries": len(stale)})
        return len(stale)

    def _list(self, family: int, protocol: int) -> list[wire.Entry]:
        found: list[wire.Entry] = []
        for payload in self._ask(lambda sequence: wire.listing(family, protocol, sequence)):
            entry = wire.entry(payload)
            if entry is not None and entry.protocol == protocol:
                found.append(entry)
        return found

    def _delete(self, entry: wire.Entry) -> None:
        try:
            for _ in self._ask(lambda sequence: wire.deletion(entry, sequence)):
                pass
        except OSError as error:
            # It ended on its own.
            if error.errno != errno.ENOENT:
                raise

    def _ask(self, request: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield the payloads of the kernel's answer; raises OSError."""
        if self._socket is None:
            raise RuntimeError("the conntrack driver is not started: call start() first")
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        self._socket.send(request(self._sequence))
        while True:
            for kind, sequence, payload in wire.messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
                    code = wire.error_code(payload)
                    if code:
                        raise OSError(code, os.strerror(code), "connection tracking")
                    return
                yield payload


def _lost(old: Row | None, new: Row | None) -> bool:
    """Tell whether a service port may have flows to endpoints that it has no longer, or flows from before it existed."""
    if not isinstance(old, ServicePort | LocalPort):
        return new is not None
    if not isinstance(new, ServicePort | LocalPort):
        return True
    return not set(old.endpoints) <= set(new.endpoints)


def _frontends(plan: Plan, keys: Collection[Key] | None) -> dict[Frontend, frozenset[tuple[bytes, int]]]:
    """Return service ports that are not TCP → their endpoints, of every policy."""
    if keys is None:
        keys = {key for table in _TABLES for key in plan.table(table) if key[1] in _PROTOCOLS}
    found: dict[Frontend, frozenset[tuple[bytes, int]]] = {}
    for key in keys:
        address, protocol, port = str(key[0]), str(key[1]), int(key[2])
        rows: Iterable[Row | None] = (plan.table(table).get(key) for table in _TABLES)
        endpoints = [each for row in rows if isinstance(row, ServicePort | LocalPort) for each in row.endpoints]
        try:
            at = (_PROTOCOLS[protocol], _packed(address), port)
            found[at] = frozenset((_packed(each.address), each.port) for each in endpoints)
        except OSError:
            continue  # The nftables driver reports it.
    return found


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    opened.bind((0, 0))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT_S, 0))
    return opened


def _inside(namespace: Path | None, action: Callable[[], socket.socket]) -> socket.socket:
    """Return what `action` returns inside `namespace`, in a thread of its own that ends there."""
    if namespace is None:
        return action()
    result: list[socket.socket | OSError] = []

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            with namespace.open() as file:
                if libc.setns(file.fileno(), _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code), str(namespace))
            result.append(action())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=work, name="conntrack-namespace")
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]
