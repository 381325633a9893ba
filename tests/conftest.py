"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests import guardian


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite the goldens with what the code says now")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root when there is none: the reason is probed, never assumed."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.skip(reason="not root: network namespaces cannot be made"))


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
