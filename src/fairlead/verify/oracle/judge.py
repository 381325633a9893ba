"""May a new connection be made? The specifications' answer, one rule after the other.

Sources: kubernetes api/networking/v1/types.go and pkg/apis/networking/v1/defaults.go; network-policy-api
apis/v1alpha1 and apis/v1alpha2; the case numbers of docs/design/policy.md stand beside what they decide. What the specifications leave
open is a field of `Choices`. Only the initiating direction is judged: replies pass by the state of their connection (B07).
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from fairlead.verify.oracle.cluster import Cluster, Place, Wire, in_pods, place, port_of
from fairlead.verify.oracle.labels import selects


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What the specifications leave to the implementation."""

    ip_block_matches_pods: bool = True
    """B01: an ipBlock that holds a pod's address matches the pod."""
    own_node_is_exempt: bool = True
    """B06: NetworkPolicy does not keep a pod from its own node."""


class Verdict(msgspec.Struct, frozen=True):
    """The answer and what decided it."""

    allowed: bool
    policy: str = ""
    """`Kind/namespace/name`; empty when nothing governs the connection."""
    rule: str = ""
    """`ingress/0` and the like; `ingress` alone when no rule of an isolating NetworkPolicy matched."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first packet of a connection, as it is at the ends: after translation."""

    source: Place
    target: Place
    source_address: str
    target_address: str
    protocol: str
    """`TCP`, `UDP`, `SCTP`, or anything else for a protocol without ports."""
    port: int


def allowed(
    cluster: Cluster, source: str, target: str, protocol: str, port: int, family: int, choices: Choices | None = None
) -> Verdict:
    """Tell whether `source` may open a connection to `port` of `target` (`pod/NS/NAME`, `node/NAME` or an address).

    Raises LookupError when an end has no address of the family, or is none.
    """
    ends = [place(cluster, each) for each in (source, target)]
    addresses = [None if end is None else end.address(family) for end in ends]
    (start, end), (sent_from, sent_to) = ends, addresses
    if start is None or end is None or sent_from is None or sent_to is None:
        raise LookupError(f"{source} or {target} has no IPv{family} address")
    packet = Packet(
        source=start, target=end, source_address=sent_from, target_address=sent_to, protocol=protocol, port=port
    )
    return judge(cluster, packet, choices or Choices())


def judge(cluster: Cluster, packet: Packet, choices: Choices) -> Verdict:
    """Return the verdict about a packet: both ends must agree (T28); a denial at the source is named before one at the target."""
    source, target = packet.source, packet.target
    if source.pod is not None and source.pod is target.pod:
        return Verdict(True)  # B02
    verdict = Verdict(True)
    if source.pod is not None:
        verdict = _direction(cluster, packet, choices, "egress", source.pod)
        if not verdict.allowed:
            return verdict
    # B04: the kubelet probes its pods. Hostnetwork pods are the node (T33, T34).
    if target.pod is not None and not (source.node is not None and source.host == target.host):
        return _direction(cluster, packet, choices, "ingress", target.pod)
    return verdict


def _direction(cluster: Cluster, packet: Packet, choices: Choices, direction: str, subject: Wire) -> Verdict:
    for tier in ("Admin", "Baseline"):
        if tier == "Baseline":
            governed = _network_policies(cluster, packet, choices, direction, subject)
            if governed is not None:
                return governed
        for policy in _tier(cluster, tier):
            if not _is_subject(cluster, policy, subject):
                continue
            verdict = _first_match(cluster, packet, direction, policy)
            if isinstance(verdict, Verdict):
                return verdict
            if verdict == "Pass":
                break
    return Verdict(True)


def _tier(cluster: Cluster, tier: str) -> list[Wire]:
    """Return the policies of a tier, the most important first (A03, A04, C04)."""
    ranked = []
    for each in cluster.policies:
        spec = each["spec"]
        match each["kind"]:
            case "ClusterNetworkPolicy" if spec["tier"] == tier:
                ranked.append((spec["priority"], "", each))
            case "AdminNetworkPolicy" if tier == "Admin":
                ranked.append((spec["priority"], "", each))
            case "BaselineAdminNetworkPolicy" if tier == "Baseline":
                # The singleton of the older API comes after the prioritized ones of the newer.
                ranked.append((1001, "", each))
    # Equal priorities are undefined (A11, C05): by kind and name, so that the answer is at least always the same.
    ranked.sort(key=lambda item: (item[0], item[2]["kind"], item[2]["metadata"]["name"]))
    return [policy for _, _, policy in ranked]


