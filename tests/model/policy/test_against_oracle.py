"""The compiled rows against the oracle: the table of cases, and clusters drawn at random."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.model.policy.interpreter import end, passes, snapshot_of, tables_of
from tests.verify.policy_cases import CASES, EXTERNAL, Case, cluster, probes
from tests.verify.random_clusters import draw

from fairlead.model.policy.stage import PolicyStage
from fairlead.verify.oracle.judge import allowed


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case) -> None:
    world = cluster(case)
    tables = tables_of(world)
    wrong = []
    for source, target, protocol, port, expected in probes(case):
        for family in (4, 6):
            if any(each.startswith("out") and each[3:] not in ("", str(family)) for each in (source, target)):
                continue
            ends = [EXTERNAL[family == 6] if each.startswith("out") else each for each in (source, target)]
            found = passes(tables, end(world, ends[0]), end(world, ends[1]), protocol, port, family, world.resolved)
            if found != expected:
                wrong.append((source, target, protocol, port, family))
    assert not wrong


def _compare(seed: int) -> None:
    drawn = draw(seed)
    tables = tables_of(drawn.cluster)
    for probe in drawn.probes:
        expected = allowed(drawn.cluster, probe.source, probe.target, probe.protocol, probe.port, probe.family)
        ends = end(drawn.cluster, probe.source), end(drawn.cluster, probe.target)
        found = passes(tables, *ends, probe.protocol, probe.port, probe.family, drawn.cluster.resolved)
        assert found == expected.allowed, f"draw({seed}): {probe}: {expected}"


@pytest.mark.parametrize("start", range(0, 2400, 200))
def test_drawn_clusters(start: int) -> None:
    for seed in range(start, start + 200):
        _compare(seed)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=1 << 20, max_value=1 << 62))
def test_more_drawn_clusters(seed: int) -> None:
    _compare(seed)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(min_value=0, max_value=1 << 62), min_size=2, max_size=5))
def test_what_came_before_does_not_matter(seeds: list[int]) -> None:
    stage = PolicyStage()
    snapshot = None
    for seed in seeds:
        world = draw(seed).cluster
        snapshot = snapshot_of(world, "node-1", snapshot)
        fresh = PolicyStage().update(snapshot_of(world, "node-1"))
        rows = stage.update(snapshot)
        assert rows.tables == fresh.tables
        assert rows.origins == fresh.origins
        assert rows.diagnostics == fresh.diagnostics
