"""API objects of all kinds of policy to `rules.Policy`.

Never raises: what makes no sense becomes a diagnostic and matches nothing where it would permit; where it would forbid, or pass on, the
whole rule forbids everything (the fail-closed rule of policy.networking.k8s.io, case A14).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from fairlead.api.clusterpolicy import (
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterRule,
    NamespacedPods,
    PortProtocol,
    Subject,
)
from fairlead.api.networkpolicy import EgressRule, IngressRule, NetworkPolicy, PolicyPeer, PolicyPort
from fairlead.base import domainnames
from fairlead.base.diagnostics import Diagnostic
from fairlead.base.selectors import EVERYTHING, SelectorError
from fairlead.model.policy.rules import (
    Action,
    Direction,
    NamesTerm,
    NodesTerm,
    PodsTerm,
    Policy,
    PortTerm,
    Rule,
    Term,
    block,
)

ClusterPolicy: TypeAlias = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy
ADMIN, NETWORK, BASELINE = 0, 1, 2
_LAST_PRIORITY = 1001
_ACTIONS: dict[str, Action] = {"Allow": "allow", "Accept": "allow", "Deny": "deny", "Pass": "pass"}
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What the specifications leave open."""

    blocks_spare: tuple[str, ...] = ()
    """Prefixes that an ipBlock never matches: the pod ranges, where blocks are for addresses outside alone (case B01)."""
    own_node_is_exempt: bool = True
    """NetworkPolicy does not keep a pod from its own node (case B06)."""


class _Reader:
    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.diagnostics: list[Diagnostic] = []

    def report(self, field: str, message: str, fix: str = "") -> None:
        self.diagnostics.append(Diagnostic(object=self.reference, field=field, message=message, fix=fix))


def read_network_policy(policy: NetworkPolicy, choices: Choices) -> tuple[Policy | None, tuple[Diagnostic, ...]]:
    """Return the meaning of a NetworkPolicy; None when its own selector makes no sense."""
    namespace, name = policy.metadata.namespace, policy.metadata.name
    reader = _Reader(f"NetworkPolicy/{namespace}/{name}")
    spec = policy.spec
    try:
        subject = PodsTerm(namespace, EVERYTHING, spec.pod_selector.parsed())
    except SelectorError as error:
        reader.report("spec.podSelector", str(error))
        return None, tuple(reader.diagnostics)
    known = spec.directions

    def rules(direction: Direction, found: Sequence[IngressRule | EgressRule]) -> tuple[Rule, ...]:
        return tuple(
            _network_rule(reader, direction, index, each, namespace, choices) for index, each in enumerate(found)
        )

    return Policy(
        reader.reference,
        (NETWORK, 0, namespace, name),
        subject,
        rules("ingress", spec.ingress or ()) if "Ingress" in known else None,
        rules("egress", spec.egress or ()) if "Egress" in known else None,
    ), tuple(reader.diagnostics)


def _network_rule(
    reader: _Reader, direction: Direction, index: int, rule: IngressRule | EgressRule, own: str, choices: Choices
) -> Rule:
    where = f"spec.{direction}[{index}]"
    field = "from" if isinstance(rule, IngressRule) else "to"
    peers = rule.sources if isinstance(rule, IngressRule) else rule.to
    terms: list[Term] | None = None
    if peers:
        terms = []
        for number, peer in enumerate(peers):
            try:
                terms.append(_peer(peer, own, choices))
            except ValueError as error:
                reader.report(f"{where}.{field}[{number}]", f"{error}: matches nothing")
    ports: list[PortTerm] | None = None
    if rule.ports:
        ports = []
        for number, port in enumerate(rule.ports):
            try:
                ports.append(_port(port))
            except ValueError as error:
                reader.report(f"{where}.ports[{number}]", f"{error}: matches nothing")
    name = f"{reader.reference}/{direction}/{index}"
    return Rule("allow", None if terms is None else tuple(terms), None if ports is None else tuple(ports), name)


def _peer(peer: PolicyPeer, own: str, choices: Choices) -> Term:
    if peer.ip_block is not None:
        if peer.pod_selector is not None or peer.namespace_selector is not None:
            raise ValueError("ipBlock and selectors exclude each other")
        return block(peer.ip_block.cidr, (*(peer.ip_block.excepted or ()), *choices.blocks_spare))
    if peer.pod_selector is None and peer.namespace_selector is None:
        raise ValueError("must specify a peer")
    pods = EVERYTHING if peer.pod_selector is None else peer.pod_selector.parsed()
    if peer.namespace_selector is None:
        return PodsTerm(own, EVERYTHING, pods)
    return PodsTerm("", peer.namespace_selector.parsed(), pods)


def _port(port: PolicyPort) -> PortTerm:
    protocol = _protocol(port.protocol)
    if port.port is None:
        if port.end_port is not None:
            raise ValueError("endPort needs a port")
        return PortTerm(protocol)
    if isinstance(port.port, str):
        if port.end_port is not None:
            raise ValueError("endPort needs a port number")
        return PortTerm(protocol, name=port.port)
    return _span(protocol, port.port, port.port if port.end_port is None else port.end_port)


