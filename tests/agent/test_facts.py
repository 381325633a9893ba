from __future__ import annotations

from pathlib import Path

from tests.model.policy.interpreter import snapshot_of
from tests.model.worlds import NODES, endpoint, endpoint_slice, service
from tests.verify.random_clusters import draw

from fairlead.agent import facts
from fairlead.model.compile import compile
from fairlead.world.events import KindReplaced
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot


def test_the_record_gives_the_same_plan(tmp_path: Path) -> None:
    start = Snapshot(settings=Settings(node="n1"))
    world = fold(
        start,
        [
            KindReplaced("Node", {("", name): each for name, each in NODES.items()}, "5"),
            KindReplaced("Service", {("default", "web"): service("web", "10.96.0.5", "fd10:96::5")}, "5"),
            KindReplaced(
                "EndpointSlice", {("default", "a"): endpoint_slice("a", "web", endpoint("10.244.1.5", None))}, "5"
            ),
        ],
    )
    facts.save(tmp_path / "cluster.json", facts.facts_of(world))
    again = fold(start, facts.load(tmp_path / "cluster.json"))
    assert compile(again) == compile(world)
    assert [each.name for each in tmp_path.iterdir()] == ["cluster.json"]


def test_the_record_holds_policies_and_what_they_are_about(tmp_path: Path) -> None:
    for seed in range(30):
        world = snapshot_of(draw(seed).cluster, "node-1")
        facts.save(tmp_path / "cluster.json", facts.facts_of(world))
        start = Snapshot(settings=world.settings, attachments=world.attachments)
        assert compile(fold(start, facts.load(tmp_path / "cluster.json"))).plan.tables == compile(world).plan.tables


def test_no_record_or_a_broken_one_is_no_reason_to_stop(tmp_path: Path) -> None:
    assert facts.load(tmp_path / "absent.json") == []
    (tmp_path / "broken.json").write_text('{"nodes": [7]')
    assert facts.load(tmp_path / "broken.json") == []
