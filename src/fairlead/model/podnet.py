"""The pod network of one node: links of its pods, and how packets reach the pods of the others.

Layer 3 only: each pod is a point-to-point link, each other node's range one route. To a node on a link of ours the route is direct;
else it leads through a VXLAN device whose neighbors and forwarding entries are written from the nodes' objects, never learned. All
of it follows from the nodes, the node's own interfaces and the attachments. It must never depend on a pod of another node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.api.decode import reference
from fairlead.api.node import Node
from fairlead.base.addresses import (
    canonical,
    canonical_prefix,
    contains,
    host_prefix,
    is_ipv6,
    network_address,
    outermost,
    sort_key,
)
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.interfaces import Interface
from fairlead.model.rows import Rows, RowsBuilder
from fairlead.plan.tables import (
    DnsClient,
    ForwardingEntry,
    LocalRange,
    NatExemption,
    Neighbor,
    PodLink,
    PodSource,
    Route,
    Sysctl,
    Tunnel,
)
from fairlead.world.attachment import Attachment
from fairlead.world.settings import Settings

TUNNEL = "fl-vxlan"
"""Name of the VXLAN device."""
_VXLAN_OVERHEAD = 50
"""Bytes of an IPv4 header, a UDP header, a VXLAN header and an Ethernet header."""
_DEFAULT_MTU = 1500
_LEAST_IPV6_MTU = 1280
_LOOSE, _STRICT = "2", "1"
"""Values of rp_filter (RFC 3704)."""


class NodeFacts:
    """A node's ranges and addresses in canonical form; what is malformed is left out and reported."""

    def __init__(self, node: Node) -> None:
        self.name = node.metadata.name
        self.origin = reference("Node", "", self.name)
        self.diagnostics: list[Diagnostic] = []
        self.pod_cidrs = self._each(node.pod_cidrs, "spec.podCIDRs", canonical_prefix)
        self.addresses = self._each(node.internal_ips, "status.addresses", canonical)

    def address(self, *, ipv6: bool) -> str | None:
        """Return the first InternalIP of a family."""
        return next((each for each in self.addresses if is_ipv6(each) == ipv6), None)

    def gateway(self, *, ipv6: bool) -> str | None:
        """Return the address of the node's end of the tunnel: the first of its range, which no pod gets."""
        return next((network_address(each) for each in self.pod_cidrs if is_ipv6(each) == ipv6), None)

    def _each(self, values: Iterable[str], field: str, parse: object) -> tuple[str, ...]:
        assert callable(parse)
        found: list[str] = []
        for number, value in enumerate(values):
            try:
                found.append(parse(value))
            except ValueError as error:
                self.diagnostics.append(Diagnostic(object=self.origin, field=f"{field}[{number}]", message=str(error)))
        return tuple(dict.fromkeys(found))


def underlay(facts: NodeFacts | None, interfaces: Iterable[Interface]) -> Interface | None:
    """Return the interface that holds the node's first InternalIP, else of the other family."""
    for address in facts.addresses if facts else ():
        for interface in interfaces:
            if any(each.partition("/")[0] == address for each in interface.addresses):
                return interface
    return None


def pod_mtu(settings: Settings, nodes: Mapping[str, Node], interfaces: tuple[Interface, ...]) -> int:
    """Return the MTU in bytes that pods of this node get: every path between pods carries packets of this size."""
    node = nodes.get(settings.node)
    device = underlay(NodeFacts(node) if node else None, interfaces)
    mtu = device.mtu if device else _DEFAULT_MTU
    return mtu if settings.tunnel == "direct" else mtu - _VXLAN_OVERHEAD


def tunnel_mac(address: str) -> str:
    """Return the locally administered hardware address of the tunnel's end at an IPv4 address; the same on every node."""
    return "66:6c:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def node_rows(settings: Settings, nodes: Mapping[str, Node], interfaces: tuple[Interface, ...]) -> Rows:
    """Return the rows that follow from the nodes. Costs time proportional to their number."""
    return _NodeRows(settings, nodes, interfaces).build()


