"""What a kubelet is told at start: one frozen value, never changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node of one lab."""

    node: str
    lab: str
    zone: str
    region: str = "lab"
    root: Path
    """The node's folder; pods/, kubelet.sock and cni/cache lie below it."""
    node_ips: tuple[str, ...]
    """InternalIP addresses, IPv4 first."""
    pod_cidrs: tuple[str, ...] = ()
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    cni_conf_dir: Path
    cni_bin_dirs: tuple[Path, ...] = ()
    strict_commands: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[tuple[str, str, str], ...] = ()
    """(key, value, effect)."""
    lease_interval_s: float = 10.0
    """A node is lost when its lease is older than the controller's grace period; give a quarter of that."""
    max_pods: int = 110

    @property
    def pods(self) -> Path:
        """Return the folder of pod state, one subfolder per uid."""
        return self.root / "pods"

    @property
    def socket(self) -> Path:
        """Return the path of the kubelet's HTTP socket."""
        return self.root / "kubelet.sock"

    @property
    def cni_cache(self) -> Path:
        """Return the folder in which results of CNI ADD are kept for DEL."""
        return self.root / "cni" / "cache"

    @property
    def claims(self) -> Path:
        """Return the folder that stands in for persistent volumes; it outlives pods."""
        return self.root / "claims"

    @property
    def resolv_conf(self) -> Path:
        """Return the node's resolv.conf, which need not exist."""
        return self.root / "resolv.conf"

    def netns_name(self, uid: str, namespace: str, name: str) -> str:
        """Return the name of a pod's network namespace, as `ip netns` lists it."""
        return f"fl-{self.lab}-pod-{uid[:8]}-{namespace}-{name}"[:200]
