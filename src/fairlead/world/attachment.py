"""One interface of a pod on this node, as the CNI plugin asked for it and address management granted it.

Attachments are the node's own durable facts: they do not come from the API server and outlive both it and the agent.
"""

from __future__ import annotations

import msgspec


class Attachment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pod's interface. Identified by (`container_id`, `ifname`), as CNI does."""

    container_id: str
    ifname: str
    """Name inside the pod, CNI_IFNAME."""
    netns: str
    """Path of the pod's network namespace, CNI_NETNS."""
    host_ifname: str
    """Name on the node: `fl` and 12 hexadecimal digits."""
    mac: str
    """Address of the pod's side, lower case with colons."""
    addresses: tuple[str, ...]
    """Canonical text without a prefix length, IPv4 first."""
    pod_namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    mtu: int = 1450
    """Bytes; what `PodNetwork.pod_mtu` said when the pod was attached."""

    @property
    def key(self) -> tuple[str, str]:
        """Return (`container_id`, `ifname`)."""
        return self.container_id, self.ifname
