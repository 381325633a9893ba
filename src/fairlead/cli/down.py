"""`fairlead down`: removes a lab."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option, output_option


@click.command()
@click.option("--all", "every", is_flag=True, help="Remove every lab of this FAIRLEAD_HOME.")
@name_option
@output_option
def down(every: bool, name: str, output: str) -> None:
    """Remove a lab: every process, namespace, mount and file that it made, also after a crash.

    Removing a lab that is not there is no error.
    """
    import json

    from fairlead.lab.down import labs, stop

    removed = {lab: stop(lab) for lab in (labs() if every else [name])}
    if output == "json":
        click.echo(json.dumps({lab: found.as_dict() for lab, found in removed.items()}))
        return
    for lab, found in removed.items():
        click.echo(
            f"lab {lab}: removed {found.processes} processes, {found.namespaces} namespaces, {found.mounts} mounts"
        )
