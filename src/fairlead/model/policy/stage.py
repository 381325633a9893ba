"""The policy rows of one node: what remembers, between one snapshot and the next.

Kept: the meaning of each policy (by object), members (by pod), verdict chains (by class of local pods) and groups (by meaning). A pod
that changes elsewhere costs the groups that it enters or leaves; a pod of this node its class. Equal worlds give equal rows whatever
came before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from fairlead.api.decode import reference
from fairlead.api.node import Node
from fairlead.api.pod import ContainerPort, Pod
from fairlead.base.domainnames import WILDCARD
from fairlead.model.policy.book import CLUSTER, TABLES, PolicyBook
from fairlead.model.policy.facts import Findings
from fairlead.model.policy.lower import Group, Lowered, closed, lower, port_names, resolve
from fairlead.model.policy.members import Identity, Member, Members
from fairlead.model.policy.read import NETWORK, Choices
from fairlead.model.policy.rules import ClusterTerm, Direction, NodesTerm, Policy
from fairlead.model.rows import Rows
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod
from fairlead.plan.tables import Key, Origin, Row
from fairlead.world.attachment import Attachment
from fairlead.world.snapshot import Snapshot

_INPUTS = (
    "pods",
    "namespaces",
    "nodes",
    "attachments",
    "settings",
    *TABLES,
)


class _Class(msgspec.Struct, frozen=True):
    """What pods with the same policies and the same numbers behind the ports' names are judged by."""

    egress: Lowered
    node_egress: Lowered
    ingress: Lowered
    origins: tuple[Origin, ...]
    chains: Mapping[Key, PolicyChain]
    causes: Mapping[tuple[str, Key], tuple[Origin, ...]]
    groups: Mapping[str, Group]

    @classmethod
    def of(cls, egress: Lowered, node_egress: Lowered, ingress: Lowered, origins: tuple[Origin, ...] = ()) -> _Class:
        """Return the class with what its chains need."""
        parts = (egress, node_egress, ingress)
        chains: dict[Key, PolicyChain] = {(chain.name,): chain for lowered in parts for chain in lowered.chains}
        causes = {("policy_chains", key): _causes(chain) for key, chain in chains.items()}
        groups = {group.name: group for lowered in parts for group in lowered.groups}
        return cls(egress, node_egress, ingress, origins, chains, causes, groups)


