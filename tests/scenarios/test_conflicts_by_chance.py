"""Random schedules: all sites list the same conflicts under the same ids, and nothing that must stay is lost."""

from __future__ import annotations

import pytest

from tests.scenarios.schedules import settled


def test_all_sites_list_the_same() -> None:
    assert sum(settled(seed) for seed in range(8)) > 50, "these schedules do make conflicts"


@pytest.mark.slow
def test_all_sites_list_the_same_over_many_schedules() -> None:
    assert sum(settled(seed, 120) for seed in range(20, 50)) > 450
