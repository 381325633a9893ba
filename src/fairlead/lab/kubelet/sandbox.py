"""The namespaces of a pod and their attachment to the network: made, adopted and removed, in an order that leaks nothing when killed.

What a step will make is on disk before the step begins (`netns` for the namespace, the CNI cache for the attachment), so `remove` finds
everything however far `create` came.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from fairlead.base import quantity
from fairlead.lab.kubelet.cni import Attachment, Cni, addresses
from fairlead.lab.kubelet.files import Resolver, hostname, hosts, parse_resolv_conf, resolv_conf
from fairlead.lab.kubelet.floor import Floor
from fairlead.lab.kubelet.pod import Pod
from fairlead.lab.kubelet.settings import Settings
from fairlead.lab.runtime.spec import SandboxSpec

log = logging.getLogger(__name__)

_MARK = "netns"
# The bandwidth plugin wants a burst; upstream gives the largest it accepts.
_BURST_BITS = 2**31 - 1
_BANDWIDTH = "kubernetes.io/{}-bandwidth"


class Sandboxes:
    """The sandboxes of one node."""

    def __init__(self, settings: Settings, floor: Floor, cni: Cni) -> None:
        self._settings = settings
        self._floor = floor
        self._cni = cni

    def adopted(self, pod: Pod) -> tuple[str, ...] | None:
        """Return the addresses of a sandbox that runs and is attached, None if there is none."""
        spec = self._floor.sandboxes().get(pod.uid)
        if spec is None:
            return None
        if pod.host_network:
            return self._settings.node_ips
        if spec.netns is None or not spec.netns.exists():
            # The machine was restarted: files remember what the kernel has forgotten.
            return None
        result = self._cni.result(pod.uid)
        return addresses(result) if result else None

    def remains(self, uid: str) -> bool:
        """Tell whether anything of a sandbox exists."""
        return uid in self._floor.sandboxes() or self._cni.begun(uid) or self._mark(uid).exists()

    async def create(self, pod: Pod) -> tuple[str, ...]:
        """Make the sandbox and return the pod's addresses; raises CniError, RuntimeFault or OSError and leaves nothing behind."""
        settings = self._settings
        if self.remains(pod.uid):
            await self.remove(pod.uid)
        netns: Path | None = None
        ips = settings.node_ips
        try:
            if not pod.host_network:
                name = settings.netns_name(pod.uid, pod.metadata.namespace, pod.metadata.name)
                mark = self._mark(pod.uid)
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.write_text(name)
                netns = await self._floor.create_netns(name)
                ips = addresses(await self._cni.add(attachment(pod, netns)))
            await self._floor.run_sandbox(self._spec(pod, netns, ips))
        except BaseException:
            await self._undo(pod)
            raise
        return ips

    async def remove(self, uid: str) -> None:
        """End the pod's processes, detach it and remove its namespaces; fine when there is nothing. Logs and volumes stay."""
        await self._floor.remove_sandbox(uid)
        await self._cni.delete(uid)
        mark = self._mark(uid)
        if mark.exists():
            await self._floor.delete_netns(mark.read_text())
            mark.unlink(missing_ok=True)

    async def purge(self, uid: str) -> None:
        """Remove the sandbox and every file of the pod."""
        await self.remove(uid)
        shutil.rmtree(self._settings.pods / uid, ignore_errors=True)

    def leftovers(self) -> set[str]:
        """Return the uids of all pods of which anything exists on this node."""
        found = set(self._floor.sandboxes()) | set(self._cni.cached())
        if self._settings.pods.is_dir():
            found |= {
                entry.name for entry in self._settings.pods.iterdir() if entry.is_dir() and entry.name.count("-") == 4
            }
        return found

    async def _undo(self, pod: Pod) -> None:
        try:
            await self.remove(pod.uid)
        except Exception as error:
            # What is left is on disk and is removed before the next try.
            log.warning("sandbox not cleaned up", extra={"pod": pod.ref, "error": str(error)})

    def _mark(self, uid: str) -> Path:
        return self._settings.pods / uid / _MARK

    def _spec(self, pod: Pod, netns: Path | None, ips: tuple[str, ...]) -> SandboxSpec:
        settings = self._settings
        node_hosts = ""
        if pod.host_network:
            node_hosts = Path("/etc/hosts").read_text(errors="replace")
        context = pod.spec.security_context
        return SandboxSpec(
            uid=pod.uid,
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            hostname=settings.node if pod.host_network else hostname(pod, settings.cluster_domain),
            netns=netns,
            resolv_conf=resolv_conf(
                pod, cluster_dns=settings.cluster_dns, domain=settings.cluster_domain, node=self._node_resolver()
            ),
            hosts=hosts(pod, ips, domain=settings.cluster_domain, node_hosts=node_hosts),
            sysctls=tuple((sysctl.name, sysctl.value) for sysctl in (context.sysctls if context else None) or ()),
            share_pids=bool(pod.spec.share_process_namespace),
        )

    def _node_resolver(self) -> Resolver:
        try:
            return parse_resolv_conf(self._settings.resolv_conf.read_text())
        except OSError:
            # The machine's own servers cannot be reached from inside of the lab.
            return Resolver(nameservers=self._settings.cluster_dns)


def attachment(pod: Pod, netns: Path) -> Attachment:
    """Return what CNI is told of a pod: Kubernetes' CNI_ARGS and its port and bandwidth capabilities."""
    capabilities: dict[str, Any] = {}
    ports = [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.lower(),
            **({"hostIP": port.host_ip} if port.host_ip else {}),
        }
        for container in (*pod.init, *pod.spec.containers)
        for port in container.ports or ()
        if port.host_port
    ]
    if ports:
        capabilities["portMappings"] = ports
    bandwidth: dict[str, int] = {}
    for direction in ("ingress", "egress"):
        rate = (pod.metadata.annotations or {}).get(_BANDWIDTH.format(direction))
        if rate:
            try:
                bandwidth |= {f"{direction}Rate": int(quantity.parse(rate)), f"{direction}Burst": _BURST_BITS}
            except ValueError:
                log.warning("bandwidth annotation ignored", extra={"pod": pod.ref, "value": rate})
    if bandwidth:
        capabilities["bandwidth"] = bandwidth
    return Attachment(
        container_id=pod.uid,
        netns=str(netns),
        args=(
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", pod.metadata.namespace),
            ("K8S_POD_NAME", pod.metadata.name),
            ("K8S_POD_INFRA_CONTAINER_ID", pod.uid),
            ("K8S_POD_UID", pod.uid),
        ),
        capabilities=capabilities,
    )
