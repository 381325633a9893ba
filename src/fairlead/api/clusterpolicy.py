"""policy.networking.k8s.io: ClusterNetworkPolicy v1alpha2, and AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1.

Tolerant by intent: a peer or a port of which no field is known is one that a newer version of the API defines, and the meaning of a rule
with such a part is the reader's business (fail closed).
"""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta
from fairlead.api.selector import Selector


class NamespacedPods(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Pods with these labels in namespaces with those."""

    namespace_selector: Selector = Selector()
    pod_selector: Selector = Selector()


class Subject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a policy governs: exactly one field is set."""

    namespaces: Selector | None = None
    pods: NamespacedPods | None = None


class ClusterPeer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One element of `from` or `to`: exactly one field is set; none is a kind of peer that is not known here."""

    namespaces: Selector | None = None
    pods: NamespacedPods | None = None
    nodes: Selector | None = None
    networks: tuple[str, ...] | None = None
    domain_names: tuple[str, ...] | None = None


class PortRange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """From `start` to `end`, both included; the protocol is that of AdminNetworkPolicy alone."""

    start: int
    end: int
    protocol: str = "TCP"


class PortNumber(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """AdminNetworkPolicy's `portNumber`."""

    port: int
    protocol: str = "TCP"


class AdminPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of AdminNetworkPolicy's `ports`."""

    port_number: PortNumber | None = None
    named_port: str | None = None
    port_range: PortRange | None = None


class DestinationPort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A port number or a range of them."""

    number: int | None = None
    range: PortRange | None = None


class PortProtocol(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`tcp`, `udp` or `sctp` of ClusterNetworkPolicy's protocols; without a port it is all of the protocol."""

    destination_port: DestinationPort | None = None


class ClusterProtocol(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One of ClusterNetworkPolicy's `protocols`: exactly one field is set."""

    tcp: PortProtocol | None = None
    udp: PortProtocol | None = None
    sctp: PortProtocol | None = None
    destination_named_port: str | None = None


class ClusterRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rule of either direction and any of the three kinds: the first that matches a connection decides."""

    action: str
    name: str = ""
    sources: tuple[ClusterPeer, ...] | None = msgspec.field(default=None, name="from")
    to: tuple[ClusterPeer, ...] | None = None
    ports: tuple[AdminPort, ...] | None = None
    protocols: tuple[ClusterProtocol, ...] | None = None


class ClusterPolicySpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`spec` of all three kinds; `tier` is ClusterNetworkPolicy's."""

    subject: Subject
    priority: int = 0
    tier: str = ""
    ingress: tuple[ClusterRule, ...] | None = None
    egress: tuple[ClusterRule, ...] | None = None


class ClusterNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """v1alpha2, of tier Admin or Baseline."""

    metadata: ObjectMeta
    spec: ClusterPolicySpec


class AdminNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """v1alpha1: decides before every NetworkPolicy."""

    metadata: ObjectMeta
    spec: ClusterPolicySpec


class BaselineAdminNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """v1alpha1: decides where no NetworkPolicy governs."""

    metadata: ObjectMeta
    spec: ClusterPolicySpec
