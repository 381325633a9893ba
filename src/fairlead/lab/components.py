"""Which processes make up a lab and with which arguments each is started."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api import crds
from fairlead.lab.home import LabHome
from fairlead.lab.topology import (
    CLUSTER_CIDRS,
    CLUSTER_DNS,
    CLUSTER_DOMAIN,
    INTERNET_HOST,
    PUBLIC_CIDRS,
    SERVICE_CIDRS,
    Node,
    Topology,
)

# A lab's node must be missed within seconds, a cluster's within the upstream default of 40 s.
_LEASE_INTERVAL_S = 2
_NODE_GRACE_S = 8
_NODE_MONITOR_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process of a lab: `name` is also that of its record and log; `namespace` None: the host's.

    `argv` are the arguments of our command line.
    """

    name: str
    argv: tuple[str, ...]
    namespace: str | None = None


def components(topology: Topology, home: LabHome) -> list[Component]:
    """Return all components in the order in which they are started."""
    found = [_apiserver(topology, home), _controller(home), _outside(home), _cloud(home), _forward(topology, home)]
    for node in topology.nodes:
        found += [_agent(topology, home, node), _kubelet(topology, home, node)]
    return found


def _apiserver(topology: Topology, home: LabHome) -> Component:
    argv = ["apiserver", "--state", str(home.apiserver), "--pki", str(home.pki)]
    argv += ["--listen", f"127.0.0.1:{topology.api_port}"]
    for address in topology.control:
        argv += ["--listen", f"netns=/run/netns/{home.namespace('control')},[{address}]:{topology.api_port}"]
        argv += ["--advertise", f"[{address}]:{topology.api_port}"]
    argv += ["--definitions", str(crds.FOLDER)]
    argv += ["--kubelet-sockets", str(home.node("{node}") / "kubelet.sock")]
    for cidr in SERVICE_CIDRS:
        argv += ["--service-cidr", cidr]
    return Component(name="apiserver", argv=tuple(argv))


def _controller(home: LabHome) -> Component:
    argv = ["controller", "--kubeconfig", str(home.folder / "controller.kubeconfig")]
    argv += ["--node-monitor-grace-period", f"{_NODE_GRACE_S}s", "--node-monitor-period", f"{_NODE_MONITOR_S}s"]
    for cidr in PUBLIC_CIDRS:
        argv += ["--load-balancer-cidr", cidr]
    argv += [
        "--cluster-signing-cert-file",
        str(home.pki / "ca.crt"),
        "--cluster-signing-key-file",
        str(home.pki / "ca.key"),
    ]
    return Component(name="controller", argv=tuple(argv))


def _outside(home: LabHome) -> Component:
    return Component(name="internet", argv=("outside",), namespace=home.namespace("internet"))


def _cloud(home: LabHome) -> Component:
    argv = ("cloud", "--kubeconfig", str(home.folder / "cloud.kubeconfig"))
    return Component(name="cloud", argv=argv, namespace=home.namespace("vpc"))


def _forward(topology: Topology, home: LabHome) -> Component:
    argv = ["forward", "--kubeconfig", str(home.folder / "controller.kubeconfig")]
    argv += ["--state", str(home.folder / "forward"), "--namespace", home.namespace("internet")]
    for own, port in zip(topology.gateway_ports, (80, 443), strict=True):
        argv += ["--listen", str(own), str(port)]
    return Component(name="forward", argv=tuple(argv))


def _agent(topology: Topology, home: LabHome, node: Node) -> Component:
    folder = home.node(node.name)
    argv = ["agent", "--node", node.name, "--kubeconfig", str(folder / "agent.kubeconfig")]
    argv += ["--state", str(folder / "agent"), "--socket", str(folder / "agent.sock")]
    argv += ["--cni-conf-dir", str(folder / "cni/net.d"), "--cni-bin-dir", str(folder / "cni/bin")]
    argv += ["--tunnel", topology.tunnel]
    argv += ["--dns-upstream", INTERNET_HOST[0]]
    for option, values in (
        ("--cluster-cidr", CLUSTER_CIDRS),
        ("--service-cidr", SERVICE_CIDRS),
        ("--load-balancer-cidr", PUBLIC_CIDRS),
        ("--cluster-dns", CLUSTER_DNS),
    ):
        for value in values:
            argv += [option, value]
    return Component(name=f"agent-{node.name}", argv=tuple(argv), namespace=home.namespace(node.name))


def _kubelet(topology: Topology, home: LabHome, node: Node) -> Component:
    folder = home.node(node.name)
    argv = ["kubelet", "--node", node.name, "--kubeconfig", str(folder / "kubeconfig")]
    argv += ["--root", str(folder), "--lab-name", topology.name, "--zone", node.zone]
    for option, values in (
        ("--pod-cidr", node.pod_cidrs),
        ("--node-ip", node.addresses),
        ("--cluster-dns", CLUSTER_DNS[:1]),
    ):
        for value in values:
            argv += [option, value]
    argv += ["--cluster-domain", CLUSTER_DOMAIN, "--lease-interval", f"{_LEASE_INTERVAL_S}s"]
    argv += ["--cni-conf-dir", str(folder / "cni/net.d")]
    argv += ["--cni-bin-dir", f"{folder / 'cni/bin'}:/usr/lib/cni:/opt/cni/bin"]
    if topology.strict_commands:
        argv.append("--strict-commands")
    return Component(name=f"kubelet-{node.name}", argv=tuple(argv), namespace=home.namespace(node.name))