class _NodeRows:
    def __init__(self, settings: Settings, nodes: Mapping[str, Node], interfaces: tuple[Interface, ...]) -> None:
        self._settings = settings
        self._interfaces = interfaces
        self._facts = {name: NodeFacts(node) for name, node in sorted(nodes.items())}
        self._own = self._facts.get(settings.node)
        self._underlay = underlay(self._own, interfaces)
        self._out = RowsBuilder()

    def build(self) -> Rows:
        for facts in self._facts.values():
            self._out.report(*facts.diagnostics)
        self._exemptions()
        self._sysctls()
        if self._own is None:
            name = self._settings.node
            self._out.report(
                Diagnostic(
                    object=reference("Node", "", name),
                    message="this node is not registered: its pods reach only each other",
                    fix=f"register Node {name}, or start the agent with --node and the name that the cluster knows",
                )
            )
            return self._out.rows()
        # The own ranges first: whoever claims one of them too is reported and gets no route.
        for prefix in self._own.pod_cidrs:
            self._out.add("routes", Route(destination=prefix, kind="blackhole"), self._own.origin)
            self._out.add("local_ranges", LocalRange(prefix=prefix), self._own.origin)
        tunneled = self._tunnel(self._own)
        for facts in self._facts.values():
            if facts is not self._own:
                self._peer(self._own, facts, tunneled)
        return self._out.rows()

    def _exemptions(self) -> None:
        """Exempt all pods and nodes from masquerading, without overlaps: packet filters' interval sets refuse those."""
        exempt = [(canonical_prefix(prefix), "") for prefix in self._settings.cluster_cidrs]
        for facts in self._facts.values():
            exempt += [(prefix, facts.origin) for prefix in facts.pod_cidrs]
            exempt += [(host_prefix(address), facts.origin) for address in facts.addresses]
        chosen = outermost(prefix for prefix, _ in exempt)
        for prefix, origin in exempt:
            if prefix in chosen:
                self._out.add("nat_exemptions", NatExemption(prefix=prefix), *filter(None, [origin]))

    def _sysctls(self) -> None:
        values = {
            "net/ipv4/ip_forward": "1",
            "net/ipv4/conf/all/send_redirects": "0",
            "net/ipv6/conf/all/forwarding": "1",
        }
        # Answers to a node behind the tunnel come back over the underlay: its interface must not insist on symmetry.
        if self._underlay is not None:
            values[f"net/ipv4/conf/{self._underlay.name}/rp_filter"] = _LOOSE
            values[f"net/ipv4/conf/{self._underlay.name}/send_redirects"] = "0"
        for path, value in values.items():
            self._out.add("sysctls", Sysctl(path=path, value=value))

    def _tunnel(self, own: NodeFacts) -> bool:
        """Add this node's end of the tunnel and tell whether there is one."""
        if self._settings.tunnel == "direct":
            return False
        local = own.address(ipv6=False)
        if local is None:
            message = "no IPv4 InternalIP: the tunnel to nodes of other subnets needs one"
            fix = "add the address to status.addresses, or run the agents with --tunnel direct"
            self._out.report(Diagnostic(object=own.origin, field="status.addresses", message=message, fix=fix))
            return False
        gateways = (own.gateway(ipv6=False), own.gateway(ipv6=True))
        mtu = (self._underlay.mtu if self._underlay else _DEFAULT_MTU) - _VXLAN_OVERHEAD
        row = Tunnel(
            name=TUNNEL,
            vni=self._settings.vni,
            port=self._settings.vxlan_port,
            local=local,
            mac=tunnel_mac(local),
            mtu=mtu,
            addresses=tuple(each for each in gateways if each is not None),
        )
        self._out.add("tunnels", row, own.origin)
        for name, value in (("rp_filter", _LOOSE), ("send_redirects", "0")):
            self._out.add("sysctls", Sysctl(path=f"net/ipv4/conf/{TUNNEL}/{name}", value=value), own.origin)
        if mtu < _LEAST_IPV6_MTU and row.addresses and is_ipv6(row.addresses[-1]):
            message = f"MTU {mtu} inside of the tunnel is less than IPv6 needs ({_LEAST_IPV6_MTU})"
            self._out.report(Diagnostic(object=own.origin, message=message))
        return True

    def _peer(self, own: NodeFacts, peer: NodeFacts, tunneled: bool) -> None:
        for prefix in peer.pod_cidrs:
            via = peer.address(ipv6=is_ipv6(prefix))
            if self._settings.tunnel != "vxlan" and via is not None and self._on_link(via):
                source = self._source(own, ipv6=is_ipv6(prefix))
                self._out.add("routes", Route(destination=prefix, via=via, source=source), peer.origin)
            elif tunneled:
                self._through_tunnel(own, peer, prefix)

    def _through_tunnel(self, own: NodeFacts, peer: NodeFacts, prefix: str) -> None:
        remote = peer.address(ipv6=False)
        gateway = peer.gateway(ipv6=is_ipv6(prefix))
        if remote is None or gateway is None:
            message = "no IPv4 InternalIP: its pods cannot be reached through the tunnel"
            self._out.report(Diagnostic(object=peer.origin, field="status.addresses", message=message))
            return
        mac = tunnel_mac(remote)
        self._out.add("neighbors", Neighbor(device=TUNNEL, address=gateway, mac=mac), peer.origin)
        self._out.add("forwarding", ForwardingEntry(device=TUNNEL, mac=mac, remote=remote), peer.origin)
        route = Route(
            destination=prefix,
            device=TUNNEL,
            via=gateway,
            onlink=True,
            source=own.gateway(ipv6=is_ipv6(prefix)),
        )
        self._out.add("routes", route, peer.origin)

    def _on_link(self, address: str) -> bool:
        return any(contains(each, address) for interface in self._interfaces for each in interface.addresses)

    def _source(self, own: NodeFacts, *, ipv6: bool) -> str | None:
        return local_address(own, self._interfaces, ipv6=ipv6)