def _is_subject(cluster: Cluster, policy: Wire, pod: Wire) -> bool:
    subject = policy["spec"]["subject"]
    if (namespaces := subject.get("namespaces")) is not None:
        return in_pods(cluster, pod, namespaces=namespaces, own="", pods=None)
    if (pods := subject.get("pods")) is not None:
        return _is_namespaced_pod(cluster, pods, pod)
    return False


def _is_namespaced_pod(cluster: Cluster, pods: Wire, pod: Wire) -> bool:
    namespaces, selected = pods.get("namespaceSelector") or {}, pods.get("podSelector") or {}
    return in_pods(cluster, pod, namespaces=namespaces, own="", pods=selected)


def _first_match(cluster: Cluster, packet: Packet, direction: str, policy: Wire) -> Verdict | str | None:
    name = f"{policy['kind']}//{policy['metadata']['name']}"
    for index, rule in enumerate(policy["spec"].get(direction) or ()):
        action = {"Allow": "Accept"}.get(rule["action"], rule["action"])
        peers = rule.get("from" if direction == "ingress" else "to") or ()
        known = [_cluster_peer(cluster, packet, direction, peer) for peer in peers]
        if None in known:
            # A14: what cannot be understood matches nothing when it permits, everything when it does not.
            if action == "Accept":
                continue
            return Verdict(False, name, f"{direction}/{index}")
        if any(known) and _cluster_ports(packet, rule):
            return "Pass" if action == "Pass" else Verdict(action == "Accept", name, f"{direction}/{index}")
    return None


def _cluster_peer(cluster: Cluster, packet: Packet, direction: str, peer: Wire) -> bool | None:
    """Tell whether the other end is this peer; None: no known kind of peer."""
    other = packet.source if direction == "ingress" else packet.target
    address = packet.source_address if direction == "ingress" else packet.target_address
    if (namespaces := peer.get("namespaces")) is not None:
        return other.pod is not None and in_pods(cluster, other.pod, namespaces=namespaces, own="", pods=None)
    if (pods := peer.get("pods")) is not None:
        return other.pod is not None and _is_namespaced_pod(cluster, pods, other.pod)
    if direction == "ingress":
        return None
    if (nodes := peer.get("nodes")) is not None:
        return other.node is not None and selects(nodes, other.node["metadata"].get("labels") or {})
    if (networks := peer.get("networks")) is not None:
        return any(_inside(address, each) for each in networks)  # A15, C06: pods too
    if (names := peer.get("domainNames")) is not None:
        return _is_named(cluster, packet.target, address, names)
    return None


_NOBODY = "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 ::/127 fe80::/10 ff00::/8 ::ffff:0:0/96".split()


def _is_named(cluster: Cluster, target: Place, address: str, patterns: Any) -> bool:
    """Tell whether an address outside is one of a name that a pattern selects (C09); a name leads to nothing of the cluster's own."""
    pod_ranges = [cidr for node in cluster.nodes for cidr in node.get("spec", {}).get("podCIDRs") or ()]
    if target.pod is not None or target.node is not None:
        return False
    if any(_inside(address, each) for each in (*_NOBODY, *cluster.ranges, *pod_ranges)):
        return False
    asked = [name for name, addresses in cluster.resolved.items() if address in addresses]
    return any(_selects_name(pattern, name) for pattern in patterns for name in asked)


def _selects_name(pattern: str, name: str) -> bool:
    wanted, labels = (text.lower().rstrip(".").split(".") for text in (pattern, name))
    if wanted[0] != "*":
        return wanted == labels
    return len(labels) >= len(wanted) and labels[-len(wanted) + 1 :] == wanted[1:]


def _cluster_ports(packet: Packet, rule: Wire) -> bool:
    conditions = [*(rule.get("ports") or ()), *(rule.get("protocols") or ())]
    return not conditions or any(_cluster_port(packet, each) for each in conditions)


