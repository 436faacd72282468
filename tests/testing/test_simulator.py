"""The simulator as a whole: honest worlds hold, broken ones are found out, and a seed is the same world every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from crdtsync import limits
from crdtsync.testing import __main__ as command_line
from crdtsync.testing.__main__ import main
from crdtsync.testing.options import CRASH_POINTS, HABITS, LIES, TIGHT_LIMITS, draw
from crdtsync.testing.planted import PLANTED
from crdtsync.testing.runner import outcomes, play
from crdtsync.testing.simulate import simulate
from crdtsync.testing.sources import core_hash
from crdtsync.testing.streams import Streams

SUMMARY = {"seeds", "failures", "virtual_hours", "events", "crashes", "partitions", "faults", "sources"}

FOUND_BY = {
    "acknowledge-early": 0,
    "adopt-any-stamp": 1,
    "answer-anew": 5,
    "apply-twice": 0,
    "ask-without-end": 6,
    "believe-anybody": 6,
    "chatter": 7,
    "clear-text": 9,
    "closing-cuts": 39,
    "continue-count": 21,
    "continue-without-proof": 24,
    "credit-leak": 0,
    "drop-delete": 0,
    "drop-delta": 0,
    "epoch-without-recipient": 1,
    "feeds-closed": 6,
    "forget-acknowledged": 9,
    "forget-cancelled": 0,
    "forget-dependency": 0,
    "forget-followers": 1,
    "forget-keys": 0,
    "fragment-alone": 20,
    "frontier-ahead": 0,
    "ignore-blocks": 1,
    "ignore-removal": 0,
    "ignore-stamps": 0,
    "keep-questions": 5,
    "no-feed-move": 2,
    "no-relay": 0,
    "number-before-durable": 18,
    "number-twice": 10,
    "number-unconfirmed": 10,
    "removal-drops-attested": 0,
    "retry-sync": 76,
    "rotation-loses": 0,
    "send-early": 0,
    "skip-causal-check": 0,
    "skip-key-sync": 1,
    "skip-sync": 1,
    "stale-read": 0,
    "take-rot": 155,
    "view-claims-more": 1,
    "wrong-cursor": 0,
}
"""The first seed that finds each bug: where the search begins. It ends, as promised, at 200."""

QUICK = (
    "acknowledge-early",
    "credit-leak",
    "drop-delta",
    "frontier-ahead",
    "no-relay",
    "skip-causal-check",
    "stale-read",
)
"""Bugs that are searched for in every run; the others where the slow tests run."""


def traces(hash_seed: str, *seeds: int) -> list[str]:
    """The hashes over all steps of these seeds, from a process of its own."""
    program = f"from crdtsync.testing.simulate import simulate\nfor s in {seeds}:\n    print(simulate(s).trace)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_honest_worlds_hold() -> None:
    for outcome in outcomes(range(300, 306), processes=1):
        assert outcome.failure == "", f"seed {outcome.seed}"
        assert outcome.virtual_hours > 0.5
        assert outcome.commits > 10


def test_a_seed_is_the_same_world_in_every_process() -> None:
    """No set or hash decides anything: two processes that hash texts differently take the same steps."""
    here = [simulate(seed).trace for seed in (5, 17)]
    assert traces("0", 5, 17) == traces("4242", 5, 17) == here


def test_other_seeds_are_other_worlds() -> None:
    assert simulate(5).trace != simulate(4).trace
    assert len({json.dumps(play(seed).options) for seed in (4, 5)}) == 2


def test_seeds_reach_far() -> None:
    outcome = simulate(2**63 - 1)
    assert outcome.failure == ""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in sorted(PLANTED)]
)
def test_a_planted_bug_is_found(name: str) -> None:
    for outcome in outcomes(range(FOUND_BY[name], 200), planted=name, processes=1):
        if outcome.failure:
            assert outcome.steps
            own_mistake = ("TypeError", "AttributeError", "NameError")  # of the plant, which then shows nothing
            assert not outcome.failure.startswith(own_mistake), outcome.failure
            return
    raise AssertionError(f"{name} was not found within 200 seeds")


def test_limits_are_what_they_were_after_a_tight_world() -> None:
    before = {name: getattr(limits, name) for name in TIGHT_LIMITS}
    tight = next(seed for seed in range(100) if draw(Streams(seed)).tight)
    simulate(tight)
    assert {name: getattr(limits, name) for name in TIGHT_LIMITS} == before


def test_worlds_differ_in_kind() -> None:
    """Among a hundred seeds each fault and each topology is there, and each is missing somewhere."""
    worlds = [draw(Streams(seed)) for seed in range(100)]
    switches = ("rough", "removal", "restore", "clone", "tight", "large", "calm", "days", "versions", "pair")
    for option in (*switches, "forges", "ranges"):
        assert {getattr(world, option) for world in worlds} == {True, False}
    for option in ("series", "year_change"):
        assert {getattr(world, option) for world in worlds} == {True, False}
    for fault in ("archives", "newcomers", "clogs", "outages", "freezes", "clock_jumps", "io_errors", "full_disks"):
        assert {getattr(world, fault) > 0 for world in worlds} == {True, False}
    for fault in ("hand_overs", "take_overs"):
        assert {getattr(world, fault) > 0 for world in worlds if world.series} == {True, False}
    for fault in ("rotten_commits", "rotten_documents", "rotations", "drift", "care_s", "asks"):
        assert {getattr(world, fault) > 0 for world in worlds} == {True, False}
    assert {habit for seed in range(500) for habit in draw(Streams(seed)).hostile} == {*HABITS, *LIES}
    assert {world.topology for world in worlds} == {"mesh", "chain", "ring", "star", "random"}
    assert {world.sites for world in worlds} == set(range(2, 10))
    for point in CRASH_POINTS:
        assert any(world.crash_points[point] and world.crashes for world in worlds)


# -- the command line -----------------------------------------------------------------------------------------------


def test_one_seed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "5", "--json"]) == 0
    seed, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert seed["seed"] == 5 and seed["failure"] == "" and seed["trace"] == simulate(5).trace
    assert set(summary) >= SUMMARY
    assert (summary["seeds"], summary["failures"]) == (1, 0)
    assert summary["faults"] == seed["faults"] and summary["sources"] == core_hash()


def test_several_seeds_over_several_processes() -> None:
    command = [sys.executable, "-m", "crdtsync.testing", "--seeds", "3", "--first-seed", "4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seed"] for line in lines[:-1]] == [4, 5, 6]
    assert lines[1]["trace"] == simulate(5).trace
    assert lines[-1]["seeds"] == 3 and lines[-1]["virtual_hours"] > 2.0


def test_a_failing_seed_ends_with_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "2", "--planted", "skip-sync"]) == 1
    captured = capsys.readouterr()
    assert "FAILED  L1:" in captured.out
    assert json.loads(captured.out.splitlines()[-1])["failures"] == 1
    steps = captured.err.splitlines()
    assert steps[0].startswith("seed 2: L1:") and len(steps) == 202


def test_the_search_for_a_planted_bug_stops_when_it_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert main(["--planted", "drop-delta", "--seeds", "200", "--json"]) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["failures"] == 1 and summary["seeds"] < 200


def test_a_planted_bug_that_is_not_found_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    first = next(seed for seed in range(100) if not draw(Streams(seed)).removal)
    assert main(["--planted", "ignore-removal", "--seeds", "1", "--first-seed", str(first)]) == 0


def test_the_table_of_planted_bugs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    some = {name: PLANTED[name] for name in ("frontier-ahead", "send-early")}
    monkeypatch.setattr(command_line, "PLANTED", some)
    assert main(["--planted-table", "--seeds", "5", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == list(some)
    assert all(0 <= row["found_at_seed"] < 5 and "L1" in row["failure"] and row["what"] for row in rows)


def test_a_table_with_a_bug_that_no_seed_finds_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "PLANTED", {"retry-sync": PLANTED["retry-sync"]})
    assert main(["--planted-table", "--seeds", "1"]) == 1
    assert "not found" in capsys.readouterr().out


def test_the_names_of_planted_bugs_are_bare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-planted"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert names == sorted(PLANTED) and len(names) >= 20


@pytest.mark.parametrize(
    "words", [["--planted", "nothing"], ["--seeds", "0"], ["--seed", "-1"], ["--seed", str(2**63)], ["more"]]
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