def local_address(facts: NodeFacts | None, interfaces: Iterable[Interface], *, ipv6: bool) -> str | None:
    """Return the node's InternalIP of a family where an interface really holds it: only then can packets be sent from it."""
    address = facts.address(ipv6=ipv6) if facts else None
    held = {each.partition("/")[0] for interface in interfaces for each in interface.addresses}
    return address if address in held else None


def attachment_rows(
    attachments: Mapping[tuple[str, str], Attachment],
    node: Node | None,
    interfaces: tuple[Interface, ...],
) -> Rows:
    """Return the rows of this node's pods."""
    facts = NodeFacts(node) if node else None
    sources = {ipv6: local_address(facts, interfaces, ipv6=ipv6) for ipv6 in (False, True)}
    out = RowsBuilder()
    for _, attachment in sorted(attachments.items()):
        _attach(out, attachment, sources)
    return out.rows()


def _attach(out: RowsBuilder, attachment: Attachment, sources: Mapping[bool, str | None]) -> None:
    origin = pod_origin(attachment)
    device = attachment.host_ifname
    link = PodLink(
        host_ifname=device,
        netns=attachment.netns,
        ifname=attachment.ifname,
        mac=attachment.mac,
        addresses=attachment.addresses,
        mtu=attachment.mtu,
    )
    out.add("pod_links", link, origin)
    for name, value in (("rp_filter", _STRICT), ("send_redirects", "0")):
        out.add("sysctls", Sysctl(path=f"net/ipv4/conf/{device}/{name}", value=value), origin)
    for address in sorted(attachment.addresses, key=sort_key):
        out.add("pod_sources", PodSource(host_ifname=device, address=address), origin)
        if attachment.pod_namespace:
            out.add("dns_clients", DnsClient(address=address, namespace=attachment.pod_namespace), origin)
        out.add("neighbors", Neighbor(device=device, address=address, mac=attachment.mac), origin)
        source = sources[is_ipv6(address)]
        out.add("routes", Route(destination=host_prefix(address), device=device, source=source), origin)


def pod_origin(attachment: Attachment) -> str:
    """Return how the pod of an attachment is named in origins; the container when the runtime did not name the pod."""
    if attachment.pod_name:
        return reference("Pod", attachment.pod_namespace, attachment.pod_name)
    return reference("Container", "", attachment.container_id)
