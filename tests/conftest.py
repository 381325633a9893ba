"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests import guardian
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from fairlead.lab.runtime import kernel

# How long an example takes says more about what runs beside than about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

LABS = ("tests/e2e/", "tests/lab/bench/")
"""Where tests start whole labs: a machine of two processors has room for one of them at a time, and for other tests beside it."""


class OneLabAtATime(LoadFileScheduling):
    """Gives each file to one process, and all that start labs to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return "labs" if nodeid.startswith(LABS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneLabAtATime:
    return OneLabAtATime(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite the goldens with what the code says now")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the labs, which take longest; skip what needs root when there is none: that is probed, never assumed."""
    items.sort(key=lambda item: not item.nodeid.startswith(LABS))
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.skip(reason="not root: network namespaces cannot be made"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes a network of its own: ports that one finds free are not taken by another."""
    if not hasattr(config, "workerinput"):
        return
    # Labs have sockets in it, whose paths have 107 bytes: `popen-gw0` is too much.
    name = config.workerinput["workerid"].removeprefix("gw")
    config.option.basetemp = str(Path(config.option.basetemp).with_name(name))
    if os.geteuid() == 0:
        kernel.unshare(kernel.CLONE_NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture(scope="session", autouse=True)
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have what the suite leaves ended when it is gone, also when it was killed, and first what earlier ones have left."""
    folder = tmp_path_factory.getbasetemp()
    lock = guardian.claim(folder)
    guardian.earlier(folder)
    command = [sys.executable, guardian.__file__, str(folder), str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield
    os.close(lock)
