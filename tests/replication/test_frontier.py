"""Frontiers: they only grow, and their digest tells equal ones from others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.ids import CommitHash, Head, LogId
from crdtsync.replication.frontier import NOTHING, Frontier
from tests.replication.people import head, log

logs = st.sampled_from([log("a"), log("b"), log("c"), log("a", 2)])
moves = st.lists(st.tuples(logs, st.integers(1, 9)), max_size=20)


def walked(steps: list[tuple[LogId, int]]) -> Frontier:
    frontier = Frontier()
    for name, sequence in steps:
        frontier.advance(name, head(sequence))
    return frontier


def test_a_log_that_is_not_here() -> None:
    frontier = Frontier()
    assert frontier.head(log("a")) == NOTHING
    assert frontier.sequence(log("a")) == 0
    assert log("a") not in frontier
    assert len(frontier) == frontier.commits() == 0


def test_it_never_goes_back() -> None:
    frontier = walked([(log("a"), 5)])
    frontier.advance(log("a"), head(4))
    frontier.advance(log("a"), head(5, "another"))
    assert frontier.head(log("a")) == head(5)


@given(moves)
def test_it_holds_the_highest_of_each_log(steps: list[tuple[LogId, int]]) -> None:
    frontier = walked(steps)
    highest = {name: max(sequence for other, sequence in steps if other == name) for name, _ in steps}
    assert {name: at.sequence for name, at in frontier.items()} == highest
    assert frontier.commits() == sum(highest.values())
    assert set(frontier) == set(highest)


@given(moves, st.randoms(use_true_random=False))
def test_the_order_of_news_does_not_count(steps: list[tuple[LogId, int]], chance: object) -> None:
    shuffled = list(steps)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    assert walked(shuffled) == walked(steps)
    assert walked(shuffled).digest() == walked(steps).digest()


@given(moves, moves)
def test_digests_are_equal_exactly_when_frontiers_are(
    one: list[tuple[LogId, int]], other: list[tuple[LogId, int]]
) -> None:
    first, second = walked(one), walked(other)
    assert (first == second) == (first.digest() == second.digest())


@given(moves, moves)
def test_covering_is_being_at_least_as_far_everywhere(
    one: list[tuple[LogId, int]], other: list[tuple[LogId, int]]
) -> None:
    first, second = walked(one), walked(other)
    both = first.copy()
    for name, at in second.items():
        both.advance(name, at)
    assert both.covers(first.items()) and both.covers(second.items())
    assert first.covers(second.items()) == (both == first)


def test_a_digest_follows_every_step_also_after_it_was_asked_for() -> None:
    frontier = walked([(log("a"), 1)])
    before = frontier.digest()
    frontier.advance(log("a"), head(2))
    assert frontier.digest() != before
    other_hash = Frontier({log("a"): Head(2, CommitHash(bytes(32)))})
    assert other_hash.digest() != frontier.digest()


def test_a_copy_goes_its_own_way() -> None:
    frontier = walked([(log("a"), 1)])
    copy = frontier.copy()
    copy.advance(log("b"), head(1))
    assert log("b") not in frontier
    assert frontier != copy and frontier != "a frontier"
