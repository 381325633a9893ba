"""How long the kernel takes to be told of Services: ours by netlink, against kube-proxy's shapes by nft(8).

Each measurement runs in a network namespace of its own; rounds of the peers and ours alternate, and medians are reported, so that a
machine that is slow for a while is slow for all. It must never touch the namespace that it was started in.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from fairlead.base.errors import UserError
from fairlead.drivers.nft.kernel import Kernel
from fairlead.drivers.nft.socket import NftSocket
from fairlead.lab.bench.peers import ChainPerEndpoint, OneChainPerService, Peer
from fairlead.lab.bench.places import namespace, nft, pod_address
from fairlead.lab.bench.processes import resident_mb
from fairlead.lab.bench.report import Measurement, Report, machine, quantile
from fairlead.plan.plan import Plan
from fairlead.plan.tables import ClusterAddress, Endpoint, Key, Row, ServicePort, key_of

ENDPOINTS = 10
_LOADS = 3
"""Full loads of ours in each round: they are so short that one alone would be what the machine did in that moment."""
_CHANGES = 2000
_PEER_CHANGES = 5
_BULK = 1000
_API_CHANGES = 500
_OLD_SHAPE_LIMIT = 1000
"""Services up to which the older shape is measured: its time grows with the square of their number, 200 s for 10,000."""

Step = Callable[[str], contextlib.AbstractContextManager[None]]


def services(count: int) -> list[ServicePort]:
    """Return `count` services of ten endpoints each; raises UserError when there are not enough addresses."""
    if not 0 < count <= 65536:
        raise UserError(f"--services {count}: between 1 and 65536 services can be measured")
    return [
        ServicePort(
            address=f"10.96.{number >> 8}.{number & 255}",
            protocol="tcp",
            port=80,
            endpoints=tuple(
                sorted(Endpoint(pod_address(number * ENDPOINTS + place), 8080) for place in range(ENDPOINTS))
            ),
        )
        for number in range(count)
    ]


def replaced(service: ServicePort, generation: int) -> ServicePort:
    """Return the service with one endpoint replaced by one that no service has, another one for each generation."""
    fresh = Endpoint(f"11.{generation >> 16 & 255}.{generation >> 8 & 255}.{generation & 255}", 8080)
    place = generation % len(service.endpoints)
    targets = (*service.endpoints[:place], *service.endpoints[place + 1 :], fresh)
    return ServicePort(
        address=service.address, protocol=service.protocol, port=service.port, endpoints=tuple(sorted(targets))
    )


def run(sizes: Sequence[int], *, rounds: int, through_api: bool, step: Step) -> Report:
    """Measure and report; `step` shows progress. Raises UserError when a peer's ruleset is refused.

    With `through_api` the whole path from the API object is measured too, once, at the largest size.
    """
    rows: list[Measurement] = []
    for count in sizes:
        rows += _size(count, rounds=rounds, step=step)
    if through_api:
        # Not before: a lab's modules would weigh more than what is measured above.
        from fairlead.lab.bench import whole_path

        rows += whole_path.run(max(sizes), ENDPOINTS, _API_CHANGES, step=step)
    return Report(name="sync", machine=machine(), rows=tuple(rows))


def _size(count: int, *, rounds: int, step: Step) -> Iterator[Measurement]:
    wanted = services(count)
    peers: list[Peer] = [OneChainPerService()]
    if count <= _OLD_SHAPE_LIMIT:
        peers.append(ChainPerEndpoint())
    loads: dict[str, list[float]] = {}
    changes: dict[str, list[float]] = {}
    own = _Own(wanted)
    for number in range(1, rounds + 1):
        with step(f"{count} services, round {number} of {rounds}: ours"):
            own.measure()
        for peer in peers:
            with step(f"{count} services, round {number} of {rounds}: {peer.name}"):
                load, several = _measure_peer(peer, wanted)
                loads.setdefault(peer.name, []).append(load)
                changes.setdefault(peer.name, []).extend(several)
    case = f"{count} services x {ENDPOINTS} endpoints"
    load, change = median(own.loads), median(own.changes)
    yield Measurement(case=case, metric="full load", value=load, unit="s")
    for name, found in loads.items():
        yield against(case, "full load", median(found), "s", name, load)
    yield Measurement(case=case, metric="one endpoint, p50", value=quantile(own.changes, 0.5) * 1e6, unit="us")
    yield Measurement(case=case, metric="one endpoint, p99", value=quantile(own.changes, 0.99) * 1e6, unit="us")
    yield Measurement(
        case=case, metric="one endpoint and the decision, p50", value=median(own.applies) * 1e6, unit="us"
    )
    for name, found in changes.items():
        yield against(case, "one endpoint, p50", median(found) * 1e6, "us", name, change * 1e6)
    if own.bulks:
        metric = f"{_BULK} endpoints in one transaction"
        yield Measurement(case=case, metric=metric, value=median(own.bulks) * 1e3, unit="ms")
    yield Measurement(case=case, metric="memory of the process", value=own.resident_mb, unit="MB")


def against(case: str, metric: str, theirs: float, unit: str, name: str, ours: float) -> Measurement:
    """Return the measurement of a peer beside ours, both in `unit`."""
    return Measurement(case=case, metric=metric, value=theirs, unit=unit, against=name, ratio=theirs / ours)


class _Own:
    """Our side: rounds of full load, changes one by one, and changes in bulk. All times in seconds."""

    def __init__(self, wanted: Sequence[ServicePort]) -> None:
        self._wanted = wanted
        self.loads: list[float] = []
        self.changes: list[float] = []
        self.applies: list[float] = []
        self.bulks: list[float] = []
        self.resident_mb = 0.0

    def measure(self) -> None:
        """Run one round, each load in a namespace of its own."""
        for left in reversed(range(_LOADS)):
            with namespace("ours") as path:
                kernel = Kernel(NftSocket(path))
                try:
                    kernel.observe()
                    self._measure(kernel, with_changes=not left)
                finally:
                    kernel.close()

    def _measure(self, kernel: Kernel, *, with_changes: bool) -> None:
        ports: dict[Key, Row] = {key_of(row): row for row in self._wanted}
        addresses: dict[Key, Row] = {(row.address,): ClusterAddress(address=row.address) for row in self._wanted}
        self.loads.append(_apply(kernel, ports, addresses, None))
        self.resident_mb = max(self.resident_mb, resident_mb())
        if not with_changes:
            return
        keys = list(ports)
        with without_collection():
            for number in range(_CHANGES):
                key = keys[number * 7919 % len(keys)]
                _replace(ports, key, number)
                self.applies.append(_apply(kernel, ports, addresses, {"service_ports": (key,)}))
                self.changes.append(kernel.last_commit_s)
            if len(keys) >= _BULK:
                for number, key in enumerate(keys[:_BULK]):
                    _replace(ports, key, _CHANGES + number)
                _apply(kernel, ports, addresses, {"service_ports": keys[:_BULK]})
                self.bulks.append(kernel.last_commit_s)


def _replace(ports: dict[Key, Row], key: Key, generation: int) -> None:
    row = ports[key]
    assert isinstance(row, ServicePort)
    ports[key] = replaced(row, generation)


def _apply(
    kernel: Kernel,
    ports: Mapping[Key, Row],
    addresses: Mapping[Key, Row],
    named: Mapping[str, Sequence[Key]] | None,
) -> float:
    plan = Plan(node="bench", revision="", tables={"service_ports": ports, "cluster_addresses": addresses})
    begun = time.perf_counter()
    outcome = kernel.apply(plan, named)
    taken = time.perf_counter() - begun
    if outcome.failed or not outcome.applied:
        raise UserError(f"the kernel refused our own rules: {outcome.failed[:1]}")
    return taken


def _measure_peer(peer: Peer, wanted: Sequence[ServicePort]) -> tuple[float, list[float]]:
    """Return the time of a full load and the times of changes of one endpoint."""
    with namespace("peer") as path:
        load = nft(path, peer.load(wanted))
        changes = []
        for number in range(_PEER_CHANGES):
            place = number * 7919 % len(wanted)
            changes.append(nft(path, peer.change(place, replaced(wanted[place], number))))
        return load, changes


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keep the garbage collector out: with all of the world frozen, an agent's collections are short."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
