"""The node's kernel tables as plan rows: observe them, compare, change what is off.

Synchronous; runs in the driver's own thread. Ours are: veth pairs and VXLAN devices of group 79, addresses, permanent neighbors and
forwarding entries on them, and routes and rules of protocol 79. Nothing else is ever changed or removed, except sysctls that the plan names.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from fairlead.base.interfaces import Interface
from fairlead.drivers.netlink import inet, link, marks, podlink
from fairlead.drivers.netlink.socket import Request, RouteSocket, enter
from fairlead.drivers.protocol import Failure, Outcome
from fairlead.plan.egress import EgressRoute
from fairlead.plan.plan import Plan
from fairlead.plan.tables import ForwardingEntry, Key, Neighbor, PodLink, Route, Row, Sysctl, Tunnel, key_of

log = logging.getLogger(__name__)

TABLES = ("sysctls", "tunnels", "pod_links", "neighbors", "forwarding", "routes", "egress_routes")
"""The plan tables of this driver in the order in which rows are added."""

_PROC = Path("/proc/sys")


class Kernel:
    """One node's kernel. All methods must be called from the thread that made it."""

    def __init__(self, namespace: Path | None = None) -> None:
        if namespace is not None:
            enter(namespace)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._socket = RouteSocket()
        self._links: dict[str, link.Link] = {}
        self._rows: dict[str, dict[Key, Row]] = {table: {} for table in TABLES}
        self._done: dict[str, Mapping[Key, Row]] = {}

    @property
    def port(self) -> int:
        """Return the port of the socket that changes are made with."""
        return self._socket.port

    def close(self) -> None:
        """Release handles; everything stays in place."""
        self._socket.close()
        os.close(self._home)

    def rows(self, table: str) -> Mapping[Key, Row]:
        """Return what is known to be in the kernel."""
        return self._rows[table]

    def interfaces(self) -> tuple[Interface, ...]:
        """Return the node's own interfaces that are up, sorted by name: not ours, not loopback."""
        links = {found.index: found for found in map(link.decode, self._socket.dump(*link.listing()))}
        addresses: dict[int, list[str]] = {}
        for found in map(inet.decode_address, self._socket.dump(*inet.address_listing())):
            if found is not None and found.is_global:
                addresses.setdefault(found.index, []).append(f"{found.address}/{found.length}")
        return tuple(
            Interface(name=each.name, mtu=each.mtu, addresses=tuple(sorted(addresses.get(index, ()))))
            for index, each in sorted(links.items(), key=lambda item: item[1].name)
            if each.up and not each.loopback and not each.is_ours
        )

    def is_ours(self, index: int) -> bool:
        """Tell whether the interface was ours when last observed."""
        return any(found.index == index and found.is_ours for found in tuple(self._links.values()))

    def has_changed(self, found: link.Link) -> bool:
        """Tell whether an interface differs from what is known of it in a way that matters: state, MTU, address.

        One of ours that is not known yet is being made, or has just gone: the kernel tells of its steps while we are at it,
        of the first before it has a group.
        """
        known = self._links.get(found.name)
        if known is None:
            return not link.has_our_name(found.name)
        return (known.up, known.mtu, known.mac) != (found.up, found.mtu, found.mac)

    def observe(self) -> None:
        """Read back everything that is ours."""
        self._links = self._dump_links()
        if any(found.group == link.GOING and found.is_ours for found in self._links.values()):
            # An agent was killed in the middle of removing them.
            self._socket.execute([link.delete_going()])
            self._links = self._dump_links()
        names = {found.index: found.name for found in self._links.values()}
        ours = {found.index: found for found in self._links.values() if found.is_ours}
        addresses: dict[int, list[str]] = {}
        for address in map(inet.decode_address, self._socket.dump(*inet.address_listing())):
            if address is not None and address.index in ours:
                addresses.setdefault(address.index, []).append(address.address)
        self._rows = {
            "sysctls": {},
            "tunnels": _index(
                _tunnel(found, addresses.get(found.index, ())) for found in ours.values() if found.kind == "vxlan"
            ),
            "pod_links": _index(podlink.observed(found) for found in ours.values() if found.kind == "veth"),
            "neighbors": _index(
                Neighbor(device=ours[entry.index].name, address=entry.address, mac=entry.mac)
                for family in (socket.AF_INET, socket.AF_INET6)
                for entry in map(inet.decode_entry, self._socket.dump(*inet.neighbor_listing(family)))
                if entry is not None and entry.index in ours
            ),
            "forwarding": _index(
                ForwardingEntry(device=ours[entry.index].name, mac=entry.mac, remote=entry.address)
                for entry in map(inet.decode_entry, self._socket.dump(*inet.neighbor_listing(socket.AF_BRIDGE)))
                if entry is not None and entry.index in ours
            ),
            "routes": _index(
                _route(found, names)
                for family in (socket.AF_INET, socket.AF_INET6)
                for found in map(inet.decode_route, self._socket.dump(*inet.route_listing(family)))
                if found is not None
            ),
            "egress_routes": _index(marks.observe(self._socket, names)),
        }
        self._done = {}

    def _dump_links(self) -> dict[str, link.Link]:
        return {found.name: found for found in map(link.decode, self._socket.dump(*link.listing()))}

    def apply(self, plan: Plan) -> Outcome:
        """Make the kernel equal to `plan` by the difference to what is known."""
        work = _Work(self, plan)
        work.sysctls(of_devices=False)
        work.tunnels()
        work.pod_links()
        work.sysctls(of_devices=True)
        work.neighbors()
        work.forwarding()
        work.routes()
        work.egress_routes()
        work.remove()
        return work.outcome()


