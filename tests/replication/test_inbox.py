"""The inbox: a causal order out of any order of arrival (L2), and room for what unblocks the rest (L7)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.ids import PracticeId
from crdtsync.replication.commit import Commit
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.inbox import Inbox, Waiting
from tests.replication.cores import Author
from tests.replication.people import log

PRACTICE = PracticeId(bytes(16))


def author(name: str) -> Author:
    return Author(name, PRACTICE, ())


def inbox() -> Inbox:
    return Inbox(Frontier())


def put(box: Inbox, *run: Commit, link: int = 1) -> None:
    for commit in run:
        box.put(Waiting(commit, True, (), link))


def taken(box: Inbox, most: int = 1_000) -> list[Commit]:
    return [waiting.commit for waiting in box.take(most, lambda commit: True)]


def history(seed: int, length: int) -> list[Commit]:
    """Commits of three authors who now and then have seen each other, in an order that is causal."""
    chance = random.Random(seed)
    authors = [author(name) for name in "abc"]
    made = []
    for _ in range(length):
        writer = chance.choice(authors)
        others = [other for other in authors if other is not writer and other.commits and chance.random() < 0.5]
        made.append(writer.commit({other.log: other.head for other in others}))
    return made


def test_a_boot_waits_for_what_it_continues_although_another_commit_names_it() -> None:
    """Where more has moved than one header names, the first commit of a boot names its own past only as continued."""
    before, boot = author("a"), Author("a", PRACTICE, (), boot=2)
    first, plain = before.commit(), boot.commit()
    header = replace(plain.header, continues=(before.log, first.head))
    box = inbox()
    put(box, replace(plain, header=header))
    assert taken(box) == []
    put(box, first)
    assert [commit.header.log for commit in taken(box)] == [before.log, boot.log]


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 7))
def test_any_order_of_arrival_gives_a_causal_order(seed: int, length: int, batch: int) -> None:
    made = history(seed, length)
    chance = random.Random(seed + 1)
    queues = {name: [commit for commit in made if commit.header.log == log(name)] for name in "abc"}
    box, out = inbox(), []
    while any(queues.values()):
        queue = chance.choice([queue for queue in queues.values() if queue])
        put(box, queue.pop(0))
        if chance.random() < 0.5:
            out += taken(box, batch)
    while more := taken(box, batch):
        assert len(more) <= batch
        out += more
    assert sorted(commit.hash for commit in out) == sorted(commit.hash for commit in made)
    seen = Frontier()
    for commit in out:
        assert seen.sequence(commit.header.log) == commit.header.sequence - 1
        assert seen.covers(commit.header.dependencies)
        seen.advance(commit.header.log, commit.head)
    assert (box.commits, box.bytes) == (0, 0)
    assert box.taken == seen


def test_the_tail_is_what_the_next_commit_must_continue() -> None:
    a, box = author("a"), inbox()
    first, second = a.run(2)
    put(box, first)
    assert box.tail(a.log) == first.head
    put(box, second)
    assert box.tail(a.log) == second.head
    assert taken(box) == [first, second]
    assert box.tail(a.log) == second.head


def test_own_commits_let_others_go_on() -> None:
    a, b, box = author("a"), author("b"), inbox()
    own = a.commit()
    waits = b.commit({a.log: own.head})
    put(box, waits)
    assert taken(box) == []
    box.written(own)
    assert taken(box) == [waits]


def test_what_is_not_admitted_waits_with_all_behind_it_until_it_is_looked_at_again() -> None:
    a, box = author("a"), inbox()
    run = a.run(3)
    put(box, *run)
    refuse = run[1].hash
    assert [w.commit for w in box.take(9, lambda commit: commit.hash != refuse)] == run[:1]
    assert taken(box) == []
    box.recheck()
    assert taken(box) == run[1:]


def test_what_was_dropped_is_forgotten() -> None:
    a, b, box = author("a"), author("b"), inbox()
    put(box, *a.run(3), link=7)
    put(box, *b.run(2), link=8)
    assert box.held_from(7) == {a.log: sum(commit.size for commit in a.commits)}
    assert [waiting.link for waiting in box.drop(a.log)] == [7, 7, 7]
    assert box.drop(a.log) == []
    assert box.commits == 2 and box.bytes == sum(commit.size for commit in b.commits)
    assert list(box.waiting_logs()) == [b.log] and box.waiting_of(a.log) == 0
    assert box.tail(a.log).sequence == 0


def test_what_waits_for_others_makes_room_first() -> None:
    """Else an inbox full of such commits would for ever refuse the very ones that they wait for (found by a seed)."""
    a, b, c, box = author("a"), author("b"), author("c"), inbox()
    missing = a.commit()
    b.commit({a.log: missing.head}, size=10)
    c.commit({a.log: missing.head}, size=20)
    put(box, b.commits[0])
    put(box, c.commits[0])
    assert taken(box) == []
    put(box, missing, *[a.commit(size=900) for _ in range(3)])
    assert box.least_wanted() == c.log
    box.drop(c.log)
    assert box.least_wanted() == b.log
    box.drop(b.log)
    assert box.least_wanted() == a.log


def test_a_log_that_is_frozen_goes_no_further() -> None:
    a, box = author("a"), inbox()
    run = a.run(3)
    put(box, *run)
    assert taken(box) == run
    box.freeze(a.log, run[1].head)
    assert box.tail(a.log) == run[1].head


def test_a_stored_frontier_is_where_it_begins() -> None:
    a = author("a")
    first, second = a.run(2)
    stored = Frontier({a.log: first.head})
    box = Inbox(stored)
    put(box, second)
    assert taken(box) == [second]
    assert stored.sequence(a.log) == 1, "what is on disk is for others to say"


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_than_asked_for(most: int) -> None:
    a, box = author("a"), inbox()
    put(box, *a.run(5))
    sizes = []
    while batch := taken(box, most):
        sizes.append(len(batch))
    assert sum(sizes) == 5 and max(sizes) <= most
