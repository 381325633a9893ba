"""Where `fairlead exec` leads, and what it says of places that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.base.errors import UserError
from fairlead.lab.home import LabHome
from fairlead.lab.inside import enter
from fairlead.lab.topology import design

TOPOLOGY = design(name="x", nodes=2, zones=1, api_port=6443, strict_commands=False, tunnel="auto")


@pytest.fixture
def home(tmp_path: Path) -> LabHome:
    home = LabHome(name="x", folder=tmp_path / "x")
    for uid, name, netns in (("u1", "web", "/run/netns/fl-x-pod-u1"), ("u2", "host", None)):
        folder = home.node("node-2") / "pods" / uid
        folder.mkdir(parents=True)
        record = {"uid": uid, "namespace": "default", "name": name, "netns": netns, "resolv_conf": "nameserver x\n"}
        (folder / "sandbox.json").write_text(json.dumps(record))
    home.node("node-1").mkdir()
    return home


@pytest.mark.parametrize(
    ("where", "namespace"),
    [
        ("internet", "fl-x-internet"),
        ("node/node-1", "fl-x-node-1"),
        ("pod/default/web", "fl-x-pod-u1"),
        ("pod/default/host", "fl-x-node-2"),
    ],
)
def test_places(home: LabHome, where: str, namespace: str) -> None:
    argv = enter(home, TOPOLOGY, where, ["ls", "-l", "a b"])
    assert argv[:2] == ["nsenter", f"--net=/run/netns/{namespace}"]
    assert argv[-3:] == ["ls", "-l", "a b"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("node/node-9", "no node 'node-9'.*\n.*node-1, node-2"),
        ("pod/default/nobody", "no pod default/nobody"),
        ("pod/web", "is not a place.*\n.*pod/NAMESPACE/NAME"),
        ("moon", "is not a place"),
    ],
)
def test_places_that_are_not_there(home: LabHome, where: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        enter(home, TOPOLOGY, where, ["ls"])


def test_a_program_that_is_not_there(home: LabHome) -> None:
    with pytest.raises(UserError, match="'no-such-program' is not a program"):
        enter(home, TOPOLOGY, "internet", ["no-such-program"])
