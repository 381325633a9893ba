"""The scheduler's picture of the cluster: what runs where, kept by small changes so that one more pod costs little.

Pure bookkeeping without I/O. Counts of selected pods per node are remembered by query and corrected with each pod that comes or goes: the
cost of a change grows with the number of different queries, that of a decision with the number of nodes, neither with the number of pods.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fairlead.base.selectors import LabelSelector
from fairlead.controllers.scheduler.facts import HostPort, Node, Pod, PodTerm

K = TypeVar("K")

_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class Query:
    """Pods that satisfy every part (namespaces or None for all, selector), with `owner` where given; terminating ones if wanted."""

    parts: tuple[tuple[frozenset[str] | None, LabelSelector | None], ...] = ()
    owner: str = ""
    terminating: bool = True

    def matches(self, pod: Pod) -> bool:
        """Tell whether the pod is meant."""
        if pod.terminating and not self.terminating:
            return False
        if self.owner and pod.owner != self.owner:
            return False
        for namespaces, selector in self.parts:
            if namespaces is not None and pod.namespace not in namespaces:
                return False
            if selector is None or not selector.matches(pod.labels):
                return False
        return True


class NodeState:
    """One node with the sums of what its pods use."""

    __slots__ = ("assumed", "node", "pods", "ports", "requested")

    def __init__(self, node: Node | None) -> None:
        self.node = node
        """None while pods are known on a node that is not."""
        self.pods: dict[str, Pod] = {}
        self.requested: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self.ports: Counter[HostPort] = Counter()


class Cluster:
    """Nodes, pods on them, namespaces' labels."""

    def __init__(self) -> None:
        self._states: dict[str, NodeState] = {}
        self._where: dict[str, tuple[str, Pod]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._counts: OrderedDict[Query, Counter[str]] = OrderedDict()
        self._terms: dict[str, dict[PodTerm, Counter[str]]] = {"far": {}, "near": {}}
        self._weighted: dict[tuple[int, PodTerm], Counter[str]] = {}
        self._nodes: list[NodeState] | None = None

    def __repr__(self) -> str:
        return f"<Cluster nodes={len(self.nodes())} pods={len(self._where)} queries={len(self._counts)}>"

    def nodes(self) -> list[NodeState]:
        """Return the nodes in the order of their names, shorter ones first (node-2 before node-10)."""
        if self._nodes is None:
            known = [state for state in self._states.values() if state.node is not None]
            self._nodes = sorted(
                known, key=lambda state: (len(state.node.name), state.node.name) if state.node else (0, "")
            )
        return self._nodes

    def set_node(self, name: str, node: Node | None) -> None:
        """Learn of a node, or that it is gone."""
        self._nodes = None
        state = self._states.get(name)
        if state is None:
            if node is not None:
                self._states[name] = NodeState(node)
            return
        state.node = node
        if node is None and not state.pods:
            del self._states[name]

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Learn the labels of a namespace, or that it is gone (None)."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels

    def node_of(self, uid: str) -> str | None:
        """Return the node on which the pod counts."""
        found = self._where.get(uid)
        return found[0] if found else None

    def place(self, pod: Pod, node: str) -> None:
        """Count `pod` on `node`, in place of what was known of it."""
        known = self._where.get(pod.uid)
        if known is not None:
            if known == (node, pod):
                return
            self.remove(pod.uid)
        self._where[pod.uid] = node, pod
        state = self._states.setdefault(node, NodeState(None))
        state.pods[pod.uid] = pod
        self._count(state, node, pod, 1)

    def remove(self, uid: str) -> bool:
        """Forget the pod; tell whether it was known."""
        found = self._where.pop(uid, None)
        if found is None:
            return False
        node, pod = found
        state = self._states[node]
        del state.pods[uid]
        self._count(state, node, pod, -1)
        if state.node is None and not state.pods:
            del self._states[node]
        return True

    def counts(self, query: Query) -> Counter[str]:
        """Return node → number of pods that `query` means; must not be changed."""
        counts = self._counts.get(query)
        if counts is None:
            counts = Counter(node for node, pod in self._where.values() if query.matches(pod))
            self._counts[query] = counts
            if len(self._counts) > _REMEMBERED:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end(query)
        return counts

    def namespaces_of(self, term: PodTerm) -> frozenset[str] | None:
        """Return the namespaces that a term means now; None for all."""
        if term.namespace_selector is None:
            return term.namespaces
        if not term.namespace_selector.requirements:
            return None
        selector = term.namespace_selector
        return term.namespaces | {name for name, labels in self._namespaces.items() if selector.matches(labels)}

    def meant_by(self, term: PodTerm, pod: Pod) -> bool:
        """Tell whether `term` means `pod`."""
        if term.selector is None or not term.selector.matches(pod.labels):
            return False
        namespaces = self.namespaces_of(term)
        return namespaces is None or pod.namespace in namespaces

    def repelled_from(self, pod: Pod) -> Iterable[tuple[str, Counter[str]]]:
        """Yield (topology key, node → pods) of the running pods that demand to be far from `pod`."""
        for term, where in self._terms["far"].items():
            if self.meant_by(term, pod):
                yield term.topology_key, where

    def attracted_by(self, pod: Pod) -> Iterable[tuple[int, str, Counter[str]]]:
        """Yield (weight, topology key, node → pods) of the running pods that would like to be near (or, negative, far from) `pod`."""
        for (weight, term), where in self._weighted.items():
            if self.meant_by(term, pod):
                yield weight, term.topology_key, where
        for term, where in self._terms["near"].items():
            if self.meant_by(term, pod):
                yield 1, term.topology_key, where

    def _count(self, state: NodeState, node: str, pod: Pod, sign: int) -> None:
        for sums, amounts in ((state.requested, pod.requests), (state.assumed, pod.assumed)):
            for name, number in amounts.items():
                sums[name] += sign * number
        for port in pod.host_ports:
            state.ports[port] += sign
            if not state.ports[port]:
                del state.ports[port]
        for query, counts in self._counts.items():
            if query.matches(pod):
                _bump(counts, node, sign)
        for kind, terms in (("far", pod.far), ("near", pod.near)):
            for term in terms:
                _bump_in(self._terms[kind], term, node, sign)
        for weight, term in pod.near_preferences:
            _bump_in(self._weighted, (weight, term), node, sign)
        for weight, term in pod.far_preferences:
            _bump_in(self._weighted, (-weight, term), node, sign)


def _bump(counts: Counter[str], node: str, sign: int) -> None:
    counts[node] += sign
    if not counts[node]:
        del counts[node]


def _bump_in(table: dict[K, Counter[str]], key: K, node: str, sign: int) -> None:
    counts = table.setdefault(key, Counter())
    _bump(counts, node, sign)
    if not counts:
        del table[key]
