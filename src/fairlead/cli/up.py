"""`fairlead up`: starts a lab and returns when it is ready."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.cli.options import name_option


@click.command()
@click.option("--nodes", type=int, default=None, metavar="N", help="Number of nodes.  [default: 3]")
@click.option("--zones", type=int, default=None, metavar="N", help="Number of zones.  [default: 3]")
@click.option(
    "-f",
    "--filename",
    "manifests",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Manifests to apply once the lab is ready; a file or a folder, repeatable.",
)
@click.option(
    "--tunnel",
    type=click.Choice(["auto", "direct", "vxlan"]),
    default=None,
    help="How pods of different nodes reach each other: routed within a subnet and VXLAN between subnets (auto), "
    "or one of them everywhere.  [default: auto]",
)
@click.option("--strict-commands", is_flag=True, default=None, help="Fail containers whose command is not on the host.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="S", help="Seconds to wait at most.")
@name_option
def up(
    nodes: int | None,
    zones: int | None,
    manifests: tuple[Path, ...],
    tunnel: str | None,
    strict_commands: bool | None,
    timeout: float,
    name: str,
) -> None:
    """Start a cluster on this machine: nodes, API server and network.

    Returns when every node is ready. On a running lab it starts what is missing and changes nothing else.

    \b
    Examples:
      fairlead up
      fairlead up --nodes 6 --zones 3 -f examples/shop/
      export KUBECONFIG=$(fairlead kubeconfig); kubectl get nodes -o wide
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.up import Wishes, start

    wishes = Wishes(nodes=nodes, zones=zones, tunnel=tunnel, strict_commands=strict_commands)
    with Progress() as progress:
        report = start(name, wishes, manifests=manifests, timeout_s=timeout, step=progress.step)
    click.echo(f"kubeconfig  {report.kubeconfig}")
    click.echo(f"api server  {report.server}")
    click.echo(f"gateway     {', '.join(report.gateway)}")
    click.echo(f"nodes       {', '.join(report.nodes)}")
    click.echo("\nexport KUBECONFIG=$(fairlead kubeconfig" + (f" --name {name})" if name != "lab" else ")"))
