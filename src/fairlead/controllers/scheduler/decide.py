"""One decision: the node for a pod, or the sentence that says why there is none. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fairlead.controllers.scheduler.cluster import Cluster
from fairlead.controllers.scheduler.facts import Pod
from fairlead.controllers.scheduler.filters import Cause, Filters, Refusal
from fairlead.controllers.scheduler.scores import best


@dataclass(frozen=True, slots=True)
class Placed:
    """The pod goes to `node`."""

    node: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """No node takes the pod; a change of one of `causes` may alter that."""

    message: str
    causes: frozenset[Cause]


def decide(pod: Pod, cluster: Cluster) -> Placed | Rejected:
    """Return where `pod` goes. Cost grows with the number of nodes and of domains, not with that of pods."""
    states = cluster.nodes()
    if not states:
        return Rejected("no nodes available to schedule pods", frozenset({"node"}))
    filters = Filters(pod, cluster)
    feasible = []
    refusals: list[Refusal] = []
    for state in states:
        refusal = filters.refusal(state)
        if refusal is None:
            feasible.append(state)
        else:
            refusals.append(refusal)
    if feasible:
        chosen = best(pod, cluster, feasible).node
        assert chosen is not None
        return Placed(chosen.name)
    causes = frozenset(cause for refusal in refusals for cause in refusal.causes)
    return Rejected(explain(len(states), refusals), causes)


def explain(nodes: int, refusals: list[Refusal]) -> str:
    """Return the message of a FailedScheduling event: the number of nodes for each reason, sorted by the text."""
    reasons = Counter(reason for refusal in refusals for reason in refusal.reasons)
    words = sorted(f"{count} {reason}" for reason, count in reasons.items())
    helpless = sum(refusal.helpless for refusal in refusals)
    hopes = []
    if helpless:
        hopes.append(f"{helpless} Preemption is not helpful for scheduling")
    if nodes - helpless:
        hopes.append(f"{nodes - helpless} No preemption victims found for incoming pod")
    prefix = f"0/{nodes} nodes are available: "
    return f"{prefix}{', '.join(words)}. preemption: {prefix}{', '.join(sorted(hopes))}."
