"""Egress gateways as rows: which pods' packets get which mark, where marked packets go, and the source they leave with.

Every node decides alone which node is the gateway: the first of the candidates' common order that answers it. On the pods' node packets
of the cluster's outside get a mark, and the mark leads to the gateway; on the gateway the same mark leads to the source address. While
nobody can be the gateway, and while a pod's labels are not known, nothing leaves. It must never read a pod's policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from zlib import crc32

import msgspec

from fairlead.api.decode import reference
from fairlead.api.egressgateway import EVERYWHERE, EgressGateway, candidates
from fairlead.api.node import Node
from fairlead.api.pod import Pod
from fairlead.base.addresses import canonical, contains, is_ipv6
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.interfaces import Interface
from fairlead.base.selectors import EVERYTHING, LabelSelector, SelectorError
from fairlead.model.podnet import TUNNEL, NodeFacts, underlay
from fairlead.model.policy.members import NAME_LABEL, differing
from fairlead.model.policy.rules import BlockTerm, block, prefixes
from fairlead.model.rows import Rows, RowsBuilder
from fairlead.plan.egress import HOLD, MARKS, EgressAddress, EgressHolder, EgressRange, EgressRoute, EgressSource
from fairlead.plan.tables import Key, Origin, Row
from fairlead.world.attachment import Attachment
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

_NUMBERS = 0xFFFF


class _Way(msgspec.Struct, frozen=True):
    """One gateway object, understood."""

    origin: Origin
    mark: int
    namespaces: LabelSelector
    pods: LabelSelector
    ranges: tuple[str, ...]
    addresses: Mapping[bool, str]
    candidates: tuple[Node, ...]


class EgressStage:
    """Compiles the gateways of one snapshot after the other; a pod that comes or goes costs its own rows and one copy of their table."""

    def __init__(self) -> None:
        self._read: tuple[object, ...] = ()
        self._ways: list[_Way] = []
        self._fixed = Rows()
        self._pods: Mapping[ObjectKey, Pod] = {}
        self._attachments: Mapping[tuple[str, str], Attachment] = {}
        self._local: dict[ObjectKey, tuple[str, ...]] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._held: dict[ObjectKey, tuple[str, ...]] = {}
        """Pod → its addresses that it claims a row for."""
        self._claims: dict[str, dict[ObjectKey, tuple[int, Origin]]] = {}
        """Address → the mark that each pod wants for it: of a pod that goes and the one that gets its address, either may be told first."""
        self._sources: dict[Key, Row] = {}
        self._origins: dict[tuple[str, Key], tuple[Origin, ...]] = {}
        self._rows = Rows()

    def update(self, snapshot: Snapshot) -> Rows:
        """Return the rows; the same value when nothing that they are made of has changed."""
        world = (snapshot.egress_gateways, snapshot.nodes, snapshot.namespaces, snapshot.interfaces)
        read = (*world, snapshot.settings, snapshot.unreachable)
        everything = len(read) != len(self._read) or any(a is not b for a, b in zip(read, self._read, strict=True))
        if not everything and snapshot.pods is self._pods and snapshot.attachments is self._attachments:
            return self._rows
        local = _local(snapshot.attachments)
        if everything:
            self._read = read
            self._define(snapshot)
            touched: Iterable[ObjectKey] = snapshot.pods.keys() | local.keys() if self._ways else ()
            self._held, self._claims, self._sources, self._origins = {}, {}, {}, {}
        elif not self._ways:
            touched = ()
        else:
            moved = {key for key in self._local.keys() | local.keys() if self._local.get(key) != local.get(key)}
            touched = differing(self._pods, snapshot.pods) | moved
        self._pods, self._attachments, self._local = snapshot.pods, snapshot.attachments, local
        if touched:
            self._sources, self._origins = dict(self._sources), dict(self._origins)
        here = {
            way.mark for way in self._ways if any(n.metadata.name == snapshot.settings.node for n in way.candidates)
        }
        for key in touched:
            self._place(key, here)
        tables = dict(self._fixed.tables)
        if self._sources:
            tables["egress_sources"] = self._sources
        self._rows = Rows(tables, {**self._fixed.origins, **self._origins}, self._fixed.diagnostics)
        return self._rows

    def _place(self, key: ObjectKey, here: set[int]) -> None:
        former = self._held.pop(key, ())
        for address in former:
            del self._claims[address][key]
        wanted = self._wanted(key, here)
        if wanted is not None:
            addresses, mark, origin = wanted
            self._held[key] = addresses
            for address in addresses:
                self._claims.setdefault(address, {})[key] = (mark, origin)
        for address in {*former, *self._held.get(key, ())}:
            self._settle(address)

    def _wanted(self, key: ObjectKey, here: set[int]) -> tuple[tuple[str, ...], int, Origin] | None:
        """Return (addresses, mark, gateway) of a pod; None when no gateway concerns it on this node."""
        pod = self._pods.get(key)
        namespace = self._labels.get(key[0], {NAME_LABEL: key[0]})
        if pod is None:
            way = next((each for each in self._ways if each.namespaces.matches(namespace)), None)
            mark = HOLD
        else:
            if pod.spec.host_network or pod.is_finished:
                return None
            labels = pod.metadata.labels or {}
            way = next(
                (each for each in self._ways if each.namespaces.matches(namespace) and each.pods.matches(labels)), None
            )
            mark = way.mark if way else 0
        if way is None or not (key in self._local or mark in here):
            return None
        try:
            addresses = tuple(map(canonical, (pod.addresses if pod else ()) or self._local.get(key, ())))
        except ValueError:
            return None
        return addresses, mark, way.origin

    def _settle(self, address: str) -> None:
        """Give an address the row of the pod that holds it: of the one attached here, else of the one that all agree with."""
        claims = self._claims[address]
        if not claims:
            del self._claims[address]
            self._sources.pop((address,), None)
            self._origins.pop(("egress_sources", (address,)), None)
            return
        attached = claims.keys() & self._local.keys()
        key = min(attached or claims)
        marks = {claims[each][0] for each in attached or claims}
        mark = marks.pop() if len(marks) == 1 else HOLD
        self._sources[address,] = EgressSource(address=address, mark=mark)
        self._origins["egress_sources", (address,)] = (claims[key][1], reference("Pod", *key))

    def _define(self, snapshot: Snapshot) -> None:
        out = RowsBuilder()
        self._labels = {
            key[1]: {**(each.metadata.labels or {}), NAME_LABEL: key[1]} for key, each in snapshot.namespaces.items()
        }
        self._ways = list(_ways(snapshot.egress_gateways.values(), snapshot.nodes.values(), out))
        for way in self._ways:
            _WayRows(snapshot, way, out).build()
        if self._ways:
            for ipv6 in (False, True):
                out.add("egress_routes", EgressRoute(mark=HOLD, ipv6=ipv6, kind="blackhole"), self._ways[0].origin)
            for prefix in EVERYWHERE:
                out.add("egress_ranges", EgressRange(mark=HOLD, prefix=prefix), self._ways[0].origin)
        self._fixed = out.rows()


def _local(attachments: Mapping[tuple[str, str], Attachment]) -> dict[ObjectKey, tuple[str, ...]]:
    found: dict[ObjectKey, tuple[str, ...]] = {}
    for each in attachments.values():
        if each.pod_name:
            key = (each.pod_namespace, each.pod_name)
            found[key] = (*found.get(key, ()), *each.addresses)
    return found


def _ways(gateways: Iterable[EgressGateway], nodes: Iterable[Node], out: RowsBuilder) -> Iterator[_Way]:
    """Yield what makes sense, by name: of several gateways that select a pod the first one counts."""
    taken = {HOLD}
    nodes = list(nodes)
    for gateway in sorted(gateways, key=lambda each: each.metadata.name):
        origin = reference("EgressGateway", "", gateway.metadata.name)
        mark = MARKS + crc32(gateway.metadata.name.encode()) % _NUMBERS + 1
        while mark in taken:
            mark = MARKS + (mark - MARKS) % _NUMBERS + 1
        taken.add(mark)
        spec = gateway.spec
        try:
            if spec.subject.pods is not None:
                namespaces = spec.subject.pods.namespace_selector.parsed()
                pods = spec.subject.pods.pod_selector.parsed()
            elif spec.subject.namespaces is not None:
                namespaces, pods = spec.subject.namespaces.parsed(), EVERYTHING
            else:
                raise ValueError("spec.subject is of no known kind: it selects nothing")
            found = tuple(candidates(gateway, nodes))
            terms: tuple[BlockTerm, ...] = tuple(block(each, spec.exceptions) for each in spec.destinations)
            addresses = {is_ipv6(each): each for each in map(canonical, spec.addresses)}
        except (SelectorError, ValueError) as error:
            out.report(Diagnostic(object=origin, field="spec", message=str(error)))
            continue
        if not found:
            message = "no node has these labels: its pods do not leave the cluster"
            fix = "label a node, or change spec.nodeSelector"
            out.report(Diagnostic(object=origin, field="spec.nodeSelector", message=message, fix=fix))
        yield _Way(origin, mark, namespaces, pods, prefixes(terms), addresses, found)


class _WayRows:
    """The rows of one gateway that do not depend on pods."""

    def __init__(self, snapshot: Snapshot, way: _Way, out: RowsBuilder) -> None:
        self._snapshot = snapshot
        self._way = way
        self._out = out
        node = snapshot.nodes.get(snapshot.settings.node)
        self._own = NodeFacts(node) if node else None

    def build(self) -> None:
        for prefix in self._way.ranges:
            self._out.add("egress_ranges", EgressRange(mark=self._way.mark, prefix=prefix), self._way.origin)
        gateway = self._gateway()
        for ipv6 in (False, True):
            self._family(gateway, ipv6=ipv6)
        own = set(self._own.addresses if self._own else ())
        for address in self._way.addresses.values():
            if address not in own:
                self._out.add("egress_holders", EgressHolder(address=address), self._way.origin)

    def _gateway(self) -> NodeFacts | None:
        """Return the node that is the gateway as this node sees it."""
        for node in self._way.candidates:
            facts = NodeFacts(node)
            if node.metadata.name == self._snapshot.settings.node:
                return facts
            if facts.addresses and facts.addresses[0] not in self._snapshot.unreachable:
                return facts
        return None

    def _family(self, gateway: NodeFacts | None, *, ipv6: bool) -> None:
        mark, origin = self._way.mark, self._way.origin
        chosen = self._way.addresses
        source = chosen.get(ipv6) if chosen else gateway.address(ipv6=ipv6) if gateway else None
        route = None
        if gateway is not None and source is not None:
            if gateway.name == self._snapshot.settings.node:
                self._out.add("egress_addresses", EgressAddress(mark=mark, ipv6=ipv6, address=source), origin)
                return
            route = self._route(gateway, ipv6=ipv6)
        if route is None:
            self._out.add("egress_routes", EgressRoute(mark=mark, ipv6=ipv6, kind="blackhole"), origin)
            return
        self._out.add("egress_routes", route, origin)
        self._out.add("egress_addresses", EgressAddress(mark=mark, ipv6=ipv6, address=""), origin)

    def _route(self, gateway: NodeFacts, *, ipv6: bool) -> EgressRoute | None:
        """Return the way to the gateway: direct on a common link, else through the tunnel; None when there is neither."""
        mark, settings = self._way.mark, self._snapshot.settings
        address = gateway.address(ipv6=ipv6)
        link = _link_of(address, self._snapshot.interfaces) if address is not None else None
        if settings.tunnel != "vxlan" and link is not None:
            return EgressRoute(mark=mark, ipv6=ipv6, device=link.name, via=address)
        inner = gateway.gateway(ipv6=ipv6)
        remote = gateway.address(ipv6=False)
        tunneled = settings.tunnel != "direct" and inner is not None and remote is not None
        # A node on a common link has no entry in the tunnel's tables, but with the mode `vxlan`.
        if tunneled and underlay(self._own, self._snapshot.interfaces) is not None:
            return EgressRoute(mark=mark, ipv6=ipv6, device=TUNNEL, via=inner, onlink=True)
        message = f"this node has no way to gateway {gateway.name}: its pods do not leave the cluster"
        fix = "choose gateways on a common link, or a tunnel mode that reaches them"
        self._out.report(Diagnostic(object=self._way.origin, message=message, fix=fix))
        return None


def _link_of(address: str, interfaces: Iterable[Interface]) -> Interface | None:
    for each in interfaces:
        if any(contains(prefix, address) for prefix in each.addresses):
            return each
    return None


def asked(gateways: Iterable[EgressGateway], nodes: Iterable[Node], own: str) -> frozenset[str]:
    """Return the addresses of the nodes that may be a gateway and are not `own`: whether they answer decides who is."""
    found: set[str] = set()
    nodes = list(nodes)
    for gateway in gateways:
        try:
            for node in candidates(gateway, nodes):
                if node.metadata.name != own:
                    found.update(NodeFacts(node).addresses[:1])
        except SelectorError:
            continue
    return frozenset(found)