def _cluster_port(packet: Packet, condition: Wire) -> bool:
    named = condition.get("namedPort") or condition.get("destinationNamedPort")
    if named:
        target = packet.target.pod
        return target is not None and (packet.protocol, packet.port) in port_of(target, named, None)
    if (single := condition.get("portNumber")) is not None:
        return bool((packet.protocol, packet.port) == (single.get("protocol", "TCP"), single["port"]))
    if (span := condition.get("portRange")) is not None:
        return bool(packet.protocol == span.get("protocol", "TCP") and span["start"] <= packet.port <= span["end"])
    part = condition.get(packet.protocol.lower())
    if part is None:
        return False
    port: Any = part.get("destinationPort")
    if port is None:
        return True
    if port.get("number") is not None:
        return bool(packet.port == port["number"])
    return bool(port["range"]["start"] <= packet.port <= port["range"]["end"])


def _network_policies(
    cluster: Cluster, packet: Packet, choices: Choices, direction: str, subject: Wire
) -> Verdict | None:
    """Return the verdict of all NetworkPolicies together (T27); None when none governs the pod in this direction."""
    isolating = ""
    for policy in sorted(cluster.policies, key=lambda each: each["metadata"]["name"]):
        if policy["kind"] != "NetworkPolicy" or not _governs(cluster, policy, direction, subject):
            continue
        namespace = policy["metadata"]["namespace"]
        name = f"NetworkPolicy/{namespace}/{policy['metadata']['name']}"
        isolating = isolating or name
        if choices.own_node_is_exempt and packet.target.node is not None and packet.target.host == packet.source.host:
            return Verdict(True, name, "own node")  # B06
        for index, rule in enumerate(policy["spec"].get(direction) or ()):
            peers = rule.get("from" if direction == "ingress" else "to") or ()
            if peers and not any(_peer(cluster, packet, choices, direction, namespace, each) for each in peers):
                continue
            if _ports(packet, rule.get("ports") or ()):
                return Verdict(True, name, f"{direction}/{index}")
    return Verdict(False, isolating, direction) if isolating else None


def _governs(cluster: Cluster, policy: Wire, direction: str, subject: Wire) -> bool:
    spec = policy["spec"]
    # pkg/apis/networking/v1/defaults.go: Ingress always, Egress if there is at least one such rule (T08 to T11).
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    if {"ingress": "Ingress", "egress": "Egress"}[direction] not in types:
        return False
    own = policy["metadata"]["namespace"]
    return in_pods(cluster, subject, namespaces=None, own=own, pods=spec.get("podSelector") or {})


def _peer(cluster: Cluster, packet: Packet, choices: Choices, direction: str, own: str, peer: Wire) -> bool:
    other = packet.source if direction == "ingress" else packet.target
    address = packet.source_address if direction == "ingress" else packet.target_address
    if (block := peer.get("ipBlock")) is not None:
        if other.pod is not None and not choices.ip_block_matches_pods:
            return False
        return _inside(address, block["cidr"]) and not any(_inside(address, each) for each in block.get("except") or ())
    if other.pod is None:
        return False
    return in_pods(cluster, other.pod, namespaces=peer.get("namespaceSelector"), own=own, pods=peer.get("podSelector"))


def _ports(packet: Packet, ports: Any) -> bool:
    return not ports or any(_matches(packet, each) for each in ports)


def _matches(packet: Packet, entry: Wire) -> bool:
    protocol = entry.get("protocol") or "TCP"
    if packet.protocol != protocol:
        return False
    port = entry.get("port")
    if port is None:
        return True
    if isinstance(port, str):
        # T12, T13: always a port of the pod at the target.
        return packet.target.pod is not None and (protocol, packet.port) in port_of(packet.target.pod, port, protocol)
    return bool(port <= packet.port <= (entry.get("endPort") or port))


def _inside(address: str, cidr: str) -> bool:
    """Tell whether `address` is in `cidr`, whose bits beyond the prefix do not matter (B18); families never mix (T32)."""
    text, _, length = cidr.partition("/")
    if ":" not in text:
        text = ".".join(str(int(part)) for part in text.split("."))
    network = ipaddress.ip_network(f"{text}/{length}", strict=False)
    return ipaddress.ip_address(address) in network
