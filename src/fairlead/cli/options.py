"""Options that several commands share, so that they look and mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def name_option(command: F) -> F:
    """Add `--name`, the lab that the command speaks to."""
    return click.option("--name", default="lab", show_default=True, metavar="NAME", help="Name of the lab.")(command)


def output_option(command: F) -> F:
    """Add `-o`/`--output` with the choices text and json."""
    choices = click.Choice(["text", "json"])
    return click.option("-o", "--output", type=choices, default="text", show_default=True, help="Form of the output.")(
        command
    )
