"""Power cuts at every place of a life: no promise breaks, and every store that is wrong is found (L1 to L8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync.testing import power_cuts
from crdtsync.testing.realdisk.images import POLICIES
from crdtsync.testing.realdisk.lives import judge_life, record_life
from crdtsync.testing.realdisk.planted import PLANTED

EXPECTED = {
    "log-off": ("lost", "corrupt"),
    "log-normal": ("lost",),
    "keys-last": ("without the key that it needs", "the acknowledged data key"),
    "view-first": ("the view goes to arrival", "L8"),
    "no-folder-sync": ("its folder is gone",),
    "erased-stay": ("the erased key",),
}
"""What the verdict says of each, or its kind."""


def test_no_promise_breaks_wherever_the_power_goes(library: Path, apart: Callable[..., Any]) -> None:
    tally = apart(power_cuts.cut, 1, 150, str(library))
    assert tally.failures == []
    assert tally.images == 150 and tally.policies.keys() == set(POLICIES)


@pytest.mark.slow
@pytest.mark.parametrize("life", [11, 12])
def test_no_promise_breaks_in_longer_lives(life: int, library: Path, apart: Callable[..., Any]) -> None:
    tally = apart(power_cuts.cut, life, 700, str(library), acts=45)
    assert tally.failures == [] and tally.images == 700


@pytest.mark.parametrize("planted", sorted(PLANTED))
def test_every_planted_bug_is_found(planted: str, library: Path, tmp_path: Path, apart: Callable[..., Any]) -> None:
    operations = record_life(tmp_path, library, 0, planted, acts=15)
    tally = apart(judge_life, operations, 0, 250, tmp_path, planted=planted, failures_max=1)
    assert tally.failures, f"{PLANTED[planted].about}: nobody noticed"
    first = tally.failures[0]
    assert any(words in (first.kind, first.text) or words in first.text for words in EXPECTED[planted]), first
    again = apart(judge_life, operations, 0, 1, tmp_path, planted=planted, only=first.image)
    assert again.failures == [first], "the number shows the same image again"
