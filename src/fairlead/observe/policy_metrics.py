"""What a node's policies decided, as samples for Prometheus (text format 0.0.4). It must do no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.plan.plan import Plan
from fairlead.plan.policy import ALLOW, DENY, PolicyChain

_NAME = "fairlead_policy_judged_packets_total"
_DROPPED = "fairlead_dropped_packets_total"


def render(counts: Mapping[str, int], plan: Plan | None) -> str:
    """Return the samples; `counts` maps what decided to packets: a permitted connection counts once for each judgement."""
    verdicts = _verdicts(plan) if plan is not None else {}
    lines = [
        f"# HELP {_NAME} Packets that a rule of a policy decided about; a permitted connection counts once for each judgement",
        f"# TYPE {_NAME} counter",
    ]
    other = [f"# HELP {_DROPPED} Packets dropped for other reasons than a policy", f"# TYPE {_DROPPED} counter"]
    for name, packets in sorted(counts.items()):
        parts = name.split("/")
        if len(parts) < 4:
            other.append(f'{_DROPPED}{{reason="{name}"}} {packets}')
            continue
        kind, namespace, policy, direction, *rule = parts
        labels = {
            "kind": kind,
            "namespace": namespace,
            "policy": policy,
            "direction": direction,
            "rule": rule[0] if rule else "",
            "verdict": verdicts.get(name, "passed"),
        }
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        lines.append(f"{_NAME}{{{text}}} {packets}")
    return "\n".join((*lines, *other)) + "\n"


def _verdicts(plan: Plan) -> dict[str, str]:
    known = {ALLOW: "allowed", DENY: "denied"}
    return {
        rule.counter: known[rule.verdict]
        for row in plan.table("policy_chains").values()
        if isinstance(row, PolicyChain)
        for rule in row.rules
        if rule.counter and rule.verdict in known
    }
