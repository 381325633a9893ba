"""Clusters, policies and probes drawn at random: small alphabets, so that selectors match often and policies meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.verify.oracle.cluster import Cluster

Wire = dict[str, Any]
_KEYS = ("app", "tier", "env")
_VALUES = ("", "a", "b")
_PORT_NAMES = ("http", "dns", "admin")
_NUMBERS = (53, 80, 81, 443, 8080)
_PROTOCOLS = ("TCP", "UDP", "SCTP")
NODES = ("node-1", "node-2")
EXTERNAL = (("198.51.100.10", "fd10:198::10"), ("198.51.100.20", "fd10:198::20"))
_BLOCKS = (
    "0.0.0.0/0",
    "::/0",
    "198.51.100.0/24",
    "198.51.100.16/28",
    "fd10:198::/64",
    "fd10:198::20/128",
    "10.244.0.0/16",
    "10.244.1.0/24",
    "10.244.1.12/30",
    "fd10:244::/48",
    "fd10:244:0:2::/64",
    "10.10.0.0/20",
    "10.10.0.12/32",
    "fd10:10::/64",
    "10.244.2.7/25",
)
_EXCEPT = {
    "0.0.0.0/0": ("10.244.1.0/24", "198.51.100.16/28"),
    "::/0": ("fd10:244:0:1::/64", "fd10:198::10/128"),
    "198.51.100.0/24": ("198.51.100.8/29",),
    "10.244.0.0/16": ("10.244.2.0/24", "10.244.1.10/32"),
    "fd10:244::/48": ("fd10:244:0:2::/64",),
}


RESOLVED = {
    "www.example.com": ("198.51.100.10", "fd10:198::10"),
    "api.www.example.com": ("198.51.100.20",),
    "example.com": ("198.51.100.20", "fd10:198::20"),
    "v6.example.org": ("fd10:198::10",),
    "inside.example.org": ("10.244.1.12", "10.10.0.12", "fd10:244:0:2::c", "198.51.100.10"),
}
_PATTERNS = (*RESOLVED, "*.example.com", "*.www.example.com", "*.org", "WWW.Example.com.", "other.example.com")


class Probe(msgspec.Struct, frozen=True):
    source: str
    target: str
    protocol: str
    port: int
    family: int


class Drawn(msgspec.Struct, frozen=True):
    cluster: Cluster
    probes: Sequence[Probe]


def draw(seed: int, *, probes: int = 12, protocols: Sequence[str] = (*_PROTOCOLS, "ICMP"), pods: int = 6) -> Drawn:
    """The same for the same arguments, always."""
    chance = random.Random(seed)
    namespaces = [
        {"metadata": {"name": name, "labels": _labels(chance)}} for name in ("x", "y", "z")[: chance.randint(1, 3)]
    ]
    names = [each["metadata"]["name"] for each in namespaces]
    found = [_pod(chance, index, chance.choice(names)) for index in range(chance.randint(2, pods))]
    policies = [_network_policy(chance, index, chance.choice(names)) for index in range(chance.randint(0, 4))]
    policies += _cluster_policies(chance)
    nodes = [
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **_labels(chance)}},
            "spec": {"podCIDRs": [f"10.244.{name[-1]}.0/24", f"fd10:244:0:{name[-1]}::/64"]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": f"10.10.0.1{name[-1]}"},
                    {"type": "InternalIP", "address": f"fd10:10::1{name[-1]}"},
                ]
            },
        }
        for name in NODES
    ]
    resolved = {name: addresses for name, addresses in RESOLVED.items() if seed % 3 or chance.random() < 0.5}
    cluster = Cluster(pods=found, namespaces=namespaces, nodes=nodes, policies=policies, resolved=resolved)
    return Drawn(cluster, [_probe(chance, cluster, protocols) for _ in range(probes)])


def _probe(chance: random.Random, cluster: Cluster, protocols: Sequence[str]) -> Probe:
    pods = [
        f"pod/{each['metadata']['namespace']}/{each['metadata']['name']}"
        for each in cluster.pods
        if each["status"]["phase"] == "Running" and not each["spec"].get("hostNetwork")
    ]
    nodes = [f"node/{name}" for name in NODES]
    family = chance.choice((4, 6))
    outside = [each[family == 6] for each in EXTERNAL]
    ends = pods * 4 + nodes + outside
    source, target = chance.choice(ends), chance.choice(pods * 5 + nodes + outside)
    protocol = chance.choice(protocols)
    return Probe(source, target, protocol, 0 if protocol == "ICMP" else chance.choice(_NUMBERS), family)


def _labels(chance: random.Random) -> Wire:
    return {key: chance.choice(_VALUES) for key in _KEYS if chance.random() < 0.6}


def _pod(chance: random.Random, index: int, namespace: str) -> Wire:
    node = chance.choice(NODES)
    ports = [
        {
            "name": chance.choice(_PORT_NAMES),
            "containerPort": chance.choice(_NUMBERS),
            "protocol": chance.choice(_PROTOCOLS),
        }
        for _ in range(chance.randint(0, 3))
    ]
    spec: Wire = {"nodeName": node, "containers": [{"ports": ports}]}
    if index > 1 and chance.random() < 0.08:
        spec["hostNetwork"] = True
    labels = {**_labels(chance), "pod-name": f"p{index}"}
    phase = "Succeeded" if index > 1 and chance.random() < 0.05 else "Running"
    ips = [{"ip": f"10.244.{node[-1]}.{10 + index}"}, {"ip": f"fd10:244:0:{node[-1]}::{10 + index:x}"}]
    return {
        "metadata": {"namespace": namespace, "name": f"p{index}", "labels": labels},
        "spec": spec,
        "status": {"phase": phase, "podIPs": ips},
    }


def _selector(chance: random.Random) -> Wire:
    if chance.random() < 0.3:
        return {}
    found: Wire = {}
    if chance.random() < 0.6:
        found["matchLabels"] = {chance.choice(_KEYS): chance.choice(_VALUES)}
    if chance.random() < 0.5:
        operator = chance.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        expression: Wire = {"key": chance.choice(_KEYS), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = chance.sample(_VALUES, chance.randint(1, 2))
        found["matchExpressions"] = [expression]
    return found


def _network_policy(chance: random.Random, index: int, namespace: str) -> Wire:
    spec: Wire = {}
    if chance.random() < 0.9:
        spec["podSelector"] = _selector(chance)
    for direction in ("ingress", "egress"):
        if chance.random() < 0.6:
            spec[direction] = [_rule(chance, direction) for _ in range(chance.randint(0, 2))]
    if chance.random() < 0.6:
        spec["policyTypes"] = chance.choice((["Ingress"], ["Egress"], ["Egress", "Ingress"]))
    return {"kind": "NetworkPolicy", "metadata": {"namespace": namespace, "name": f"np{index}"}, "spec": spec}


def _rule(chance: random.Random, direction: str) -> Wire:
    rule: Wire = {}
    if chance.random() < 0.8:
        peers = [_peer(chance) for _ in range(chance.randint(0, 3))]
        rule["from" if direction == "ingress" else "to"] = peers
    if chance.random() < 0.6:
        rule["ports"] = [_port(chance) for _ in range(chance.randint(0, 3))]
    return rule


def _peer(chance: random.Random) -> Wire:
    if chance.random() < 0.35:
        cidr = chance.choice(_BLOCKS)
        block: Wire = {"cidr": cidr}
        if cidr in _EXCEPT and chance.random() < 0.5:
            block["except"] = [chance.choice(_EXCEPT[cidr])]
        return {"ipBlock": block}
    peer: Wire = {}
    if chance.random() < 0.6:
        peer["podSelector"] = _selector(chance)
    if not peer or chance.random() < 0.5:
        peer["namespaceSelector"] = _selector(chance)
    return peer


def _port(chance: random.Random) -> Wire:
    port: Wire = {}
    if chance.random() < 0.7:
        port["protocol"] = chance.choice(_PROTOCOLS)
    kind = chance.random()
    if kind < 0.35:
        port["port"] = chance.choice(_PORT_NAMES)
    elif kind < 0.85:
        port["port"] = chance.choice(_NUMBERS)
        if chance.random() < 0.3:
            port["endPort"] = port["port"] + chance.choice((0, 1, 400))
    return port


def _cluster_policies(chance: random.Random) -> list[Wire]:
    found: list[Wire] = []
    priorities = chance.sample(range(20), 6)
    for index, priority in enumerate(priorities[: chance.choice((0, 0, 1, 2, 3))]):
        kind = chance.choice(("ClusterNetworkPolicy", "AdminNetworkPolicy"))
        spec: Wire = {"priority": priority, "subject": _subject(chance)}
        if kind == "ClusterNetworkPolicy":
            spec["tier"] = chance.choice(("Admin", "Baseline"))
        for direction in ("ingress", "egress"):
            if chance.random() < 0.7:
                spec[direction] = [_cluster_rule(chance, kind, direction) for _ in range(chance.randint(0, 3))]
        found.append({"kind": kind, "metadata": {"name": f"cp{index}"}, "spec": spec})
    if chance.random() < 0.2:
        kind = "BaselineAdminNetworkPolicy"
        rules = {direction: [_cluster_rule(chance, kind, direction)] for direction in ("ingress", "egress")}
        found.append({"kind": kind, "metadata": {"name": "default"}, "spec": {"subject": _subject(chance), **rules}})
    return found


def _subject(chance: random.Random) -> Wire:
    if chance.random() < 0.5:
        return {"namespaces": _selector(chance)}
    return {"pods": {"namespaceSelector": _selector(chance), "podSelector": _selector(chance)}}


def _cluster_rule(chance: random.Random, kind: str, direction: str) -> Wire:
    permit = "Accept" if kind == "ClusterNetworkPolicy" else "Allow"
    rule: Wire = {"action": chance.choice((permit, "Deny", "Pass"))}
    peers = [_cluster_peer(chance, direction) for _ in range(chance.randint(1, 3))]
    if direction == "egress" and rule["action"] == permit and chance.random() < 0.3:
        peers.append({"domainNames": chance.sample(_PATTERNS, chance.randint(1, 3))})
    rule["from" if direction == "ingress" else "to"] = peers
    addressed = any(key in peer for peer in peers for key in ("networks", "nodes", "domainNames"))
    if chance.random() < 0.6:
        field = "protocols" if kind == "ClusterNetworkPolicy" else "ports"
        rule[field] = [_cluster_port(chance, kind, named=not addressed) for _ in range(chance.randint(1, 3))]
    return rule


def _cluster_peer(chance: random.Random, direction: str) -> Wire:
    if chance.random() < 0.02:
        return {"planets": ["mars"]}
    kind = chance.random()
    if direction == "egress" and kind < 0.2:
        return {"nodes": chance.choice(({}, _selector(chance)))}
    if direction == "egress" and kind < 0.45:
        return {"networks": chance.sample(_BLOCKS, chance.randint(1, 2))}
    return _subject(chance)


def _cluster_port(chance: random.Random, kind: str, *, named: bool) -> Wire:
    protocol, number = chance.choice(_PROTOCOLS), chance.choice(_NUMBERS)
    span = {"start": number, "end": number + chance.choice((1, 400))}
    case = chance.random()
    if kind == "ClusterNetworkPolicy":
        if named and case < 0.25:
            return {"destinationNamedPort": chance.choice(_PORT_NAMES)}
        ports: Wire = {"number": number} if case < 0.6 else {"range": span}
        return {protocol.lower(): {} if case > 0.85 else {"destinationPort": ports}}
    if named and case < 0.25:
        return {"namedPort": chance.choice(_PORT_NAMES)}
    if case < 0.7:
        return {"portNumber": {"protocol": protocol, "port": number}}
    return {"portRange": {"protocol": protocol, **span}}
