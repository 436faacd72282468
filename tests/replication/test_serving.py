"""Serving a peer: in order of arrival, within its credit, and nothing that is not on disk (L1, L7)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.ids import LogId
from crdtsync.replication import messages
from crdtsync.replication.effects import ReadFeeds
from crdtsync.replication.events import FeedsRead
from tests.replication.cores import Site, commits, data_key, sites


def sequences(site: Site, link: int = 1) -> list[tuple[LogId, int]]:
    """The commits put on a link."""
    return [
        (commit.header.log, commit.header.sequence)
        for said in site.said(link)
        if isinstance(said, messages.Commits)
        for commit in said.commits
    ]


def test_a_feed_brings_everything_from_its_cursor_on_and_says_first_how_much_that_is() -> None:
    a, _ = sites("a", "b")
    written = a.write(5)
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 3),)))
    backlog, *rest = a.said(1)
    assert backlog == messages.Backlog(3, sum(commit.size for commit in written[2:]))
    [sent] = rest
    assert isinstance(sent, messages.Commits)
    assert list(sent.commits) == written[2:] and sent.sent == sent.size


def test_what_is_written_is_pushed_at_once_to_those_who_feed_it() -> None:
    a, _, _ = sites("a", "b", "c")
    a.greet(1, "b")
    a.greet(2, "c")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    [commit] = a.write()
    assert sequences(a, 1) == [(a.author.log, 1)]
    a.later(0.1)
    [have] = a.said(2)
    assert have == messages.Have(((a.author.log, commit.head),), False), "the other hears that it is here"


def test_what_is_not_on_disk_is_neither_sent_nor_told() -> None:
    a, b, _ = sites("a", "b", "c")
    b.greet(1, "a", (a.author.log, a.author.commit().head))
    b.greet(2, "c")
    b.hear(2, messages.Feed(((a.author.log, 1),)))
    b.hold = True
    b.said(2)
    b.hear(1, commits(a.author.commits[0]))
    assert b.said(2) == [] == b.said(1)
    b.work()
    assert sequences(b, 2) == [(a.author.log, 1)]
    b.later(0.1)
    assert any(isinstance(said, messages.Have) for said in b.said(1)), "acknowledged when it is durable"


def test_no_feed_no_commits() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)), messages.Unfeed((a.author.log,)))
    a.write(2)
    assert sequences(a) == []


def test_keys_travel_with_the_commits_that_introduce_them() -> None:
    a, _ = sites("a", "b")
    key = data_key("erika")
    a.keys[key.id] = key
    a.write(key=key)
    a.write()
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    [sent] = [said for said in a.said(1) if isinstance(said, messages.Commits)]
    assert sent.keys == (key,)


def test_credit_is_kept_to_and_more_of_it_lets_more_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "in_flight_bytes_max", 2_000)
    a, _ = sites("a", "b")
    a.write(20, size=300)
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    first = sequences(a)
    assert 0 < len(first) < 8
    sent = a.core.peers[1].sent
    assert a.core.peers[1].credit <= 300
    a.hear(1, messages.Credit(sent + 2_000))
    assert sequences(a)[0] == (a.author.log, len(first) + 1)
    a.hear(1, messages.Credit(10**9))
    assert a.core.peers[1].credit <= 2_000, "nobody makes us send more at once than one link may hold"


def test_a_push_that_is_larger_than_the_credit_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "in_flight_bytes_max", 2_000)
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    a.said(1)
    a.write(30, size=300)
    assert a.core.peers[1].sent <= 2_000 + 700
    assert a.core.peers[1].credit > -700


def test_messages_keep_to_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "run_commits_max", 3)
    a, _ = sites("a", "b")
    a.write(10)
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    sizes = [len(said.commits) for said in a.said(1) if isinstance(said, messages.Commits)]
    assert sum(sizes) == 10 and max(sizes) == 3


def test_only_what_continues_a_feed_is_sent_whatever_was_read() -> None:
    """Between asking the disk and its answer a feed may have been taken back, or set to another place."""
    a, _ = sites("a", "b")
    a.write(4)
    a.hold = True
    a.greet(1, "b")
    a.hear(1, messages.Feed(((a.author.log, 1),)))
    a.hear(1, messages.Feed(((a.author.log, 3),)))
    a.handle(FeedsRead(1, a.disk, []))
    assert sequences(a) == [(a.author.log, 3), (a.author.log, 4)]
    a.hear(1, messages.Unfeed((a.author.log,)))
    a.handle(FeedsRead(1, a.disk, []))
    assert sequences(a) == []


def test_one_read_at_a_time() -> None:
    a, _ = sites("a", "b")
    a.write(4)
    a.hold = True
    a.greet(1, "b")
    found = a.hear(1, messages.Feed(((a.author.log, 1),)), messages.Feed(((a.author.log, 2),)))
    assert sum(isinstance(effect, ReadFeeds) for effect in found) == 1


def test_what_is_passed_on_ends_with_a_signature_that_was_checked() -> None:
    """A middle commit of a run was never verified by itself; a false one never stands at an end."""
    a, b, _ = sites("a", "b", "c")
    good, bad, last = a.author.commit(), a.author.commit(forged=True), a.author.commit()
    b.greet(1, "a", (a.author.log, last.head))
    b.hear(1, commits(good, bad, last))
    assert len(b.disk) == 3
    b.greet(2, "c")
    b.hear(2, messages.Feed(((a.author.log, 1),)))
    assert sequences(b, 2) == [(a.author.log, 1), (a.author.log, 2), (a.author.log, 3)]
    b.greet(3, "c")
    peer = b.core.peers[3]
    peer.feeds[a.author.log] = 1
    b.handle(FeedsRead(3, b.disk[:2], []))
    sent = [said for said in b.said(3) if isinstance(said, messages.Commits)]
    assert list(sent[0].commits) == [good], "the one in the middle waits for the next read"


def test_the_whole_frontier_in_as_many_messages_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "frontier_entries_per_message_max", 2)
    a, b, c = sites("a", "b", "c")
    a.write()
    for other in (b, c):
        commit = other.author.commit()
        a.greet(5, other.name, (other.author.log, commit.head))
        a.hear(5, commits(commit))
    a.link(1, "b")
    a.hear(1, messages.Hello(1, a.book.practice, b.core.id, b"", False))
    told = [said for said in a.said(1) if isinstance(said, messages.Have)]
    assert [len(have.heads) for have in told] == [2, 1]
    assert [have.whole for have in told] == [False, True]


def test_what_was_announced_becomes_less_as_it_comes() -> None:
    a, b = sites("a", "b")
    run = a.author.run(4)
    b.greet(1, "a", (a.author.log, a.author.head))
    size = sum(commit.size for commit in run)
    assert b.core.peers[1].to_come == (0, 0)
    b.hear(1, messages.Backlog(4, size), commits(*run[:3], sent=size - run[3].size))
    assert b.core.peers[1].to_come == (1, run[3].size)
    b.hear(1, commits(run[3], sent=size))
    assert b.core.peers[1].to_come == (0, 0)
