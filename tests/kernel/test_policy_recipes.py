"""The recipes of examples/policies do what their README says: its tables are read, and the packets sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kernel.policylab import EXTERNAL, PolicyLab, Probe
from tests.verify.policy_cases import NODE_OBJECTS, pod

from fairlead.verify.oracle.cluster import Cluster
from fairlead.verify.oracle.judge import allowed

pytestmark = pytest.mark.kernel

FOLDER = Path(__file__).parents[2] / "examples/policies"
OUTSIDE = {"internet": (EXTERNAL[0], EXTERNAL[2]), "elsewhere": (EXTERNAL[1], EXTERNAL[3])}
ROW = re.compile(
    r"\| `(?P<source>[^`]+)` \| `(?P<target>[^`:]+):(?P<port>\d+)(?:/(?P<protocol>\w+))?` \| (?P<answer>yes|no) \|"
)


def claims() -> dict[str, list[re.Match[str]]]:
    """File of a recipe → the rows of its table."""
    found: dict[str, list[re.Match[str]]] = {}
    for section in (FOLDER / "README.md").read_text().split("\n## ")[1:]:
        name = re.search(r"\(([\w.-]+\.yaml)\)", section)
        assert name is not None, section
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        matches = [ROW.fullmatch(line) for line in rows]
        assert rows and all(matches), section
        found[name[1]] = [each for each in matches if each is not None]
    return found


CLAIMS = claims()


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def world(policies: list[dict[str, Any]]) -> Cluster:
    """The cluster of the recipes: pods on both nodes in turn, with addresses."""
    objects = documents("00-world.yaml")
    pods = []
    for number, each in enumerate(each for each in objects if each["kind"] == "Pod"):
        metadata, ports = each["metadata"], each["spec"]["containers"][0]["ports"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        pods.append(pod(name, metadata["labels"], 200 + number, f"node-{number % 2 + 1}", *ports))
    namespaces = [each for each in objects if each["kind"] == "Namespace"]
    namespaces.append({"metadata": {"name": "kube-system", "labels": {}}})
    return Cluster(pods=pods, namespaces=namespaces, nodes=NODE_OBJECTS, policies=policies)


def probes(rows: list[re.Match[str]]) -> list[Probe]:
    def end(name: str, family: int) -> str:
        return OUTSIDE[name][family == 6] if name in OUTSIDE else f"pod/{name}"

    return [
        Probe(
            end(row["source"], family),
            end(row["target"], family),
            row["protocol"] or "TCP",
            int(row["port"]),
            family,
            row["answer"] == "yes",
        )
        for row in rows
        for family in (4, 6)
    ]


@pytest.fixture(scope="module")
def lab() -> Iterator[PolicyLab]:
    with PolicyLab() as made:
        yield made


def test_every_recipe_is_in_the_readme() -> None:
    assert sorted(CLAIMS) == sorted(each.name for each in FOLDER.glob("*.yaml") if each.name != "00-world.yaml")


@pytest.mark.parametrize("name", CLAIMS)
def test_recipe(lab: PolicyLab, name: str) -> None:
    asked = probes(CLAIMS[name])
    cluster = world(documents(name))
    for each in asked:
        verdict = allowed(cluster, each.source, each.target, each.protocol, each.port, each.family)
        assert verdict.allowed == each.expected, (each, verdict)
    lab.enforce(cluster)
    assert lab.ask(cluster, asked) == []
    # A recipe forbids something that is permitted without it.
    assert not all(each.expected for each in asked)
    lab.enforce(world([]))
    assert lab.ask(cluster, [Probe(p.source, p.target, p.protocol, p.port, p.family, True) for p in asked]) == []
