"""`fairlead dns-keeper`: holds the resolver's sockets in a container of its own, so that they outlive the agent's container."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.base.errors import UserError


@click.command("dns-keeper", hidden=True)
@click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/var/lib/fairlead/dns.sock"),
    show_default=True,
    help="Where agents ask: dns.sock in their --state folder.",
)
def dns_keeper(socket: Path) -> None:
    """Hold the sockets of the node's resolver while the agent restarts."""
    from fairlead.drivers.dns import handover, keeper

    try:
        listener = handover.listen(socket)
    except OSError as error:
        raise UserError(f"--socket {socket}: {error}", fix="give a path in a folder that exists") from error
    keeper.serve(listener)
