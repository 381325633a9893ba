"""The command line's entry: finds the subcommand, loads that one alone, and turns a user's mistake into one message.

Only this module ends the process. Exit codes: 0 done, 1 the answer is no or the user's input is at fault, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import click

from fairlead.base.errors import UserError

LAZY: Mapping[str, str] = {
    "up": "fairlead.cli.up:up",
    "down": "fairlead.cli.down:down",
    "status": "fairlead.cli.status:status",
    "kubeconfig": "fairlead.cli.kubeconfig:kubeconfig",
    "exec": "fairlead.cli.exec:exec_",
    "check": "fairlead.cli.check:check",
    "plan": "fairlead.cli.plan:plan",
    "convert": "fairlead.cli.convert:convert",
    "observe": "fairlead.cli.observe:observe",
    "completion": "fairlead.cli.completion:completion",
    "agent": "fairlead.cli.agent:agent",
    "dns-keeper": "fairlead.cli.dns_keeper:dns_keeper",
    "controller": "fairlead.cli.controller:controller",
    "apiserver": "fairlead.cli.apiserver:apiserver",
    "kubelet": "fairlead.cli.kubelet:kubelet",
    "outside": "fairlead.cli.outside:outside",
    "cloud": "fairlead.cli.cloud:cloud",
    "forward": "fairlead.cli.forward:forward",
    "bench": "fairlead.cli.bench:bench",
    "supervisor": "fairlead.cli.supervisor:supervisor",
}
"""Command name → `module:attribute`; a command's module is imported only when it runs or the list of commands is shown."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(LAZY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY:
            return None
        module, _, attribute = LAZY[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fairlead", prog_name="fairlead")
def cli() -> None:
    """The whole network of a Kubernetes cluster as one program.

    Start a cluster on this machine with `fairlead up`, then use kubectl.
    """


def main() -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(prog_name="fairlead", standalone_mode=False)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to say, also not by the interpreter at exit.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
