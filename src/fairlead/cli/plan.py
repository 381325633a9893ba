"""`fairlead plan`: the desired state of a node as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairlead.cli.options import name_option, output_option

if TYPE_CHECKING:
    from fairlead.api.node import Node
    from fairlead.base.diagnostics import Diagnostic
    from fairlead.base.interfaces import Interface
    from fairlead.lab.home import LabHome
    from fairlead.lab.topology import Topology
    from fairlead.plan.plan import Plan


@click.command()
@click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Manifests to plan for instead of the running lab: a file or a folder; repeatable.",
)
@click.option("--node", help="Only this node; by default each.")
@click.option("--origins", is_flag=True, help="Show the objects that caused each row.")
@name_option
@output_option
def plan(paths: tuple[Path, ...], node: str | None, origins: bool, name: str, output: str) -> None:
    """Print what each node's kernel and servers should hold.

    Without -f the agents of the running lab are asked. With -f the plan is made from the manifests alone; where they hold no Node, for
    the three nodes of a new lab. What is wrong with the objects goes to standard error; what cannot be read as one is left out of the plan,
    and makes it fail.
    """
    import json

    import msgspec

    from fairlead.plan.render import render, to_data

    plans, diagnostics, complete = _offline(paths, node) if paths else (*_running(name, node), True)
    for diagnostic in diagnostics:
        click.echo(f"warning: {diagnostic}", err=True)
    if output == "json":
        data = {"plans": [to_data(each) for each in plans], "diagnostics": msgspec.to_builtins(diagnostics)}
        click.echo(json.dumps(data, indent=2))
    else:
        parts = []
        for each in plans:
            revision = f", revision {each.revision}" if each.revision else ""
            parts.append(click.style(f"node {each.node}{revision}", bold=True) + "\n\n" + render(each, origins=origins))
        click.echo("\n".join(parts), nl=False)
    if not complete:
        click.get_current_context().exit(1)


def _offline(paths: tuple[Path, ...], only: str | None) -> tuple[list[Plan], list[Diagnostic], bool]:
    """Return the plans, what is wrong, and whether all that was given could be read."""
    from fairlead.api.node import Node
    from fairlead.lab import topology
    from fairlead.model.compile import compile
    from fairlead.sources import files
    from fairlead.sources.scenario import located, scenario
    from fairlead.world.events import InterfacesObserved
    from fairlead.world.fold import fold
    from fairlead.world.settings import Settings
    from fairlead.world.snapshot import Snapshot

    lab = topology.design(name="lab", nodes=3, zones=3, api_port=0, strict_commands=False, tunnel="auto")
    manifests, diagnostics = files.load(paths)
    complete = not diagnostics
    world = scenario(manifests, nodes=_nodes(lab), service_cidrs=topology.SERVICE_CIDRS)
    diagnostics += world.diagnostics
    nodes = [each for event in world.events if event.kind == "Node" for each in event.objects.values()]
    plans = []
    for each in nodes:
        if not isinstance(each, Node) or only not in (None, each.metadata.name):
            continue
        settings = Settings(
            node=each.metadata.name,
            cluster_cidrs=topology.CLUSTER_CIDRS,
            service_cidrs=topology.SERVICE_CIDRS,
            cluster_dns=topology.CLUSTER_DNS,
            cluster_domain=topology.CLUSTER_DOMAIN,
        )
        observed = InterfacesObserved((_interface(lab, each.internal_ips),))
        compiled = compile(fold(Snapshot(settings=settings), [*world.events, observed]))
        plans.append(compiled.plan)
        diagnostics += compiled.diagnostics
    _require(plans, only, "these manifests")
    return plans, sorted(set(located(diagnostics, world.sources))), complete


def _nodes(lab: Topology) -> list[Node]:
    from fairlead.api.meta import ObjectMeta
    from fairlead.api.node import Node, NodeAddress, NodeSpec, NodeStatus

    return [
        Node(
            metadata=ObjectMeta(name=node.name, labels={"topology.kubernetes.io/zone": node.zone}),
            spec=NodeSpec(pod_cidrs=node.pod_cidrs),
            status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", each) for each in node.addresses)),
        )
        for node in lab.nodes
    ]


def _interface(lab: Topology, addresses: tuple[str, ...]) -> Interface:
    """Return the interface that a node has in the lab's network; alone on its link where an address is not of the lab."""
    from fairlead.base.addresses import contains, host_prefix
    from fairlead.base.interfaces import Interface
    from fairlead.lab.topology import VPC_MTU_BYTES

    found = []
    for address in addresses:
        subnets = [each for zone in lab.zones for each in zone.subnets if contains(each, address)]
        found.append(f"{address}/{subnets[0].partition('/')[2]}" if subnets else host_prefix(address))
    return Interface(name="eth0", mtu=VPC_MTU_BYTES, addresses=tuple(found))


def _running(name: str, only: str | None) -> tuple[list[Plan], list[Diagnostic]]:
    import asyncio

    from fairlead.lab import state
    from fairlead.lab.home import LabHome

    home = LabHome.of(name)
    nodes = [node.name for node in state.require(home).nodes if only in (None, node.name)]
    _require(nodes, only, f"lab {name}")
    return asyncio.run(_ask(home, nodes))


async def _ask(home: LabHome, nodes: list[str]) -> tuple[list[Plan], list[Diagnostic]]:
    import msgspec

    from fairlead.agent.cni.server import call
    from fairlead.base.diagnostics import Diagnostic
    from fairlead.base.errors import UserError
    from fairlead.plan.render import from_data

    plans: list[Plan] = []
    diagnostics: set[Diagnostic] = set()
    for node in nodes:
        try:
            _, answer = await call(home.node(node) / "agent.sock", "plan", {})
        except OSError as error:
            raise UserError(f"the agent of {node} does not answer: {error}", fix="see `fairlead status`") from error
        data = msgspec.json.decode(answer)
        plans.append(from_data(data))
        diagnostics.update(msgspec.convert(data["diagnostics"], list[Diagnostic]))
    return plans, sorted(diagnostics)


def _require(found: list[Plan] | list[str], only: str | None, where: str) -> None:
    from fairlead.base.errors import UserError

    if only is not None and not found:
        raise UserError(f"--node {only}: no such Node in {where}", fix="leave --node out to see all")
