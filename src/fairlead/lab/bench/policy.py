"""How long network policy takes: from a world to rows, from rows into the kernel, and for a connection that is judged.

Ours against a ruleset with one rule for each pair of a pod and a permitted peer, which is what a translation without sets comes to; it is
made from the same rows and loaded by nft(8) in the same run. It must never touch the namespace that it was started in.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from fairlead.drivers.nft.policy.kernel import PolicyKernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.lab.bench.places import namespace, nft
from fairlead.lab.bench.policy_path import Path, a_permitted_client
from fairlead.lab.bench.policy_peer import PEER, as_pairs, one_more
from fairlead.lab.bench.policy_world import World, changed
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.lab.bench.sync import against, without_collection
from fairlead.model.compile import Compiler
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyChain
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.snapshot import Snapshot

Step = Callable[[str], contextlib.AbstractContextManager[None]]

_CHANGES = 300
_PEER_CHANGES = 5
_CONNECTIONS = 1000
_OFFSET = 60_000
"""Numbers of pods that are added begin here: no world is as large."""


def run(*, pods: int, policies: int, local: int, rounds: int, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError when a ruleset is refused."""
    rows = list(_measure(World(pods=pods, policies=policies, local=local), rounds, step))
    return Report(name="policy", machine=machine(), rows=tuple(rows))


def _measure(world: World, rounds: int, step: Step) -> Iterator[Measurement]:
    case = f"{world.pods} pods, {world.policies} policies, {world.local} pods here"
    own, peer = _Own(world), _Peer()
    connections: dict[str, list[float]] = {"none": [], "ours": [], PEER: []}
    for number in range(1, rounds + 1):
        with step(f"round {number} of {rounds}: ours"):
            plan = own.measure()
        with step(f"round {number} of {rounds}: a rule for each pair"):
            peer.measure(plan)
        with step(f"round {number} of {rounds}: connections"):
            for name, found in _connect(plan).items():
                connections[name] += found
    yield Measurement(case=case, metric="compile", value=median(own.compiles), unit="s")
    yield Measurement(case=case, metric="load", value=median(own.loads), unit="s")
    yield against(case, "load", median(peer.loads), "s", PEER, median(own.loads))
    yield Measurement(case=case, metric="rules", value=own.rules, unit="rules")
    yield against(case, "rules", peer.rules, "rules", PEER, own.rules)
    for what, times in own.changes.items():
        parts = {
            "decide": times.decide,
            "kernel": times.program,
            "kernel, transaction": times.transaction,
            "kernel, processor time": times.processor,
        }
        for part, found in parts.items():
            for share in (0.5, 0.99):
                metric = f"{what}, p{share * 100:.0f}: {part}"
                yield Measurement(case=case, metric=metric, value=quantile(found, share) * 1e3, unit="ms")
    ours = median(own.changes[_ADDED].program) * 1e3
    yield against(case, f"{_ADDED}, p50: kernel", median(peer.changes) * 1e3, "ms", PEER, ours)
    without = median(connections["none"])
    yield Measurement(case=case, metric="connection without policies, p50", value=without * 1e6, unit="us")
    added = max(median(connections["ours"]) - without, 1e-9)
    yield Measurement(case=case, metric="added to a connection, p50", value=added * 1e6, unit="us")
    theirs = max(median(connections[PEER]) - without, 1e-9)
    yield against(case, "added to a connection, p50", theirs * 1e6, "us", PEER, added * 1e6)


_ADDED, _LABEL, _POLICY = "one pod added elsewhere", "label of a pod of this node", "one policy changed"


class _Times:
    """Seconds of each change: until there is a plan, and from there until it is in force."""

    def __init__(self) -> None:
        self.decide: list[float] = []
        self.program: list[float] = []
        self.transaction: list[float] = []
        """Of `program`, from the messages to the kernel's answer."""
        self.processor: list[float] = []
        """Of `program`, what this process and the kernel on its behalf were busy: what others do on the machine is not in it."""


class _Own:
    def __init__(self, world: World) -> None:
        self._world = world
        self.compiles: list[float] = []
        self.loads: list[float] = []
        self.rules = 0
        self.changes: Mapping[str, _Times] = {what: _Times() for what in (_ADDED, _LABEL, _POLICY)}

    def measure(self) -> Plan:
        """Run one round in a namespace of its own; return the plan that it began with."""
        snapshot, compiler = self._world.snapshot(), Compiler()
        begun = time.perf_counter()
        plan = compiler.compile(snapshot).plan
        self.compiles.append(time.perf_counter() - begun)
        chains = plan.table("policy_chains").values()
        self.rules = sum(len(row.rules) for row in chains if isinstance(row, PolicyChain))
        with namespace("ours") as path:
            kernel = PolicyKernel(NftSocket(path))
            try:
                kernel.probe()
                begun = time.perf_counter()
                kernel.apply(plan)
                self.loads.append(time.perf_counter() - begun)
                self._change(kernel, compiler, snapshot)
            finally:
                kernel.close()
        return plan

    def _change(self, kernel: PolicyKernel, compiler: Compiler, snapshot: Snapshot) -> None:
        for what, times in self.changes.items():
            with without_collection():
                for number in range(_CHANGES):
                    event = self._event(what, number)
                    begun = time.perf_counter()
                    snapshot = fold(snapshot, [event])
                    plan = compiler.compile(snapshot).plan
                    decided, busy = time.perf_counter(), time.thread_time()
                    outcome = kernel.apply(plan)
                    if outcome.applied:
                        # Pods that no policy of this node speaks of cost the kernel nothing and would flatter.
                        times.processor.append(time.thread_time() - busy)
                        times.program.append(time.perf_counter() - decided)
                        times.transaction.append(kernel.last_transaction_s)
                    times.decide.append(decided - begun)

    def _event(self, what: str, number: int) -> ObjectChanged:
        world = self._world
        if what == _ADDED:
            return changed("Pod", world.pod(_OFFSET + number))
        if what == _LABEL:
            return changed("Pod", world.pod(number % world.local, app=number + 1))
        # Policies that govern all pods of their namespaces, and so some of this node.
        return changed("NetworkPolicy", world.policy(number % min(world.policies, world.local), port=9000 + number))


class _Peer:
    def __init__(self) -> None:
        self.loads: list[float] = []
        self.changes: list[float] = []
        self.rules = 0

    def measure(self, plan: Plan) -> None:
        """Load what `plan` means as pairs, and add one peer to each pod that has any."""
        text, self.rules = as_pairs(plan)
        with namespace("peer") as path:
            self.loads.append(nft(path, text))
            for number in range(_PEER_CHANGES):
                self.changes.append(nft(path, one_more(plan, number)))


def _connect(plan: Plan) -> dict[str, Sequence[float]]:
    """Return the seconds of single connections to a pod through a node without policies, with ours, and with the peer's rules."""
    client = a_permitted_client(plan)
    with Path("none", client) as none, Path("ours", client) as ours, Path("peer", client) as pairs:
        kernel = PolicyKernel(NftSocket(ours.node))
        try:
            kernel.apply(plan)
            nft(pairs.node, as_pairs(plan)[0])
            found: dict[str, list[float]] = {"none": [], "ours": [], PEER: []}
            for _ in range(_CONNECTIONS):
                for name, path in (("none", none), ("ours", ours), (PEER, pairs)):
                    found[name].append(path.connect())
            return {name: times[_CONNECTIONS // 10 :] for name, times in found.items()}
        finally:
            kernel.close()
