"""`fairlead kubelet`: runs the pods of one lab node."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.base.errors import UserError


@click.command()
@click.option("--node", required=True, help="Name of the node.")
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path), help="How to reach the API server.")
@click.option("--root", required=True, type=click.Path(path_type=Path), help="The node's folder.")
@click.option("--lab-name", required=True, help="Name of the lab; names of network namespaces begin with it.")
@click.option("--zone", required=True, help="The node's zone.")
@click.option("--region", default="lab", show_default=True, help="The node's region.")
@click.option("--pod-cidr", "pod_cidrs", multiple=True, help="Range of the node's pods; one per address family.")
@click.option("--node-ip", "node_ips", multiple=True, required=True, help="Address of the node; IPv4 first.")
@click.option("--cluster-dns", multiple=True, help="Address of the cluster's DNS.")
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option("--cni-conf-dir", required=True, type=click.Path(path_type=Path), help="Folder of the network's list.")
@click.option("--cni-bin-dir", required=True, help="Folders of plugins, separated by colons.")
@click.option("--lease-interval", default="10s", show_default=True, help="Time between heartbeats, for example 2s.")
@click.option("--max-pods", default=110, show_default=True)
@click.option("--strict-commands", is_flag=True, help="A container whose command is not on the host fails.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Additional label of the node.")
@click.option("--taint", "taints", multiple=True, metavar="KEY[=VALUE]:EFFECT", help="Taint of the node.")
def kubelet(
    node: str,
    kubeconfig: Path,
    root: Path,
    lab_name: str,
    zone: str,
    region: str,
    pod_cidrs: tuple[str, ...],
    node_ips: tuple[str, ...],
    cluster_dns: tuple[str, ...],
    cluster_domain: str,
    cni_conf_dir: Path,
    cni_bin_dir: str,
    lease_interval: str,
    max_pods: int,
    strict_commands: bool,
    labels: tuple[str, ...],
    taints: tuple[str, ...],
) -> None:
    """Run the pods of one lab node. Runs inside the node's network namespace; killing it leaves its pods running."""
    from fairlead.lab.kubelet.run import run
    from fairlead.lab.kubelet.settings import Settings

    settings = Settings(
        node=node,
        lab=lab_name,
        zone=zone,
        region=region,
        root=root.absolute(),
        pod_cidrs=pod_cidrs,
        node_ips=node_ips,
        cluster_dns=cluster_dns,
        cluster_domain=cluster_domain,
        cni_conf_dir=cni_conf_dir,
        cni_bin_dirs=tuple(Path(folder) for folder in cni_bin_dir.split(":") if folder),
        lease_interval_s=_seconds(lease_interval),
        max_pods=max_pods,
        strict_commands=strict_commands,
        labels=dict(_label(text) for text in labels),
        taints=tuple(_taint(text) for text in taints),
    )
    run(settings, kubeconfig)


def _seconds(text: str) -> float:
    scales = {"ms": 0.001, "s": 1.0, "m": 60.0}
    for suffix, scale in scales.items():
        if text.endswith(suffix) and text.removesuffix(suffix).replace(".", "", 1).isdecimal():
            return float(text.removesuffix(suffix)) * scale
    raise UserError(f"--lease-interval {text!r} is not a duration", fix="give a number and a unit, for example 2s")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UserError(f"--label {text!r} is not KEY=VALUE", fix="for example --label disk=ssd")
    return key, value


def _taint(text: str) -> tuple[str, str, str]:
    rest, colon, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    if not key or not colon or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise UserError(
            f"--taint {text!r} is not KEY[=VALUE]:EFFECT", fix="EFFECT is NoSchedule, PreferNoSchedule or NoExecute"
        )
    return key, value, effect
