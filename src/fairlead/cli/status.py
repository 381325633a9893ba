"""`fairlead status`: every component, node by node, healthy or why not."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option, output_option

_MOST_PROBLEMS = 20
"""Of objects, in text; -o json has all."""


@click.command()
@name_option
@output_option
def status(name: str, output: str) -> int:
    """Show every component, node by node: healthy or why not. Exit code 1 if anything is not.

    Then the Gateways with their addresses, listeners and attached routes, and what is wrong with them and their routes and policies; as
    these are their users' objects, they do not decide the exit code.
    """
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
        lines = [(item.healthy, item.component, item.detail) for item in report.items]
        lines += [
            (each.programmed and not each.problem, f"gateway {each.namespace}/{each.name}", each.detail)
            for each in report.gateways
        ]
        width = max(len(component) for _, component, _ in lines)
        for healthy, component, detail in lines:
            mark = click.style("✓", fg="green") if healthy else click.style("✗", fg="red")
            click.echo(f"{mark} {component:<{width}}  {detail}".rstrip())
        for problem in report.problems[:_MOST_PROBLEMS]:
            click.echo(f"{click.style('!', fg='yellow')} {problem}")
        if len(report.problems) > _MOST_PROBLEMS:
            more = len(report.problems) - _MOST_PROBLEMS
            click.echo(f"{click.style('!', fg='yellow')} and {more} more: see -o json")
    return 0 if report.healthy else 1
