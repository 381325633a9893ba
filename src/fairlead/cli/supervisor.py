"""`fairlead supervisor`: the process that keeps a lab's components running; started by `up`."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option


@click.command(hidden=True)
@name_option
def supervisor(name: str) -> None:
    """Keep the components of a lab running (started by `fairlead up`)."""
    from fairlead.aio import logs
    from fairlead.cli.main import main
    from fairlead.lab import state
    from fairlead.lab.components import components
    from fairlead.lab.home import LabHome
    from fairlead.lab.supervisor import Supervisor

    logs.setup("supervisor")
    home = LabHome.of(name)
    topology = state.require(home)
    Supervisor(home, components(topology, home), main).run()
