"""Progress of long work: a line per step with a tick and its time; in color only on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType

import click


class Progress:
    """Shows steps on standard error, so that standard output stays clean for results."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            click.echo(f"done in {time.monotonic() - self._begun:.1f} s", err=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show `what` as one step that lasts as long as the block."""
        begun = time.monotonic()
        terminal = sys.stderr.isatty()
        if terminal:
            click.echo(f"  … {what}", nl=False, err=True)
        start = "\r" if terminal else ""
        try:
            yield
        except BaseException:
            click.echo(start + click.style("  ✗ ", fg="red") + what, err=True)
            raise
        click.echo(f"{start}{click.style('  ✓ ', fg='green')}{what:<36}{time.monotonic() - begun:5.1f} s", err=True)
