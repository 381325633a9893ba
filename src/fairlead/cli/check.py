"""`fairlead check`: the connectivity test of a running lab."""

from __future__ import annotations

import click

from fairlead.cli.options import name_option


@click.command()
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="S", help="Seconds to wait for pods.")
@click.option("--keep", is_flag=True, help="Leave the test's namespace fairlead-check in place.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@name_option
def check(timeout: float, keep: bool, output: str, name: str) -> int:
    """Test the running network with real packets.

    Brings two pods to each node and tries every pod with every other over IPv4 and IPv6, TCP and UDP, with the sender's
    address kept and packets of full size; nodes with pods; DNS, a Service, and the way out of the cluster. Exit code 1 if
    any probe fails.
    """
    import asyncio
    import json
    from collections.abc import Sequence

    from fairlead.cli.progress import Progress
    from fairlead.lab import state
    from fairlead.lab.check import report
    from fairlead.lab.check.suite import Result, run, suite
    from fairlead.lab.check.world import world
    from fairlead.lab.home import LabHome

    home = LabHome.of(name)
    topology = state.require(home)

    async def test(progress: Progress) -> Sequence[Result]:
        with progress.step(f"starting two pods on each of {len(topology.nodes)} nodes"):
            stage = world(home, topology, timeout_s=timeout, keep=keep)
            found = await stage.__aenter__()
        try:
            with progress.step("sending packets"):
                return [run(probe) for probe in suite(found)]
        finally:
            with progress.step("removing the pods"):
                await stage.__aexit__(None, None, None)

    with Progress() as progress:
        results = asyncio.run(test(progress))
    match output:
        case "json":
            click.echo(json.dumps(report.as_dict(name, results), indent=2))
        case "junit":
            click.echo(report.as_junit(name, results))
        case _:
            click.echo("\n".join(report.summary(results)))
    return 0 if all(result.failure is None for result in results) else 1
