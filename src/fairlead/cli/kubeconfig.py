"""`fairlead kubeconfig`: where the lab's kubeconfig is."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option


@click.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the kubeconfig: export KUBECONFIG=$(fairlead kubeconfig)."""
    from fairlead.lab import state
    from fairlead.lab.home import LabHome

    home = LabHome.of(name)
    state.require(home)
    click.echo(str(home.kubeconfig))