class PolicyStage:
    """Compiles the policies of one node's pods, one snapshot after the other."""

    def __init__(self, choices: Choices | None = None) -> None:
        self._choices = choices or Choices()
        self._read: tuple[object, ...] = ()
        self._nodes: Mapping[str, Node] = {}
        self._book = PolicyBook(self._choices)
        self._ranges: tuple[str, ...] = ()
        """Of pods and Services."""
        self._members = Members()
        self._here: list[tuple[Attachment, Pod | None]] = []
        """What is attached to this node."""
        self._governing: dict[Identity, tuple[Policy, ...]] = {}
        self._classes: dict[tuple[Identity, tuple[ContainerPort, ...]], _Class] = {}
        self._groups: dict[str, tuple[Group, PolicyGroup]] = {}
        self._concerned: dict[Identity, tuple[str, ...]] = {}
        """Identity → groups that its pods may be members of; of identities that were asked for."""
        self._tallies: dict[str, Counter[str]] = {}
        """Group → members, each with how many pods and nodes cause it."""
        self._rows = Rows()

    def __repr__(self) -> str:
        return f"<PolicyStage {self._book} {self._members} groups={len(self._groups)}>"

    def update(self, snapshot: Snapshot) -> Rows:
        """Return the rows for a snapshot; the same object when nothing that is read here changed."""
        read = tuple(getattr(snapshot, name) for name in _INPUTS)
        if len(read) == len(self._read) and all(a is b for a, b in zip(read, self._read, strict=True)):
            return self._rows
        before, self._read = dict(zip(_INPUTS, self._read, strict=False)), read
        touched = self._book.update(snapshot)
        here = [(each, _pod(snapshot, each)) for _, each in sorted(snapshot.attachments.items())]
        addresses = {(each.pod_namespace, each.pod_name): each.addresses for each, pod in here if pod is not None}
        changed = self._members.update(snapshot.pods, addresses, snapshot.namespaces, self._book.keys)
        if changed is None:
            touched = {CLUSTER}
        if touched:
            self._forget_classes(touched)
        nodes_changed = before.get("nodes") is not snapshot.nodes or before.get("settings") is not snapshot.settings
        self._ranges = (*snapshot.settings.cluster_cidrs, *snapshot.settings.service_cidrs)
        if changed is None or changed or nodes_changed:
            self._refresh_groups(changed, snapshot.nodes if nodes_changed else None)
        same = not touched and len(here) == len(self._here) and all(map(_is_same, here, self._here))
        self._here = here
        self._rows = self._regrouped() if same else self._compile(here)
        return self._rows

    def findings(self) -> Findings:
        """Return what the last snapshot's policies select and fail to resolve here. Costs time proportional to this node's rules."""
        selecting: set[Origin] = set()
        declared: dict[tuple[Origin, str], bool] = {}
        domains: set[tuple[Origin, str, str]] = set()
        for (identity, ports), found in self._classes.items():
            selecting.update(found.origins)
            for policy in self._governing[identity]:
                for rule_name, name, protocol in _ingress_names(policy):
                    at = _unresolved(rule_name, name, "selected pods")
                    declared[at] = declared.get(at, False) or bool(resolve(ports, name, protocol))
            for chain in found.chains.values():
                for rule in chain.rules:
                    known = self._groups.get(rule.peers)
                    if known is None:
                        continue
                    if known[0].kind == "names":
                        exact = (each for each in known[1].members if not each.startswith(WILDCARD))
                        domains.update((*_field(rule.counter), each) for each in exact)
                    elif known[0].kind == "ports" and not known[1].members:
                        names = sorted({name for name, _ in known[0].ports})
                        declared[_unresolved(rule.counter, ", ".join(names), "peers")] = False
        return Findings(
            frozenset(selecting),
            tuple(sorted(at for at, is_declared in declared.items() if not is_declared)),
            tuple(sorted(domains)),
        )

    def _forget_classes(self, namespaces: Collection[str]) -> None:
        """Forget who governs pods of these namespaces, CLUSTER for all."""
        if CLUSTER in namespaces:
            self._governing, self._classes = {}, {}
            return
        self._governing = {each: some for each, some in self._governing.items() if each[0] not in namespaces}
        self._classes = {at: each for at, each in self._classes.items() if at[0][0] not in namespaces}

    def _refresh_groups(
        self, changed: list[tuple[Member | None, Member | None]] | None, nodes: Mapping[str, Node] | None
    ) -> None:
        """Compute again what may have other members."""
        if nodes is not None:
            self._nodes = nodes
        if changed is None:
            self._concerned = {}
        concerned = {name for pair in changed or () for member in pair if member for name in self._groups_of(member)}
        for name, (group, row) in self._groups.items():
            of_nodes = any(isinstance(each, NodesTerm | ClusterTerm) for each in group.terms)
            if changed is None or (nodes is not None and of_nodes):
                self._groups[name] = (group, self._group_row(group, row))
                continue
            if name not in concerned:
                continue
            tally = self._tallies[name]
            touched = self._members.amend(tally, group, changed)
            if touched:
                self._groups[name] = (group, _amended(row, tally, touched))

    def _groups_of(self, member: Member) -> tuple[str, ...]:
        """Return the groups that a pod may be a member of: for an identity that is known, at the cost of a look-up."""
        found = self._concerned.get(member.identity)
        if found is None:
            found = tuple(
                name for name, (group, _) in self._groups.items() if self._members.concerns(group, member.identity)
            )
            self._concerned[member.identity] = found
        return found

    def _group_row(self, group: Group, old: PolicyGroup | None) -> PolicyGroup:
        tally = self._tallies[group.name] = self._members.of(group, self._nodes, self._ranges)
        members = tuple(sorted(tally))
        if old is not None and old.members == members:
            return old
        return PolicyGroup(name=group.name, kind=group.kind, members=members)

    def _regrouped(self) -> Rows:
        """Return the rows when nothing but members of groups can have changed."""
        old = self._rows.tables.get("policy_groups", {})
        groups: dict[Key, Row] = {(name,): row for name, (_, row) in self._groups.items()}
        if all(old.get(key) is row for key, row in groups.items()):
            return self._rows
        return msgspec.structs.replace(self._rows, tables={**self._rows.tables, "policy_groups": groups})

    def _compile(self, here: Collection[tuple[Attachment, Pod | None]]) -> Rows:
        pods: dict[Key, Row] = {}
        chains: dict[Key, Row] = {}
        origins: dict[tuple[str, Key], tuple[Origin, ...]] = {}
        needed: dict[str, Group] = {}
        used: dict[tuple[Identity, tuple[ContainerPort, ...]], _Class] = {}
        for attachment, pod in here:
            found = self._class(pod, used) if pod is not None else self._unknown(attachment)
            key = (attachment.host_ifname,)
            pods[key] = PolicyPod(
                host_ifname=attachment.host_ifname,
                egress=found.egress.start,
                node_egress=found.node_egress.start,
                ingress=found.ingress.start,
            )
            name = reference("Pod", attachment.pod_namespace, attachment.pod_name)
            origins["policy_pods", key] = (name, *found.origins)
            chains |= found.chains
            origins |= found.causes
            needed |= found.groups
        self._classes = used
        if needed.keys() != self._groups.keys():
            self._concerned = {}
        self._groups = {
            name: self._groups.get(name) or (group, self._group_row(group, None)) for name, group in needed.items()
        }
        self._tallies = {name: self._tallies[name] for name in self._groups}
        groups: dict[Key, Row] = {(name,): row for name, (_, row) in self._groups.items()}
        tables = {"policy_groups": groups, "policy_chains": chains, "policy_pods": pods}
        old = self._rows.tables
        kept = {name: old[name] if name in old and old[name] == rows else rows for name, rows in tables.items()}
        return Rows(kept, origins, self._book.complaints)

    def _class(self, pod: Pod, used: dict[tuple[Identity, tuple[ContainerPort, ...]], _Class]) -> _Class:
        identity = self._members.identity(pod)
        policies = self._governing.get(identity)
        if policies is None:
            candidates = self._book.of(identity[0])
            policies = tuple(each for each in candidates if self._members.is_in(each.subject, identity))
            self._governing[identity] = policies
        names = port_names(policies)
        ports = tuple(each for each in pod.ports if each.name in names)
        at = (identity, ports)
        found = used.get(at) or self._classes.get(at)
        if found is None:
            spare = self._choices.own_node_is_exempt
            found = _Class.of(
                lower("egress", policies, ports),
                lower("egress", policies, ports, spare_network=spare),
                lower("ingress", policies, ports),
                tuple(sorted(each.reference for each in policies)),
            )
        used[at] = found
        return found

    def _unknown(self, attachment: Attachment) -> _Class:
        """Return how to judge a pod of which the API server has not told yet: closed where any policy may govern it."""
        if not attachment.pod_name:
            return _Class.of(Lowered(), Lowered(), Lowered())
        namespace = attachment.pod_namespace
        possible = [each for each in self._book.of(namespace) if self._members.may_hold(each.subject, namespace)]

        def judged(direction: Direction, *, spare: bool = False) -> Lowered:
            governing = [each for each in possible if each.rules(direction) is not None]
            strict = [each for each in governing if not spare or each.tier != NETWORK]
            return closed(direction) if strict else Lowered()

        spare = self._choices.own_node_is_exempt
        return _Class.of(
            judged("egress"),
            judged("egress", spare=spare),
            judged("ingress"),
            tuple(sorted(each.reference for each in possible)),
        )


