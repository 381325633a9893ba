"""`fairlead outside`: the internet of a lab; started by `up`."""

from __future__ import annotations

import sys

import click


@click.command(hidden=True)
@click.option("--dns-port", type=int, default=53, show_default=True)
@click.option("--http-port", type=int, default=80, show_default=True)
def outside(dns_port: int, http_port: int) -> None:
    """Serve the names and web pages of a lab's internet (started by `fairlead up`)."""
    from fairlead.lab.outside.serve import run

    sys.exit(run(dns_port=dns_port, http_port=http_port))
