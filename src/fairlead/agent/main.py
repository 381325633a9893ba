"""The node agent: joins the sources, the engine, the drivers and the CNI server of one node.

Fail static: however it ends, everything stays in place, and the next agent adopts it. Without the API server it goes on with what
it last knew. It must never ask whether it runs in a lab.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairlead.agent import drivers, metrics
from fairlead.agent.attachments import AttachmentStore, StoreError
from fairlead.agent.cni.inspector import KernelInspector
from fairlead.agent.cni.install import install
from fairlead.agent.cni.server import serve
from fairlead.agent.cni.service import Reply
from fairlead.agent.dns_config import DnsConfigKeeper
from fairlead.agent.flows import FlowKeeper
from fairlead.agent.gateway_report import GatewayReporter
from fairlead.agent.gateways import GatewayWatch
from fairlead.agent.keepers import FactsKeeper, HostKeeper, StatusKeeper, remember
from fairlead.agent.names import expire_names
from fairlead.agent.policy_report import PolicyReporter
from fairlead.agent.proxy_surface import ProxySurface
from fairlead.agent.secrets import AUTHORITIES, CERTIFICATES, CREDENTIALS, SecretKeeper, Vault, Vaults
from fairlead.agent.trust_material import TrustKeeper
from fairlead.base.errors import UserError
from fairlead.drivers.dns.driver import DnsDriver
from fairlead.engine.reconcile import Engine
from fairlead.model.compile import compile
from fairlead.plan.render import to_data
from fairlead.sources.client import Client
from fairlead.sources.k8s_watch import follow
from fairlead.world.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    settings: Settings
    kubeconfig: Path
    state: Path
    """Folder of the agent's durable state; made when missing."""
    socket: Path
    cni_conf_dir: Path | None = None
    """Where container runtimes look for network configurations; None: install no CNI plugin."""
    cni_bin_dir: Path | None = None
    cni_plugin_path: Sequence[Path] = ()
    """Folders that hold the reference plugins."""
    dns_upstreams: Sequence[str] = ()
    """Resolvers for names outside of the cluster; none: those that the node itself asks."""
    dns_search: Sequence[str] | None = None
    """Search domains of the node; None: those of its resolv.conf, unless resolvers are named."""
    dns_metrics_port: int = 9153
    """Port of the metrics with CoreDNS's names; 0: none are served."""


async def run(options: Options) -> None:
    """Run the agent until SIGTERM or SIGINT; raises UserError when it cannot start."""
    try:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = AttachmentStore(options.state / "attachments")
    except (OSError, StoreError) as error:
        raise UserError(f"--state {options.state}: {error}", fix="give a folder that the agent may write to") from error
    upstreams = options.dns_upstreams or drivers.host_resolvers(options.settings.cluster_dns)
    try:
        surface = ProxySurface(options.settings.node)
        vaults = Vaults(Vault(), Vault())
        floor = drivers.make(
            options.settings,
            dns_upstreams=upstreams,
            dns_search=_search(options),
            dns_keeper=options.state / "dns.sock",
            is_healthy=surface.healthy,
            proxy=options.state / "envoy",
            vaults=vaults,
        )
    except ValueError as error:
        raise UserError(f"--dns-upstream: {error}", fix="give ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT") from error
    try:
        await floor.start()
    except PermissionError as error:
        raise UserError(f"the kernel refuses: {error}", fix="run the agent as root or with CAP_NET_ADMIN") from error
    inspector = KernelInspector()
    try:
        async with Client.from_kubeconfig(options.kubeconfig, user_agent="fairlead-agent") as client:
            await _serve(options, store, floor, inspector, client, surface, vaults)
    finally:
        inspector.close()
        await floor.close()


async def _serve(
    options: Options,
    store: AttachmentStore,
    floor: drivers.Drivers,
    inspector: KernelInspector,
    client: Client,
    surface: ProxySurface,
    vaults: Vaults,
) -> None:
    engine = Engine(options.settings, floor.all, attachments=store.attachments(), observer=surface)
    surface.attach(engine, floor.policy.counters, floor.xds)
    floor.xds.on_lost(lambda: engine.request_resync(floor.xds.name))
    known = options.state / "cluster.json"
    flows = FlowKeeper(engine)
    host = HostKeeper(floor.netlink, engine)
    await host.observe()

    async def status(_: Mapping[str, str], __: bytes) -> Reply:
        return Reply(0, msgspec.json.encode(msgspec.to_builtins(engine.receipt()) | {"proxies": floor.xds.report()}))

    async def plan(_: Mapping[str, str], __: bytes) -> Reply:
        compiled = await asyncio.to_thread(compile, engine.snapshot)
        data = to_data(compiled.plan) | {"diagnostics": msgspec.to_builtins(compiled.diagnostics)}
        return Reply(0, msgspec.json.encode(data))

    log.info("agent started", extra={"node": options.settings.node, "attachments": len(store.records)})
    duties = [
        engine.run(),
        host.run(),
        GatewayWatch(engine).run(),
        expire_names(floor.policy),
        follow(client, engine.push),
        remember(known, engine),
        FactsKeeper(known, engine).run(),
        StatusKeeper(options.state / "status.json", engine.receipt).run(),
        SecretKeeper(client, vaults.certificates, engine, CERTIFICATES).run(),
        SecretKeeper(client, vaults.credentials, engine, CREDENTIALS).run(),
        SecretKeeper(client, Vault(), engine, AUTHORITIES).run(),
        TrustKeeper(client, engine).run(),
        GatewayReporter(client, engine, floor.xds, options.settings.node).run(),
        PolicyReporter(client, engine, options.settings.node, floor.policy.absent).run(),
        flows.run(),
        _install_when_ready(options, engine),
        _spare_memory(engine),
    ]
    if floor.dns is not None:
        dns_config = DnsConfigKeeper(client, floor.dns, options.state / "dns.yaml", options.settings.node)
        dns_config.load()
        duties.append(dns_config.run())
        if options.dns_metrics_port:
            duties.append(_serve_metrics(options.dns_metrics_port, floor.dns))
    async with (
        serve(options.socket, store, engine, inspector, verbs={"status": status, "plan": plan, "flows": flows.answer}),
        surface.serve(),
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(each) for each in duties]
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
        for task in tasks:
            task.cancel()
    log.info("agent stopped", extra={"node": options.settings.node})


def _search(options: Options) -> Sequence[str]:
    if options.dns_search is not None:
        return options.dns_search
    return () if options.dns_upstreams else drivers.host_search()


async def _serve_metrics(port: int, dns: DnsDriver) -> None:
    """Serve what the resolver counts, forever."""
    async with metrics.serve(port, {"/metrics": dns.metrics, "/health": lambda: "OK"}):
        await asyncio.Event().wait()


async def _spare_memory(engine: Engine) -> None:
    """Let the garbage collector leave alone what a node knows from its start: walking a large cluster takes longer than a change may."""
    await engine.wait_ready()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def _install_when_ready(options: Options, engine: Engine) -> None:
    """Let container runtimes find the plugin as soon as pods can be attached."""
    if options.cni_conf_dir is None or options.cni_bin_dir is None:
        return
    await engine.wait_ready()
    try:
        installed = await asyncio.to_thread(
            install, options.socket, options.cni_bin_dir, options.cni_conf_dir, options.cni_plugin_path
        )
    except OSError as error:
        log.warning("CNI plugin not installed", extra={"folder": str(options.cni_bin_dir), "error": str(error)})
        return
    log.info("CNI plugin installed", extra={"path": str(installed.conflist), "missing": ",".join(installed.missing)})
