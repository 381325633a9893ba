"""Policy as one rule for each pair of a pod and a permitted peer, as text for nft(8): the peer of our benchmark.

Made from our own rows, so that it means the same for new connections over IPv4. It must never be loaded where real traffic runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.plan.plan import Plan
from fairlead.plan.policy import DENY, PolicyChain, PolicyGroup, PolicyPod, PolicyRule

PEER = "a rule for each pair"


def as_pairs(plan: Plan) -> tuple[str, int]:
    """Return the text that loads all pods' ingress rules into an empty namespace, and how many rules there are."""
    pods = [row for row in plan.table("policy_pods").values() if isinstance(row, PolicyPod) and row.ingress]
    lines = ["table ip pairs {"]
    rules = 0
    for pod in pods:
        found = list(_rules(plan, pod))
        rules += len(found)
        lines += [f"  chain pod-{pod.host_ifname} {{", *(f"    {rule}" for rule in found), "  }"]
    verdicts = ", ".join(f'"{pod.host_ifname}" : jump pod-{pod.host_ifname}' for pod in pods)
    lines += [
        "  map pods { type ifname : verdict; elements = { " + verdicts + " } }",
        "  chain forward {",
        "    type filter hook forward priority filter;",
        "    ct state established,related accept",
        "    oifname vmap @pods",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n", rules


def one_more(plan: Plan, number: int) -> str:
    """Return the text by which one more pod becomes a permitted peer of every pod that permits any."""
    pods = [row for row in plan.table("policy_pods").values() if isinstance(row, PolicyPod) and row.ingress]
    rule = f"ip saddr 11.0.{number >> 8}.{number & 255} tcp dport 8080 accept"
    return "".join(f"insert rule ip pairs pod-{pod.host_ifname} {rule}\n" for pod in pods)


def _rules(plan: Plan, pod: PolicyPod) -> Iterator[str]:
    chain = plan.table("policy_chains")[(pod.ingress,)]
    assert isinstance(chain, PolicyChain)
    for rule in chain.rules:
        verdict = "drop" if rule.verdict == DENY else "accept"
        ports = f"{rule.protocol} dport {rule.first}-{rule.last} " if rule.last else ""
        for peer in _peers(plan, rule):
            yield f"{peer}{ports}{verdict}"


def _peers(plan: Plan, rule: PolicyRule) -> Iterator[str]:
    if not rule.peers:
        yield ""
        return
    group = plan.table("policy_groups")[(rule.peers,)]
    assert isinstance(group, PolicyGroup)
    for member in group.members:
        if ":" not in member:
            yield f"ip saddr {member} "