class _Work:
    """One pass over the tables."""

    def __init__(self, kernel: Kernel, plan: Plan) -> None:
        self._kernel = kernel
        self._socket = kernel._socket
        self._plan = plan
        self._applied = 0
        self._failed: list[Failure] = []

    def outcome(self) -> Outcome:
        failed_tables = {failure.table for failure in self._failed}
        self._kernel._done = {table: self._plan.table(table) for table in TABLES if table not in failed_tables}
        return Outcome(applied=self._applied, failed=tuple(self._failed))

    def sysctls(self, *, of_devices: bool) -> None:
        ours = {row.host_ifname for row in self._plan.table("pod_links").values() if isinstance(row, PodLink)}
        ours |= {str(name) for (name,) in self._plan.table("tunnels")}
        for key, row in self._missing("sysctls"):
            assert isinstance(row, Sysctl)
            if bool(ours.intersection(row.path.split("/"))) == of_devices:
                self._try("sysctls", key, row, lambda row=row: self._write(row))  # type: ignore[misc]

    def _write(self, row: Sysctl) -> bool:
        path = _PROC / row.path
        try:
            if path.read_text().split() == row.value.split():
                return False
            path.write_text(row.value)
        except OSError as error:
            raise OSError(error.errno, f"set {row.path} = {row.value}: {error.strerror}") from error
        return True

    def tunnels(self) -> None:
        for key, row in self._missing("tunnels"):
            assert isinstance(row, Tunnel)
            self._try("tunnels", key, row, lambda row=row: self._tunnel(row))  # type: ignore[misc]

    def _tunnel(self, row: Tunnel) -> bool:
        known = self._kernel._rows["tunnels"].get((row.name,))
        if isinstance(known, Tunnel) and (known.vni, known.port, known.local) != (row.vni, row.port, row.local):
            self._socket.run(link.delete(row.name))
            self._forget_device(row.name)
            known = None
        if known is None:
            self._socket.run(
                link.add_vxlan(row.name, vni=row.vni, port=row.port, local=row.local, mac=row.mac, mtu=row.mtu)
            )
        found = link.decode(self._socket.get(link.lookup(row.name)))
        self._kernel._links[row.name] = found
        present = set(known.addresses) if isinstance(known, Tunnel) else set()
        self._socket.run(
            link.set_link(row.name, mac=row.mac, mtu=row.mtu),
            link.without_link_local(row.name),
            link.set_up(row.name),
            *(inet.add_address(found.index, address, row.name) for address in row.addresses),
            *(inet.delete_address(found.index, gone, row.name) for gone in sorted(present - set(row.addresses))),
        )
        return True

    def pod_links(self) -> None:
        for key, row in self._missing("pod_links"):
            assert isinstance(row, PodLink)
            self._try("pod_links", key, row, lambda row=row: self._pod_link(row))  # type: ignore[misc]

    def _pod_link(self, row: PodLink) -> bool:
        exists = (row.host_ifname,) in self._kernel._rows["pod_links"]
        podlink.create(self._socket, self._kernel._home, row, exists=exists)
        self._kernel._links[row.host_ifname] = link.decode(self._socket.get(link.lookup(row.host_ifname)))
        return True

    def neighbors(self) -> None:
        def request(row: Row, _: Row | None) -> Request:
            assert isinstance(row, Neighbor)
            return inet.set_neighbor(self._index_of(row.device), row.address, row.mac, row.device)

        self._batch("neighbors", request)

    def forwarding(self) -> None:
        def request(row: Row, _: Row | None) -> Request:
            assert isinstance(row, ForwardingEntry)
            return inet.set_forwarding(self._index_of(row.device), row.mac, row.remote, row.device)

        self._batch("forwarding", request)

    def routes(self) -> None:
        def request(row: Row, known: Row | None) -> Request:
            assert isinstance(row, Route)
            return inet.add_route(
                row.destination,
                index=self._index_of(row.device) if row.device else None,
                via=row.via,
                onlink=row.onlink,
                source=row.source,
                kind=row.kind,
                replace=known is not None,
            )

        self._batch("routes", request)

    def egress_routes(self) -> None:
        for key, row in self._missing("egress_routes"):
            assert isinstance(row, EgressRoute)
            self._try("egress_routes", key, row, lambda row=row: self._egress_route(row))  # type: ignore[misc]

    def _egress_route(self, row: EgressRoute) -> bool:
        self._socket.run(*marks.requests(row, self._index_of(row.device) if row.device else None))
        return True

    def remove(self) -> None:
        """Remove what the plan does not name, in reverse order; what hangs on a removed device goes with it."""
        going = {
            str(name)
            for table in ("pod_links", "tunnels")
            for (name,) in self._kernel._rows[table].keys() - self._plan.table(table).keys()
        }
        for table in reversed(TABLES):
            if table == "sysctls" or self._settled(table):
                continue
            rows = self._kernel._rows[table]
            orphans = [(key, rows[key]) for key in rows.keys() - self._plan.table(table).keys()]
            requests = []
            for key, row in orphans:
                if isinstance(row, EgressRoute):
                    # The rule stays when the device takes the route with it.
                    requests += [(key, each) for each in marks.removals(row)]
                elif getattr(row, "device", None) in going:
                    del rows[key]
                else:
                    requests.append((key, self._removal(row)))
            if table == "pod_links" and len(requests) > 1:
                self._remove_together(requests)
            else:
                self._execute(table, requests, lambda key, rows=rows: rows.pop(key, None))  # type: ignore[misc]
        for name in going:
            if (name,) not in self._kernel._rows["pod_links"] and (name,) not in self._kernel._rows["tunnels"]:
                self._kernel._links.pop(name, None)

    def _remove_together(self, requests: list[tuple[Key, Request]]) -> None:
        """Remove several pod links in one step; those that cannot go that way go alone."""
        names = [str(name) for (name,), _ in requests]
        marked = self._socket.execute([link.set_link(name, group=link.GOING) for name in names])
        gone = self._socket.execute([link.delete_going()])[0] is None
        rest = []
        for each, problem in zip(requests, marked, strict=True):
            if gone and problem is None:
                del self._kernel._rows["pod_links"][each[0]]
                self._applied += 1
            else:
                rest.append(each)
        self._execute("pod_links", rest, lambda key: self._kernel._rows["pod_links"].pop(key))

    def _removal(self, row: Row) -> Request:
        match row:
            case Route():
                return inet.delete_route(row.destination, kind=row.kind)
            case ForwardingEntry():
                return inet.delete_forwarding(self._index_of(row.device), row.mac, row.device)
            case Neighbor():
                return inet.delete_neighbor(self._index_of(row.device), row.address, row.device)
            case PodLink():
                return link.delete(row.host_ifname)
            case Tunnel():
                return link.delete(row.name)
            case _:
                raise TypeError(f"{type(row).__name__} is no row of this driver")

    def _settled(self, table: str) -> bool:
        return self._kernel._done.get(table) is self._plan.table(table)

    def _missing(self, table: str) -> list[tuple[Key, Row]]:
        if self._settled(table):
            return []
        known = self._kernel._rows[table]
        return [(key, row) for key, row in self._plan.table(table).items() if not _same(known.get(key), row)]

    def _batch(self, table: str, request: Callable[[Row, Row | None], Request]) -> None:
        rows = self._kernel._rows[table]
        requests = []
        for key, row in self._missing(table):
            try:
                requests.append((key, request(row, rows.get(key))))
            except OSError as error:
                self._fail(table, key, error)
        desired = self._plan.table(table)
        self._execute(table, requests, lambda key: rows.__setitem__(key, desired[key]))

    def _execute(self, table: str, requests: list[tuple[Key, Request]], done: Callable[[Key], object]) -> None:
        problems = self._socket.execute([request for _, request in requests])
        for (key, _), problem in zip(requests, problems, strict=True):
            if problem is None:
                done(key)
                self._applied += 1
            else:
                self._fail(table, key, problem)

    def _try(self, table: str, key: Key, row: Row, action: Callable[[], bool]) -> None:
        try:
            changed = action()
        except OSError as error:
            self._fail(table, key, error)
        else:
            self._kernel._rows[table][key] = row
            self._applied += changed

    def _fail(self, table: str, key: Key, error: OSError) -> None:
        text = error.strerror or str(error)
        if error.filename is not None:
            text = f"{error.filename}: {text}"
        if table == "routes" and error.errno == errno.EEXIST:
            text += "; a route that is not ours holds this destination"
        self._failed.append(Failure(table, key, text))

    def _index_of(self, device: str) -> int:
        known = self._kernel._links.get(device)
        if known is None:
            known = link.decode(self._socket.get(link.lookup(device)))
            self._kernel._links[device] = known
        return known.index

    def _forget_device(self, device: str) -> None:
        self._kernel._links.pop(device, None)
        for table in ("neighbors", "forwarding", "routes", "egress_routes"):
            rows = self._kernel._rows[table]
            for key in [key for key, row in rows.items() if getattr(row, "device", None) == device]:
                del rows[key]
            self._kernel._done.pop(table, None)


def _same(known: Row | None, wanted: Row) -> bool:
    """Tell whether the observed row stands for the wanted one; what cannot be observed is not compared."""
    match known, wanted:
        case PodLink(), PodLink():
            return msgspec.structs.replace(wanted, netns=known.netns) == known
        case Route(), Route() if wanted.device is None or wanted.kind != "unicast":
            return msgspec.structs.replace(wanted, device=known.device) == known
        case _:
            return known == wanted


def _tunnel(found: link.Link, addresses: Iterable[str]) -> Tunnel:
    return Tunnel(
        name=found.name,
        vni=found.vni,
        port=found.port,
        local=found.local,
        mac=found.mac,
        mtu=found.mtu if found.up else 0,
        addresses=tuple(sorted(addresses, key=lambda address: (":" in address, address))),
    )


def _route(found: inet.KernelRoute, names: Mapping[int, str]) -> Route:
    return Route(
        destination=found.destination,
        device=names.get(found.index) if found.index is not None else None,
        via=found.via,
        onlink=found.onlink,
        source=found.source,
        kind=found.kind,
    )


def _index(rows: Iterable[Row]) -> dict[Key, Row]:
    return {key_of(row): row for row in rows}
