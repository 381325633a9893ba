"""The policy rows of the plan, read as the kernel is meant to read them; and worlds to compile them from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.api.decode import CLUSTER_SCOPED, decode
from fairlead.model.policy.stage import PolicyStage
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod
from fairlead.plan.tables import Key, Row
from fairlead.verify.oracle.cluster import Cluster, Place, place
from fairlead.world.attachment import Attachment
from fairlead.world.events import AttachmentChanged, KindReplaced
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Tables = Mapping[str, Mapping[Key, Row]]


def host_ifname(address: str) -> str:
    """The interface of the pod with this IPv4 address."""
    return f"fl{int(ipaddress.IPv4Address(address)):012x}"


def events(cluster: Cluster) -> list[KindReplaced]:
    objects: dict[str, dict[tuple[str, str], Any]] = {
        kind: {}
        for kind in ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
    }
    for policy in cluster.policies:
        objects[policy["kind"]][_key(policy["kind"], policy)] = decode(policy["kind"], policy)
    for kind, found in (("Pod", cluster.pods), ("Namespace", cluster.namespaces), ("Node", cluster.nodes)):
        objects[kind] = {_key(kind, each): decode(kind, each) for each in found}
    return [KindReplaced(kind, found) for kind, found in objects.items()]


def snapshot_of(cluster: Cluster, node: str, start: Snapshot | None = None) -> Snapshot:
    """The world as `node` knows it, with its pods attached."""
    before = start or Snapshot(settings=Settings(node=node))
    attached: dict[tuple[str, str], Attachment] = {}
    for pod in cluster.pods:
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        ips = [each["ip"] for each in status.get("podIPs") or ()]
        ended = status.get("phase") in ("Succeeded", "Failed")
        if spec.get("nodeName") != node or spec.get("hostNetwork") or not ips or ended:
            continue
        attachment = Attachment(
            container_id=ips[0],
            ifname="eth0",
            netns="",
            host_ifname=host_ifname(ips[0]),
            mac="",
            addresses=tuple(ips),
            pod_namespace=metadata["namespace"],
            pod_name=metadata["name"],
        )
        attached[attachment.key] = attachment
    gone = [AttachmentChanged(key, None) for key in before.attachments if key not in attached]
    come = [AttachmentChanged(key, each) for key, each in attached.items() if before.attachments.get(key) != each]
    return fold(before, [*events(cluster), *gone, *come])


def tables_of(cluster: Cluster) -> dict[str, Tables]:
    """Node → its policy rows."""
    nodes = [each["metadata"]["name"] for each in cluster.nodes]
    return {node: PolicyStage().update(snapshot_of(cluster, node)).tables for node in nodes}


def passes(
    tables: Mapping[str, Tables],
    source: Place,
    target: Place,
    protocol: str,
    port: int,
    family: int,
    resolved: Mapping[str, Sequence[str]] | None = None,
) -> bool:
    """Tell whether the nodes of both ends let a connection through, when the resolver has answered `resolved`."""
    named = resolved or {}
    client, server = source.address(family), target.address(family)
    assert client is not None and server is not None
    if source.pod is not None and source.pod is target.pod:
        return True
    if source.pod is not None:
        own = tables[source.host]
        pod = _pod(own, source)
        local = target.node is not None and target.host == source.host
        if not _allows(own, pod.node_egress if local else pod.egress, server, server, protocol, port, named):
            return False
    if target.pod is not None and not (source.node is not None and source.host == target.host):
        own = tables[target.host]
        return _allows(own, _pod(own, target).ingress, client, server, protocol, port, named)
    return True


def _pod(tables: Tables, end: Place) -> PolicyPod:
    row = tables["policy_pods"][(host_ifname(end.addresses[0]),)]
    assert isinstance(row, PolicyPod)
    return row


def _allows(
    tables: Tables, name: str, peer: str, server: str, protocol: str, port: int, named: Mapping[str, Sequence[str]]
) -> bool:
    if not name:
        return True
    chain = tables["policy_chains"][(name,)]
    assert isinstance(chain, PolicyChain)
    for rule in chain.rules:
        if rule.protocol and rule.protocol != protocol.lower():
            continue
        if rule.last and not rule.first <= port <= rule.last:
            continue
        ends = peer, f"{server} {protocol.lower()} {port}", named
        if rule.peers and not _holds(tables, rule.peers, *ends):
            continue
        if rule.spared and _holds(tables, rule.spared, *ends):
            continue
        if rule.verdict in ("allow", "deny"):
            return rule.verdict == "allow"
        return _allows(tables, rule.verdict, peer, server, protocol, port, named)
    return True


def _holds(tables: Tables, name: str, peer: str, port: str, named: Mapping[str, Sequence[str]]) -> bool:
    group = tables["policy_groups"][(name,)]
    assert isinstance(group, PolicyGroup)
    match group.kind:
        case "addresses":
            return peer in group.members
        case "ports":
            return port in group.members
        case "names":
            return any(
                name == each or (each.startswith("*.") and name.endswith(each[1:]))
                for name, addresses in named.items()
                if peer in addresses
                for each in group.members
            )
        case _:
            return any(ipaddress.ip_address(peer) in ipaddress.ip_network(each) for each in group.members)


def end(cluster: Cluster, name: str) -> Place:
    found = place(cluster, name)
    assert found is not None, name
    return found


def _key(kind: str, obj: Mapping[str, Any]) -> tuple[str, str]:
    metadata = obj["metadata"]
    return "" if kind in CLUSTER_SCOPED else metadata["namespace"], metadata["name"]


def groups(tables: Tables) -> Iterable[PolicyGroup]:
    return [row for row in tables.get("policy_groups", {}).values() if isinstance(row, PolicyGroup)]
