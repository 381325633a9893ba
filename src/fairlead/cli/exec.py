"""`fairlead exec`: runs a command at a place of the lab's network."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option


@click.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("where", metavar="WHERE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def exec_(name: str, where: str, command: tuple[str, ...]) -> None:
    """Run CMD inside `internet`, `node/NAME` or `pod/NS/NAME`, with that place's network and resolv.conf.

    The command runs as you, from this machine's file system: every tool of the host is at hand.

    \b
    Examples:
      fairlead exec internet -- ping -c1 203.0.113.1
      fairlead exec node/node-1 -- ip route
      fairlead exec pod/default/web-0 -- curl -s http://web
    """
    import os

    from fairlead.lab import state
    from fairlead.lab.home import LabHome
    from fairlead.lab.inside import enter

    home = LabHome.of(name)
    argv = enter(home, state.require(home), where, command)
    os.execvp(argv[0], argv)
