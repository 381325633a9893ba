"""`fairlead bench NAME`: measurements against the programs that people use today, each in a module that is loaded when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

BENCHMARKS: Mapping[str, str] = {}
"""Name → `module:attribute` of a click command."""


class _Benchmarks(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BENCHMARKS:
            return None
        module, _, attribute = BENCHMARKS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Benchmarks)
def bench() -> None:
    """Measure against the programs that people use today, in one run on this machine."""
