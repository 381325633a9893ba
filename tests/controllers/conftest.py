"""Certificates for the API servers of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apiserver import apiserver_pki


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    apiserver_pki.cluster(folder)
    return folder
