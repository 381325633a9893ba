"""`fairlead observe`: flows with their verdict and what decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairlead.cli.options import name_option, output_option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fairlead.observe.filters import Filter
    from fairlead.observe.flows import Flow


@click.command()
@name_option
@click.option(
    "--from", "source", default="", metavar="WHERE", help="Only from: pod/NS/NAME, ns/NS, node/NAME or an address."
)
@click.option("--to", "destination", default="", metavar="WHERE", help="Only to such a place.")
@click.option("--at", "either", default="", metavar="WHERE", help="Only from or to such a place.")
@click.option("--verdict", type=click.Choice(["allowed", "denied"]), default=None, help="Only with this verdict.")
@click.option(
    "--protocol", type=click.Choice(["tcp", "udp", "sctp", "icmp", "icmpv6"]), default=None, help="Only of this one."
)
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Only to this port of the destination.")
@click.option("--policy", default="", metavar="TEXT", help="Only decided by a rule with this in its name.")
@click.option("--node", default=None, metavar="NODE", help="Only what this node saw.")
@click.option(
    "--last", type=click.IntRange(1, 1024), default=100, show_default=True, help="So many of each node at most."
)
@click.option("-f", "--follow", is_flag=True, help="Go on as flows come, until interrupted.")
@output_option
def observe(
    name: str,
    source: str,
    destination: str,
    either: str,
    verdict: str | None,
    protocol: str | None,
    port: int | None,
    policy: str,
    node: str | None,
    last: int,
    follow: bool,
    output: str,
) -> None:
    """Show flows: who talked to whom, whether that was allowed, and by which rule of which policy.

    Each node keeps its last 4,096. The kernel tells of at most 100 denied packets and 100 new connections a second on each node.
    With -o json, one object a line.

    \b
    Examples:
      fairlead observe --verdict denied -f
      fairlead observe --to pod/shop/checkout-0 --port 8080
    """
    import asyncio

    from fairlead.base.errors import UserError
    from fairlead.lab import state
    from fairlead.lab.home import LabHome
    from fairlead.observe.filters import Filter, is_place

    for option, place in (("--from", source), ("--to", destination), ("--at", either)):
        if place and not is_place(place):
            raise UserError(
                f"{option} {place}: not a place", fix="use pod/NAMESPACE/NAME, ns/NAMESPACE, node/NAME or an address"
            )
    home = LabHome.of(name)
    known = [each.name for each in state.require(home).nodes]
    if node is not None and node not in known:
        raise UserError(f"--node {node}: no such node in lab {name}", fix=f"one of: {', '.join(known)}")
    wanted = Filter(
        source=source,
        destination=destination,
        either=either,
        verdict=verdict or "",
        protocol=protocol or "",
        port=port or 0,
        policy=policy,
    )
    sockets = {each: home.node(each) / "agent.sock" for each in ([node] if node else known)}
    asyncio.run(_show(sockets, wanted, last, follow=follow, as_json=output == "json"))


async def _show(sockets: Mapping[str, Path], wanted: Filter, last: int, *, follow: bool, as_json: bool) -> None:
    from fairlead.agent import flow_client

    flows, places = await flow_client.latest(sockets, last)
    for flow in flows:
        if wanted.matches(flow):
            _print(flow, as_json=as_json)
    if follow:
        async for flow in flow_client.follow(sockets, places):
            if wanted.matches(flow):
                _print(flow, as_json=as_json)


def _print(flow: Flow, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(flow))
        return
    color = "green" if flow.verdict == "allowed" else "red"
    ends = f"{flow.source} → {flow.destination}"
    by = ", ".join(flow.rules) or "no policy"
    click.echo(
        f"{flow.time[11:23]} {click.style(f'{flow.verdict:7}', fg=color)} {flow.protocol:4} {ends:60} {by} @{flow.node}"
    )
