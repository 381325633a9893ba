"""What a machine lacks is named, with what to do about it."""

from __future__ import annotations

import os
import shutil

import pytest

from fairlead.base.errors import UserError
from fairlead.lab import preflight


@pytest.mark.kernel
def test_this_machine_can_carry_a_lab() -> None:
    preflight.check()


def test_without_root_it_refuses_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"needs root[\s\S]*fix: .*sudo"):
        preflight.check()


@pytest.mark.kernel
@pytest.mark.parametrize(("program", "package"), preflight._PROGRAMS.items())
def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, program: str, package: str) -> None:
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == program else found(name))
    with pytest.raises(UserError, match=rf"'{program}' is missing[\s\S]*apt-get install {package}"):
        preflight.check()


@pytest.mark.kernel
@pytest.mark.parametrize("index", range(len(preflight._NEEDS)), ids=lambda index: preflight._NEEDS[index].what)
def test_a_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    needs = list(preflight._NEEDS)
    needs[index] = preflight._Need(what=needs[index].what, probe="false", fix=needs[index].fix)
    monkeypatch.setattr(preflight, "_NEEDS", tuple(needs))
    with pytest.raises(UserError) as caught:
        preflight.check()
    assert f"lacks {needs[index].what}" in str(caught.value)
    assert needs[index].fix in str(caught.value)
