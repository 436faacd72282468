"""Every call of a replica's life refused in turn: it stops, loses nothing, opens again, and never asks a sync twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync.testing import io_faults
from crdtsync.testing.realdisk.planted import PLANTED_FAULTS


def problems(library: Path, cases: list[str], planted: str = "", acts: int = io_faults.ACTS) -> list[object]:
    found = io_faults.play(str(library), 1, cases, planted=planted, acts=acts)
    assert [one["case"] for one in found] == cases
    return [one for one in found if one["problems"]]


@pytest.mark.slow
def test_whatever_call_is_refused_no_promise_breaks(library: Path) -> None:
    cases = io_faults.cases_of(str(library), 1, 30, acts=5)
    assert len(cases) == 30
    assert problems(library, cases, acts=5) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_more_calls_of_longer_lives_are_refused(seed: int, library: Path) -> None:
    cases = io_faults.cases_of(str(library), seed, 90)
    assert [one for one in io_faults.play(str(library), seed, cases) if one["problems"]] == []


@pytest.mark.slow
def test_every_sync_is_refused(library: Path) -> None:
    cases = [case for case in io_faults.cases_of(str(library), 1, 1_000, ["sync"]) if case.startswith("sync")]
    assert len(cases) > 60 and problems(library, cases) == []


@pytest.mark.parametrize("planted", sorted(PLANTED_FAULTS))
def test_every_planted_bug_is_found(planted: str, library: Path) -> None:
    """A store that asks a failed sync again, and one that builds on what such a sync left behind."""
    for first in range(92, 40, -4):
        cases = [f"sync:EIO:once:{number}:killed" for number in range(first - 3, first + 1)]
        found = json.dumps(problems(library, cases, planted))
        if "the acknowledged commit" in found:
            return
    pytest.fail(f"{PLANTED_FAULTS[planted].about}: nobody noticed")


def test_a_full_disk_says_what_to_do(library: Path) -> None:
    [found] = io_faults.play(str(library), 1, ["write:ENOSPC:on:700"], acts=8)
    assert found["problems"] == [] and "free some space" in found["stopped"]


def test_the_command_line_tries_one_case_again(capsys: pytest.CaptureFixture[str], library: Path) -> None:
    assert io_faults.main(["--case", "write:EIO:on:600", "--seed", "1", "--processes", "1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["cases"] == 1 and summary["stopped"] == 1 and summary["failures"] == []