def _ingress_names(policy: Policy) -> list[tuple[str, str, str]]:
    """Return (rule, name, protocol) of the ports that ingress rules name."""
    return [
        (rule.name, port.name, port.protocol) for rule in policy.ingress or () for port in rule.ports or () if port.name
    ]


def _unresolved(rule: str, port: str, by: str) -> tuple[Origin, str]:
    """Return the policy of a rule (`Kind/namespace/policy/direction/index`), and what is missing."""
    policy, field = _field(rule)
    return policy, f"{field}: port {port} is declared by none of the {by}"


def _field(rule: str) -> tuple[Origin, str]:
    """Return the policy of a rule, and its field there."""
    policy, direction, index = rule.rsplit("/", 2)
    return policy, f"spec.{direction}[{index}]"


def _amended(row: PolicyGroup, tally: Counter[str], touched: set[str]) -> PolicyGroup:
    """Return the row with those of `touched` that the tally counts and without the others; the same when nothing differs."""
    members = list(row.members)
    differs = False
    for text in touched:
        at = bisect_left(members, text)
        is_there = at < len(members) and members[at] == text
        if tally[text] > 0:
            if not is_there:
                members.insert(at, text)
                differs = True
        else:
            del tally[text]
            if is_there:
                del members[at]
                differs = True
    return msgspec.structs.replace(row, members=tuple(members)) if differs else row


def _is_same(one: tuple[Attachment, Pod | None], other: tuple[Attachment, Pod | None]) -> bool:
    return one[0] is other[0] and one[1] is other[1]


def _pod(snapshot: Snapshot, attachment: Attachment) -> Pod | None:
    """Return the pod behind an attachment; None when it is not known, or by another uid (it was made anew)."""
    pod = snapshot.pods.get((attachment.pod_namespace, attachment.pod_name))
    if pod is None or (attachment.pod_uid and pod.metadata.uid and attachment.pod_uid != pod.metadata.uid):
        return None
    return pod


def _causes(chain: PolicyChain) -> tuple[Origin, ...]:
    return tuple(sorted({"/".join(rule.counter.split("/")[:3]) for rule in chain.rules if "/" in rule.counter}))
