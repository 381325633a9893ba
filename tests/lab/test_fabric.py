"""The fabric as text: the commands that build it are the golden."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.lab import fabric
from fairlead.lab.home import LabHome
from fairlead.lab.topology import design

GOLDEN = Path(__file__).parents[1] / "goldens" / "fabric.txt"


def render() -> str:
    home = LabHome(name="demo", folder=Path("/nowhere"))
    topology = design(name="demo", nodes=4, zones=3, api_port=6443, strict_commands=False, tunnel="auto")
    lines: list[str] = []
    for namespace, commands in fabric.script(topology, home).items():
        lines += [f"# {namespace}", *(f"ip {command}" for command in commands), ""]
    return "\n".join(lines)


def test_the_commands_are_those_of_the_golden(pytestconfig: pytest.Config) -> None:
    text = render()
    if pytestconfig.getoption("--update-goldens"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_no_command_names_an_interface_of_the_host() -> None:
    for namespace, commands in fabric.script(
        design(name="demo", nodes=2, zones=2, api_port=6443, strict_commands=False, tunnel="auto"),
        LabHome(name="demo", folder=Path("/nowhere")),
    ).items():
        assert namespace.startswith("fl-demo-"), namespace
        assert commands[0] == "link set lo up"
