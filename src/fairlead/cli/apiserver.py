"""`fairlead apiserver`: runs the embedded Kubernetes API server of a lab in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the durable state."
)
@click.option(
    "--pki",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="Folder with ca.crt, apiserver.crt and apiserver.key.",
)
@click.option(
    "--listen",
    "listeners",
    multiple=True,
    required=True,
    metavar="[netns=PATH,]HOST:PORT",
    help="Address to listen on, possibly inside of a network namespace; repeatable.",
)
@click.option(
    "--advertise",
    multiple=True,
    metavar="HOST:PORT",
    help="Address at which pods reach this server (Service default/kubernetes); repeatable. Default: the netns listeners.",
)
@click.option("--kubelet-sockets", default="", metavar="PATTERN", help="Path of a node's kubelet socket, with {node}.")
@click.option(
    "--service-cidr",
    "service_cidrs",
    multiple=True,
    default=("10.96.0.0/16", "fd10:96::/108"),
    show_default=True,
    help="Range of cluster addresses, one per family; the first is the default family.",
)
@click.option(
    "--definitions",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of CustomResourceDefinitions that are there from the start.",
)
@click.option("--service-node-ports", default="30000-32767", show_default=True, metavar="FIRST-LAST")
def apiserver(
    state: Path,
    pki: Path,
    listeners: tuple[str, ...],
    advertise: tuple[str, ...],
    kubelet_sockets: str,
    service_cidrs: tuple[str, ...],
    definitions: Path | None,
    service_node_ports: str,
) -> None:
    """Run the Kubernetes API server of a lab until it is told to stop."""
    # aiohttp loads the machine's certificate authorities while it is imported, which costs a tenth of the start; none is trusted here.
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        os.environ.setdefault(variable, os.devnull)

    from fairlead.aio import logs
    from fairlead.apiserver.listeners import Address
    from fairlead.apiserver.run import run
    from fairlead.apiserver.server import Settings

    logs.setup("apiserver")
    listen = [Address.parse(text) for text in listeners]
    first, _, last = service_node_ports.partition("-")
    if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise click.BadParameter("write FIRST-LAST, such as 30000-32767", param_hint="--service-node-ports")
    run(
        Settings(
            state=state,
            pki=pki,
            listen=listen,
            kubelet_sockets=kubelet_sockets,
            service_cidrs=service_cidrs,
            definitions=definitions,
            node_ports=(int(first), int(last)),
            advertise=[Address.parse(text) for text in advertise] or [one for one in listen if one.netns is not None],
        )
    )
