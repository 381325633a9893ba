"""Hard constraints: whether a node may take a pod, and in which words it may not.

Pure. What depends on the pod alone is prepared once (`Filters`), so that each node costs a few look-ups. The words are those that people know
from `kubectl describe pod`. Source: KEP-624, KEP-895 (topology spread), KEP-3094 (taints in spread).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.cluster import Cluster, NodeState, Query
from fairlead.controllers.scheduler.facts import HostPort, Node, Pod, PodTerm, Spread

Cause = Literal["node", "pod-gone", "pod-there"]
"""What must change in the cluster before trying again can help: a node, a pod that goes, a pod that comes."""

UNSCHEDULABLE_TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node is out. `helpless`: removing pods from it would not help."""

    reasons: tuple[str, ...]
    helpless: bool
    causes: frozenset[Cause]


def _node(reason: str) -> Refusal:
    return Refusal((reason,), True, frozenset({"node"}))


_SPREAD = Refusal(
    ("node(s) didn't match pod topology spread constraints",), False, frozenset({"node", "pod-gone", "pod-there"})
)
_SPREAD_LABEL = _node("node(s) didn't match pod topology spread constraints (missing required label)")
_PORTS = Refusal(
    ("node(s) didn't have free ports for the requested pod ports",), False, frozenset({"node", "pod-gone"})
)
_NEAR = Refusal(("node(s) didn't match pod affinity rules",), True, frozenset({"node", "pod-there"}))
_FAR = Refusal(("node(s) didn't match pod anti-affinity rules",), False, frozenset({"node", "pod-gone"}))
_REPELLED = Refusal(
    ("node(s) didn't satisfy existing pods anti-affinity rules",), False, frozenset({"node", "pod-gone"})
)
_NAME = _node("node(s) didn't match the requested node name")
_CORDONED = _node("node(s) were unschedulable")
_AFFINITY = _node("node(s) didn't match Pod's node affinity/selector")


def domains(cluster: Cluster, topology_key: str, where: Mapping[str, int]) -> Counter[str]:
    """Return the number of pods per value of `topology_key`, given their number per node."""
    found: Counter[str] = Counter()
    for state in cluster.nodes():
        node = state.node
        if node is not None and node.name in where and topology_key in node.labels:
            found[node.labels[topology_key]] += where[node.name]
    return found


class Filters:
    """The hard constraints of one pod in the cluster as it is now."""

    def __init__(self, pod: Pod, cluster: Cluster) -> None:
        self._pod = pod
        self._cluster = cluster
        hard = [each for each in pod.spreads if each.hard]
        self._spreads = [(each, *self._spread(each, hard)) for each in hard]
        self._near = [
            (term.topology_key, domains(cluster, term.topology_key, cluster.counts(near_query(pod, cluster))))
            for term in pod.near
        ]
        self._first = (
            bool(pod.near)
            and not any(found for _, found in self._near)
            and all(cluster.meant_by(term, pod) for term in pod.near)
        )
        self._far = [
            (term.topology_key, domains(cluster, term.topology_key, cluster.counts(term_query(term, cluster))))
            for term in pod.far
        ]
        self._repelled = [(key, domains(cluster, key, where)) for key, where in cluster.repelled_from(pod)]

    def refusal(self, state: NodeState) -> Refusal | None:
        """Return why the node is out; None when it may take the pod."""
        pod, node = self._pod, state.node
        if node is None:
            return _NAME
        if pod.node and pod.node != node.name:
            return _NAME
        if node.unschedulable and not facts.tolerates(pod.tolerations, UNSCHEDULABLE_TAINT):
            return _CORDONED
        taint = facts.repelling_taint(pod, node)
        if taint is not None:
            return _node(f"node(s) had untolerated taint {{{taint[0]}: {taint[1]}}}")
        if not facts.fits_node(pod, node):
            return _AFFINITY
        if pod.host_ports and any(_collide(port, used) for port in pod.host_ports for used in state.ports):
            return _PORTS
        return self._short_of(state, node) or self._misplaced(node)

    def _short_of(self, state: NodeState, node: Node) -> Refusal | None:
        reasons = []
        helpless = False
        if len(state.pods) + 1 > node.allocatable.get("pods", 110):
            reasons.append("Too many pods")
        for name, wanted in self._pod.requests.items():
            offered = node.allocatable.get(name, 0)
            if wanted and wanted > offered - state.requested[name]:
                reasons.append(f"Insufficient {name}")
                helpless = helpless or wanted > offered
        return Refusal(tuple(reasons), helpless, frozenset({"node", "pod-gone"})) if reasons else None

    def _misplaced(self, node: Node) -> Refusal | None:
        for spread, matching, least, itself in self._spreads:
            value = node.labels.get(spread.topology_key)
            if value is None:
                return _SPREAD_LABEL
            if matching[value] + itself - least > spread.max_skew:
                return _SPREAD
        if self._near and not self._is_near(node):
            return _NEAR
        if any(found[node.labels[key]] for key, found in self._far if key in node.labels):
            return _FAR
        if any(found[node.labels[key]] for key, found in self._repelled if key in node.labels):
            return _REPELLED
        return None

    def _is_near(self, node: Node) -> bool:
        if any(key not in node.labels for key, _ in self._near):
            return False
        # The first of a group that wants to be together may go anywhere.
        return self._first or all(found[node.labels[key]] for key, found in self._near)

    def _spread(self, spread: Spread, hard: list[Spread]) -> tuple[Counter[str], int, int]:
        """Return the matching pods per domain, the least of them, and whether the pod counts itself."""
        pod, cluster = self._pod, self._cluster
        where = cluster.counts(spread_query(spread, pod))
        matching: Counter[str] = Counter()
        values: set[str] = set()
        for state in cluster.nodes():
            node = state.node
            if node is None or any(each.topology_key not in node.labels for each in hard):
                continue
            if spread.honors_affinity and not facts.fits_node(pod, node):
                continue
            if spread.honors_taints and facts.repelling_taint(pod, node) is not None:
                continue
            value = node.labels[spread.topology_key]
            values.add(value)
            matching[value] += where[node.name]
        least = min((matching[value] for value in values), default=0) if len(values) >= spread.min_domains else 0
        itself = spread.selector is not None and spread.selector.matches(pod.labels)
        return matching, least, int(itself)


def term_query(term: PodTerm, cluster: Cluster) -> Query:
    """Return the query of the pods that a term means."""
    return Query(((cluster.namespaces_of(term), term.selector),))


def near_query(pod: Pod, cluster: Cluster) -> Query:
    """Return the query of the pods that all required affinity terms of `pod` mean: as upstream, one pod must satisfy them together."""
    return Query(tuple((cluster.namespaces_of(term), term.selector) for term in pod.near))


def spread_query(spread: Spread, pod: Pod) -> Query:
    """Return the query of the pods that a spread constraint counts: of the same namespace, not terminating."""
    return Query(((frozenset({pod.namespace}), spread.selector),), terminating=False)


def _collide(one: HostPort, other: HostPort) -> bool:
    anywhere = ("0.0.0.0", "::")
    return one[1:] == other[1:] and (one[0] == other[0] or one[0] in anywhere or other[0] in anywhere)
