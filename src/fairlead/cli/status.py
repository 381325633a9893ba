"""`fairlead status`: every component, node by node, healthy or why not."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option, output_option


@click.command()
@name_option
@output_option
def status(name: str, output: str) -> int:
    """Show every component, node by node: healthy or why not. Exit code 1 if anything is not."""
    import asyncio
    import json

    from fairlead.lab import state
    from fairlead.lab.home import LabHome
    from fairlead.lab.status import collect

    home = LabHome.of(name)
    report = asyncio.run(collect(home, state.require(home)))
    if output == "json":
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        width = max(len(item.component) for item in report.items)
        for item in report.items:
            mark = click.style("✓", fg="green") if item.healthy else click.style("✗", fg="red")
            click.echo(f"{mark} {item.component:<{width}}  {item.detail}".rstrip())
    return 0 if report.healthy else 1
