"""`fairlead cloud`: the load balancers of a lab's VPC; started by `up`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(hidden=True)
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path, dir_okay=False))
def cloud(kubeconfig: Path) -> None:
    """Spread load balancers' addresses over the nodes, in the network namespace of the VPC's router (started by `fairlead up`)."""
    import uvloop

    from fairlead.aio import logs
    from fairlead.lab.cloud.run import run

    logs.setup("cloud")
    uvloop.run(run(kubeconfig))
