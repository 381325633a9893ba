"""Chooses the command, as the agnhost binary does. Runs in the container, either forked or as the program `/agnhost`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_COMMANDS = {
    "connect": "connect",
    "netexec": "netexec",
    "pause": "pause",
    "porter": "porter",
    "serve-hostname": "hostname",
    "test-webserver": "webserver",
}


def main(args: Sequence[str]) -> int:
    """Run `agnhost ARGS`; returns the exit code. Without a command it pauses, as the image does."""
    name = args[0] if args else "pause"
    if name not in _COMMANDS:
        known = ", ".join(sorted(_COMMANDS))
        sys.stderr.write(f'Error: unknown command "{name}" for "app": this stand-in has {known}\n')
        return 1
    module = importlib.import_module(f"fairlead.lab.agnhost.{_COMMANDS[name]}")
    try:
        code: int = module.run(args[1:])
    except Exception as error:
        if type(error).__name__ != "UsageError":
            raise
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return code


def preload() -> None:
    """Import every command, so that forked copies share them and need no files."""
    for name in _COMMANDS.values():
        importlib.import_module(f"fairlead.lab.agnhost.{name}")
