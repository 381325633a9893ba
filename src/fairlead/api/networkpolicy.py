"""networking/v1 NetworkPolicy, as far as it decides about packets. `None` is a missing field, an empty tuple an empty list."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta
from fairlead.api.selector import Selector


class IPBlock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prefix without some parts of it."""

    cidr: str
    excepted: tuple[str, ...] | None = msgspec.field(default=None, name="except")


class PolicyPeer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One element of `from` or `to`."""

    pod_selector: Selector | None = None
    namespace_selector: Selector | None = None
    ip_block: IPBlock | None = msgspec.field(default=None, name="ipBlock")


class PolicyPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One element of `ports`."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of `spec.ingress`; no `sources` means from anywhere, no `ports` means all of every protocol."""

    ports: tuple[PolicyPort, ...] | None = None
    sources: tuple[PolicyPeer, ...] | None = msgspec.field(default=None, name="from")


class EgressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of `spec.egress`."""

    ports: tuple[PolicyPort, ...] | None = None
    to: tuple[PolicyPeer, ...] | None = None


class NetworkPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of a NetworkPolicy."""

    pod_selector: Selector = Selector()
    policy_types: tuple[str, ...] | None = None
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None

    @property
    def directions(self) -> frozenset[str]:
        """Return which of `Ingress` and `Egress` the policy governs; defaults as pkg/apis/networking/v1/defaults.go fills them in."""
        if self.policy_types:
            return frozenset(self.policy_types)
        return frozenset(("Ingress", "Egress") if self.egress else ("Ingress",))


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A policy of the pods that it selects in its own namespace."""

    metadata: ObjectMeta
    spec: NetworkPolicySpec = NetworkPolicySpec()
