"""kill -9 in the ways that S24 does not name: both sites at once, while opening and deriving, while joining."""

from __future__ import annotations

import pytest

from tests.scenarios.kills import Soak, soak
from tests.scenarios.processes import Practice


@pytest.mark.slow
def test_ten_kills_in_other_ways(practice: Practice) -> None:
    trial = Soak(practice, seed=3)
    for _ in range(2):
        trial.in_the_middle_of_an_import()
        trial.both_at_once()
        trial.while_it_opens()
        trial.while_it_joins()
    trial.finish()
    assert (trial.kills, trial.lost) == (10, set()) and len(trial.ledger) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hundreds_of_kills(practice: Practice, seed: int) -> None:
    result = soak(practice, kills=300, seed=seed)
    assert result["kills"] >= 300
    assert (result["lost"], result["corrupt"]) == (0, 0), result
    assert result["cut_short"] >= 75, "the kills came too late to interrupt anything"
