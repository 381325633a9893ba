"""Preferences: which of the nodes that may take a pod is best. Pure and deterministic.

Each preference gives 0 to 100 points per node, then weighs as in the default profile of Kubernetes: taints 3; node affinity, spread and pod
affinity 2; resources 1 each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairlead.controllers.scheduler import facts
from fairlead.controllers.scheduler.cluster import Cluster, NodeState, Query
from fairlead.controllers.scheduler.facts import Node, Pod
from fairlead.controllers.scheduler.filters import domains, spread_query, term_query

_HOSTNAME = "kubernetes.io/hostname"
_ZONE = "topology.kubernetes.io/zone"

_DEFAULT_SPREAD = ((_HOSTNAME, 3), (_ZONE, 5))
"""Topology key and maximal skew by which the pods of one owner are spread if they say nothing themselves."""


def best(pod: Pod, cluster: Cluster, feasible: Sequence[NodeState]) -> NodeState:
    """Return the best of the feasible nodes; of equals the one with the fewest pods, then the first."""
    if len(feasible) == 1:
        return feasible[0]
    nodes = [state.node for state in feasible if state.node is not None]
    totals = [0.0] * len(feasible)
    for weight, points in (
        (3, _taints(pod, nodes)),
        (2, _node_preferences(pod, nodes)),
        (2, _spread(pod, cluster, nodes)),
        (2, _affinity(pod, cluster, nodes)),
    ):
        if points is not None:
            totals = [total + weight * each for total, each in zip(totals, points, strict=True)]
    totals = [total + _resources(pod, state) for total, state in zip(totals, feasible, strict=True)]
    index = min(range(len(feasible)), key=lambda at: (-round(totals[at], 6), len(feasible[at].pods), at))
    return feasible[index]


def _taints(pod: Pod, nodes: Sequence[Node]) -> list[float] | None:
    counts = [
        sum(taint[2] == "PreferNoSchedule" and not facts.tolerates(pod.tolerations, taint) for taint in node.taints)
        for node in nodes
    ]
    most = max(counts)
    return [100 - 100 * count / most for count in counts] if most else None


def _node_preferences(pod: Pod, nodes: Sequence[Node]) -> list[float] | None:
    if not pod.node_preferences:
        return None
    sums = [sum(weight for weight, term in pod.node_preferences if term.matches(node)) for node in nodes]
    most = max(sums)
    return [100 * each / most for each in sums] if most else None


def _spread(pod: Pod, cluster: Cluster, nodes: Sequence[Node]) -> list[float] | None:
    if pod.spreads:
        wishes = [(each.topology_key, each.max_skew, spread_query(each, pod)) for each in pod.spreads if not each.hard]
    elif pod.owner:
        wishes = [(key, skew, Query(owner=pod.owner, terminating=False)) for key, skew in _DEFAULT_SPREAD]
        # A default must not push pods to nodes that merely lack a label.
        wishes = [wish for wish in wishes if all(wish[0] in node.labels for node in nodes)]
    else:
        wishes = []
    if not wishes:
        return None
    crowd: list[float | None] = [0.0] * len(nodes)
    for key, skew, query in wishes:
        where = cluster.counts(query)
        per_domain = where if key == _HOSTNAME else domains(cluster, key, where)
        values = {node.labels[key] for node in nodes if key in node.labels}
        weight = math.log(len(values) + 2)
        for at, node in enumerate(nodes):
            sofar = crowd[at]
            if sofar is None or key not in node.labels:
                crowd[at] = None
                continue
            number = per_domain[node.name if key == _HOSTNAME else node.labels[key]]
            crowd[at] = sofar + number * weight + skew - 1
    known = [each for each in crowd if each is not None]
    if not known:
        return None
    least, most = min(known), max(known)
    if not most:
        return [0.0 if each is None else 100.0 for each in crowd]
    return [0.0 if each is None else 100 * (most + least - each) / most for each in crowd]


def _affinity(pod: Pod, cluster: Cluster, nodes: Sequence[Node]) -> list[float] | None:
    sums = [0.0] * len(nodes)
    touched = False
    wishes = [
        (sign * weight, term.topology_key, cluster.counts(term_query(term, cluster)))
        for sign, terms in ((1, pod.near_preferences), (-1, pod.far_preferences))
        for weight, term in terms
    ]
    for weight, key, where in (*wishes, *cluster.attracted_by(pod)):
        per_domain = domains(cluster, key, where)
        if not per_domain:
            continue
        touched = True
        for at, node in enumerate(nodes):
            value = node.labels.get(key)
            if value is not None:
                sums[at] += weight * per_domain[value]
    if not touched:
        return None
    least, most = min(sums), max(sums)
    return [100 * (each - least) / (most - least) for each in sums] if most > least else None


def _resources(pod: Pod, state: NodeState) -> float:
    """Return points for what stays free, and for CPU and memory being used alike."""
    node = state.node
    if node is None:
        return 0.0
    shares = []
    for name in ("cpu", "memory"):
        offered = node.allocatable.get(name, 0)
        used = state.assumed[name] + pod.assumed.get(name, 0)
        shares.append(min(used / offered, 1.0) if offered else 1.0)
    free = sum(1 - share for share in shares) / len(shares)
    return 100 * free + 100 * (1 - abs(shares[0] - shares[1]) / 2)
