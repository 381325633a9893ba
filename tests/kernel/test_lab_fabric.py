"""The fabric on the real kernel: it carries packets, is built once, and is removed without a trace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.lab import fabric, teardown
from fairlead.lab.home import LabHome
from fairlead.lab.topology import INTERNET_HOST, Topology, design

pytestmark = pytest.mark.kernel


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[Topology, LabHome]]:
    name = f"tf{os.getpid()}"
    home = LabHome(name=name, folder=tmp_path / name)
    home.folder.mkdir()
    yield design(name=name, nodes=4, zones=3, api_port=6443, strict_commands=False, tunnel="auto"), home
    teardown.remove(home)


def ping(namespace: str, address: str) -> bool:
    command = ["ip", "netns", "exec", namespace, "ping", "-c1", "-W2", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_every_node_reaches_every_node_and_the_internet(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    fabric.build(topology, home)
    for source in topology.nodes:
        for target in (*(node.addresses for node in topology.nodes), topology.control, INTERNET_HOST):
            for address in target:
                assert ping(home.namespace(source.name), address), f"{source.name} → {address}"


def test_private_addresses_stay_unknown_outside(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    fabric.build(topology, home)
    assert not ping(home.namespace("internet"), topology.nodes[0].addresses[0])


def test_a_second_build_changes_nothing_and_a_half_built_one_is_finished(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    fabric.build(topology, home)
    before = {name: os.stat(f"/run/netns/{name}").st_ino for name in fabric.namespaces(topology, home)}
    fabric.build(topology, home)
    assert before == {name: os.stat(f"/run/netns/{name}").st_ino for name in fabric.namespaces(topology, home)}

    subprocess.run(["ip", "netns", "delete", home.namespace("node-2")], check=True)
    fabric.build(topology, home)
    assert ping(home.namespace("node-1"), topology.nodes[1].addresses[0])


def test_removal_leaves_nothing_and_may_be_repeated(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    fabric.build(topology, home)
    lost = subprocess.Popen(["ip", "netns", "exec", home.namespace("node-1"), "sleep", "600"])
    removed = teardown.remove(home)
    assert (removed.processes, removed.namespaces) == (1, 7)
    # Its status may be with `remove`, whose child it is too.
    lost.wait(timeout=5)
    assert fabric.existing(home) == set()
    assert not home.folder.exists()
    assert teardown.remove(home) == teardown.Removed(processes=0, namespaces=0, mounts=0)
