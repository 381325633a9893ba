"""`fairlead agent`: the whole network of one node."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import click

from fairlead.base.errors import UserError

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_PLUGIN_PATH = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


@click.command()
@click.option("--node", required=True, help="Name of this node's Node object.")
@click.option("--kubeconfig", required=True, type=_FILE, help="How to reach the API server.")
@click.option("--state", type=_FOLDER, default=Path("/var/lib/fairlead"), show_default=True, help="Durable state.")
@click.option(
    "--socket",
    type=_FILE,
    default=Path("/run/fairlead/agent.sock"),
    show_default=True,
    help="Where the CNI plugin asks.",
)
@click.option("--cni-conf-dir", type=_FOLDER, help="Install the CNI configuration here (/etc/cni/net.d).")
@click.option("--cni-bin-dir", type=_FOLDER, help="Install the CNI plugin here (/opt/cni/bin).")
@click.option(
    "--cni-plugin-path",
    type=_FOLDER,
    multiple=True,
    default=_PLUGIN_PATH,
    help="Where the chained reference plugins are; repeatable.",
)
@click.option(
    "--tunnel",
    type=click.Choice(["auto", "direct", "vxlan"]),
    default="auto",
    show_default=True,
    help="How pods of other nodes are reached: auto tunnels to nodes that are not on a link of this one.",
)
@click.option("--cluster-cidr", "cluster_cidrs", multiple=True, help="Range of all pods; one of each family.")
@click.option(
    "--service-cidr", "service_cidrs", multiple=True, help="Range of virtual service addresses; one of each family."
)
@click.option(
    "--nodeport-addresses",
    "node_port_addresses",
    multiple=True,
    default=("primary",),
    show_default=True,
    metavar="CIDR",
    help="Which addresses of the node answer on node ports: ranges, or primary for its InternalIPs; repeatable.",
)
@click.option(
    "--load-balancer-cidr",
    "load_balancer_cidrs",
    multiple=True,
    help="Range that belongs to load balancers alone: unknown ports there are rejected; repeatable.",
)
@click.option("--cluster-dns", multiple=True, help="Virtual address of the cluster's DNS; one of each family.")
@click.option("--cluster-domain", default="cluster.local", show_default=True, help="DNS domain of the cluster.")
@click.option(
    "--dns-upstream",
    "dns_upstreams",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="Resolver for other names; repeatable. Default: those of /etc/resolv.conf.",
)
@click.option(
    "--dns-search",
    multiple=True,
    metavar="DOMAIN",
    help="Search domain of this node that the kubelet appends to its pods'; repeatable. Default: those of /etc/resolv.conf.",
)
@click.option(
    "--dns-metrics-port",
    type=click.IntRange(0, 65535),
    default=9153,
    show_default=True,
    help="Port of the resolver's metrics; 0: none.",
)
def agent(
    node: str,
    kubeconfig: Path,
    state: Path,
    socket: Path,
    cni_conf_dir: Path | None,
    cni_bin_dir: Path | None,
    cni_plugin_path: tuple[Path, ...],
    tunnel: str,
    cluster_cidrs: tuple[str, ...],
    service_cidrs: tuple[str, ...],
    node_port_addresses: tuple[str, ...],
    load_balancer_cidrs: tuple[str, ...],
    cluster_dns: tuple[str, ...],
    cluster_domain: str,
    dns_upstreams: tuple[str, ...],
    dns_search: tuple[str, ...],
    dns_metrics_port: int,
) -> None:
    """Run the network of one node in the foreground.

    Makes the kernel of this network namespace equal to what the cluster asks for, and answers the CNI plugin. Ending it changes
    nothing: packets go on flowing, and the next agent adopts what is there.
    """
    import uvloop

    from fairlead.agent.main import Options, run
    from fairlead.aio import logs
    from fairlead.world.settings import Settings, TunnelMode

    modes: dict[str, TunnelMode] = {"auto": "auto", "direct": "direct", "vxlan": "vxlan"}
    settings = Settings(
        node=node,
        tunnel=modes[tunnel],
        cluster_cidrs=_networks("--cluster-cidr", cluster_cidrs),
        service_cidrs=_networks("--service-cidr", service_cidrs),
        node_port_addresses=tuple(
            each if each == "primary" else _networks("--nodeport-addresses", (each,))[0] for each in node_port_addresses
        ),
        load_balancer_cidrs=_networks("--load-balancer-cidr", load_balancer_cidrs),
        cluster_dns=_addresses("--cluster-dns", cluster_dns),
        cluster_domain=cluster_domain,
    )
    logs.setup("agent")
    options = Options(
        settings=settings,
        kubeconfig=kubeconfig,
        state=state,
        socket=socket,
        cni_conf_dir=cni_conf_dir,
        cni_bin_dir=cni_bin_dir,
        cni_plugin_path=cni_plugin_path,
        dns_upstreams=dns_upstreams,
        dns_search=dns_search or None,
        dns_metrics_port=dns_metrics_port,
    )
    uvloop.run(run(options))


def _networks(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(value)) for value in values)
    except ValueError as error:
        raise UserError(f"{option}: {error}", fix="give a range such as 10.244.0.0/16 or fd10:244::/48") from error


def _addresses(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(value)) for value in values)
    except ValueError as error:
        raise UserError(f"{option}: {error}", fix="give an address such as 10.96.0.10 or fd10:96::a") from error
