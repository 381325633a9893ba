"""`fairlead forward`: ports of the host's loopback that lead to a lab's Gateways; started by `up`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(hidden=True)
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--state", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--namespace", required=True, help="Network namespace from which Gateways are reached.")
@click.option("--listen", "listens", required=True, multiple=True, type=(int, int), metavar="OWN PORT")
def forward(kubeconfig: Path, state: Path, namespace: str, listens: tuple[tuple[int, int], ...]) -> None:
    """Forward ports of loopback to the Gateways of a lab (started by `fairlead up`)."""
    import uvloop

    from fairlead.aio import logs
    from fairlead.lab.forward.run import run

    logs.setup("forward")
    uvloop.run(run(kubeconfig, state, namespace, dict(listens)))
