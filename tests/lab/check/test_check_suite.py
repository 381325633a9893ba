"""The connectivity test finds what is missing, and nothing that is not."""

from __future__ import annotations

import pytest

from fairlead.lab.check.suite import tries


@pytest.mark.parametrize("endpoints", [1, 2, 8, 400])
def test_a_random_choice_leaves_no_endpoint_out_by_chance(endpoints: int) -> None:
    left_out = endpoints * (1 - 1 / endpoints) ** tries(endpoints)
    assert left_out <= 1e-9