def _protocol(name: str) -> str:
    if name not in _PROTOCOLS:
        raise ValueError(f"protocol {name!r} is none of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[name]


def _span(protocol: str, first: int, last: int) -> PortTerm:
    if not 0 < first <= last <= 65535:
        raise ValueError(f"{first} to {last} are not ports")
    return PortTerm(protocol, first, last)


def read_cluster_policy(policy: ClusterPolicy) -> tuple[Policy | None, tuple[Diagnostic, ...]]:
    """Return the meaning of a cluster-wide policy; None when it cannot be known whom it governs."""
    kind, spec, name = type(policy).__name__, policy.spec, policy.metadata.name
    reader = _Reader(f"{kind}//{name}")
    tier, priority = ADMIN, spec.priority
    if isinstance(policy, BaselineAdminNetworkPolicy):
        tier, priority = BASELINE, _LAST_PRIORITY
    elif isinstance(policy, ClusterNetworkPolicy):
        if spec.tier not in ("Admin", "Baseline"):
            reader.report("spec.tier", f"{spec.tier!r} is neither Admin nor Baseline")
            return None, tuple(reader.diagnostics)
        tier = ADMIN if spec.tier == "Admin" else BASELINE
    try:
        subject = _subject(spec.subject)
    except ValueError as error:
        reader.report("spec.subject", str(error))
        return None, tuple(reader.diagnostics)

    def rules(direction: Direction, found: Iterable[ClusterRule]) -> tuple[Rule, ...]:
        read = (_cluster_rule(reader, direction, index, each) for index, each in enumerate(found))
        return tuple(each for each in read if each is not None)

    return Policy(
        reader.reference,
        (tier, priority, kind, name),
        subject,
        rules("ingress", spec.ingress or ()),
        rules("egress", spec.egress or ()),
    ), tuple(reader.diagnostics)


def _subject(subject: Subject) -> PodsTerm:
    if subject.namespaces is not None:
        return PodsTerm("", subject.namespaces.parsed(), EVERYTHING)
    if subject.pods is not None:
        return _pods(subject.pods)
    raise ValueError("names neither namespaces nor pods")


def _pods(pods: NamespacedPods) -> PodsTerm:
    return PodsTerm("", pods.namespace_selector.parsed(), pods.pod_selector.parsed())


def _cluster_rule(reader: _Reader, direction: Direction, index: int, rule: ClusterRule) -> Rule | None:
    where = f"spec.{direction}[{index}]"
    name = f"{reader.reference}/{direction}/{index}"
    action = _ACTIONS.get(rule.action)
    field = "from" if direction == "ingress" else "to"
    peers = (rule.sources if direction == "ingress" else rule.to) or ()
    terms: list[Term] = []
    ports: list[PortTerm] | None = None
    try:
        if action is None:
            raise ValueError(f"action {rule.action!r} is not known")
        for number, peer in enumerate(peers):
            if peer.domain_names and direction == "egress":
                if action != "allow":
                    raise ValueError("domainNames are for action Accept alone")
                terms += _names(reader, f"{where}.{field}[{number}].domainNames", peer.domain_names)
            else:
                terms += _cluster_peer(peer, direction)
        if rule.ports or rule.protocols:
            ports = _cluster_ports(rule)
    except ValueError as error:
        if action == "allow":
            reader.report(where, f"{error}: matches nothing")
            return None
        reader.report(where, f"{error}: denies everything", f"correct {field}, ports or action")
        return Rule("deny", None, None, name)
    return Rule(action, tuple(terms), None if ports is None else tuple(ports), name)


def _cluster_peer(peer: ClusterPeer, direction: Direction) -> Sequence[Term]:
    if peer.namespaces is not None:
        return [PodsTerm("", peer.namespaces.parsed(), EVERYTHING)]
    if peer.pods is not None:
        return [_pods(peer.pods)]
    if direction == "egress":
        if peer.nodes is not None:
            return [NodesTerm(peer.nodes.parsed())]
        if peer.networks is not None:
            return [block(each) for each in peer.networks]
    raise ValueError("a peer is of no known kind")


def _names(reader: _Reader, field: str, texts: Iterable[str]) -> list[Term]:
    found: list[Term] = []
    for number, text in enumerate(texts):
        try:
            found.append(NamesTerm(domainnames.pattern(text)))
        except ValueError as error:
            reader.report(f"{field}[{number}]", f"{error}: matches nothing")
    return found


def _cluster_ports(rule: ClusterRule) -> list[PortTerm]:
    found: list[PortTerm] = []
    for port in rule.ports or ():
        if port.port_number is not None:
            number = port.port_number.port
            found.append(_span(_protocol(port.port_number.protocol), number, number))
        elif port.port_range is not None:
            span = port.port_range
            found.append(_span(_protocol(span.protocol), span.start, span.end))
        elif port.named_port:
            found.append(PortTerm("", name=port.named_port))
        else:
            raise ValueError("a port is of no known kind")
    for each in rule.protocols or ():
        known = {"tcp": each.tcp, "udp": each.udp, "sctp": each.sctp}
        parts = [_protocol_term(protocol, part) for protocol, part in known.items() if part is not None]
        if each.destination_named_port:
            parts.append(PortTerm("", name=each.destination_named_port))
        if not parts:
            raise ValueError("a protocol is of no known kind")
        found += parts
    return found


def _protocol_term(protocol: str, part: PortProtocol) -> PortTerm:
    port = part.destination_port
    if port is None:
        return PortTerm(protocol)
    if port.range is not None:
        return _span(protocol, port.range.start, port.range.end)
    if port.number is None:
        raise ValueError("a destination port is of no known kind")
    return _span(protocol, port.number, port.number)


def ties(policies: Iterable[Policy]) -> list[Diagnostic]:
    """Return what is undefined: policies of one tier with equal priorities (cases A11, C05)."""
    found: list[Diagnostic] = []
    seen: dict[tuple[int, int], str] = {}
    for policy in policies:
        if policy.tier == NETWORK or policy.order[1] == _LAST_PRIORITY:
            continue
        other = seen.setdefault(policy.order[:2], policy.reference)
        if other != policy.reference:
            message = f"has the same priority as {other}: which one decides is undefined"
            found.append(
                Diagnostic(
                    object=policy.reference, field="spec.priority", message=message, fix="give each its own priority"
                )
            )
    return found
