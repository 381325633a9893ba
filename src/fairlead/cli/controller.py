"""`fairlead controller`: what kube-controller-manager and kube-scheduler are to a cluster, in one process."""

from __future__ import annotations

import re
from pathlib import Path

import click


class _Duration(click.ParamType[float]):
    """A duration as Kubernetes components take it (`40s`, `1m30s`, `500ms`), in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
        text = str(value)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{text!r} is no duration such as 40s or 1m30s", param, ctx)
        return sum(float(number) * units[unit] for number, unit in parts)


_DURATION = _Duration()


@click.command()
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), required=True, help="How to reach the API server, and as whom."
)
@click.option(
    "--controllers",
    default="*",
    show_default=True,
    metavar="LIST",
    help="Controllers to run, separated by commas: * for all, NAME, -NAME to leave one out.",
)
@click.option(
    "--node-monitor-period",
    type=_DURATION,
    default=None,
    help="How often to look at nodes.  [default: an eighth of the grace period, at most 5s]",
)
@click.option(
    "--node-monitor-grace-period",
    type=_DURATION,
    default="40s",
    show_default=True,
    help="How long a node may be silent before it counts as unreachable.",
)
@click.option(
    "--load-balancer-cidr",
    "load_balancer_cidrs",
    multiple=True,
    help="Range of addresses for Services of type LoadBalancer; repeatable.  [default: none, they are left alone]",
)
@click.option(
    "--cluster-signing-cert-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Certificate of the authority that signs approved CertificateSigningRequests.  [default: none are signed]",
)
@click.option(
    "--cluster-signing-key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Key of that authority.",
)
@click.option(
    "--cluster-signing-duration",
    type=_DURATION,
    default="8760h",
    show_default=True,
    help="For how long a signed certificate is valid at most.",
)
def controller(
    kubeconfig: Path,
    controllers: str,
    node_monitor_period: float | None,
    node_monitor_grace_period: float,
    load_balancer_cidrs: tuple[str, ...],
    cluster_signing_cert_file: Path | None,
    cluster_signing_key_file: Path | None,
    cluster_signing_duration: float,
) -> None:
    """Run the controllers and the scheduler of a cluster."""
    import asyncio
    import contextlib
    import gc
    import signal

    import uvloop

    from fairlead.aio import logs
    from fairlead.controllers import manager
    from fairlead.controllers.context import Settings
    from fairlead.sources.client import Client

    logs.setup("controller")
    names = manager.select(controllers.split(","))
    signing = None
    if cluster_signing_cert_file is not None and cluster_signing_key_file is not None:
        signing = cluster_signing_cert_file, cluster_signing_key_file
    elif cluster_signing_cert_file is not cluster_signing_key_file:
        raise click.UsageError("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    period = node_monitor_period or min(5.0, node_monitor_grace_period / 8)
    settings = Settings(
        node_monitor_period_s=period,
        node_monitor_grace_s=node_monitor_grace_period,
        load_balancer_cidrs=load_balancer_cidrs,
        cluster_signing=signing,
        cluster_signing_duration_s=cluster_signing_duration,
    )

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        async with Client.from_kubeconfig(kubeconfig, user_agent="fairlead-controller") as client:
            await manager.run(client, names, settings)

    # What is imported by now stays: the collector need not look at it again.
    gc.freeze()
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
