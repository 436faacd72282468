"""From whom a log is taken: one peer at a time, the author where it is linked, and never one that brings nothing."""

from __future__ import annotations

from crdtsync import limits
from crdtsync.ids import LogId
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.gossip import Feeds, Turn
from crdtsync.replication.inbox import Inbox
from crdtsync.replication.session import Peer, Phase
from tests.replication.people import head, log, replica

A, B = log("a"), log("b")
NOBODY: frozenset[LogId] = frozenset()


def peer(link: int, name: str, *, phase: Phase = Phase.LIVE, **have: int) -> Peer:
    found = Peer(link, replica(name), True, heard=0.0, phase=phase)
    for author, sequence in have.items():
        found.learn(log(author), head(sequence))
    return found


def box(**taken: int) -> Inbox:
    return Inbox(Frontier({log(author): head(sequence) for author, sequence in taken.items()}))


def choose(
    feeds: Feeds, *peers: Peer, now: float = 0.0, inbox: Inbox | None = None, refused: frozenset[LogId] = NOBODY
) -> Turn:
    return feeds.choose(now, [A, B], {p.link: p for p in peers}, inbox or box(), refused)


def stalled(feeds: Feeds, now: float, *peers: Peer, inbox: Inbox | None = None) -> Turn:
    return feeds.stalled(now, {p.link: p for p in peers}, inbox or box())


def test_a_log_is_taken_from_one_peer() -> None:
    feeds = Feeds()
    turn = choose(feeds, peer(1, "c", a=5), peer(2, "d", a=7), inbox=box(a=3))
    assert turn.feed == {2: [(A, 4)]} and turn.unfeed == {}
    assert feeds.source(A) == 2 and feeds.source(B) is None
    assert choose(feeds, peer(1, "c", a=5), peer(2, "d", a=7)) == Turn({}, {}, {}), "who has it once has it for good"


def test_the_author_is_preferred_though_others_have_more() -> None:
    assert choose(Feeds(), peer(1, "c", a=9), peer(2, "a", a=7)).feed == {2: [(A, 1)]}


def test_of_two_running_copies_the_one_that_writes_the_log_is_preferred() -> None:
    """Both have the author's name; the other one knows the log by way of somebody else."""
    copy, writer = peer(1, "a", a=9), peer(2, "a", a=7)
    copy.log, writer.log = log("a", 2), A
    assert choose(Feeds(), copy, writer).feed == {2: [(A, 1)]}
    copy.log, writer.log = None, None
    assert choose(Feeds(), copy, writer).feed == {1: [(A, 1)]}, "who has more, while their hellos tell nothing"


def test_equal_peers_are_told_apart_by_their_links() -> None:
    assert choose(Feeds(), peer(2, "d", a=5), peer(1, "c", a=5)).feed == {1: [(A, 1)]}


def test_nobody_is_asked_for_our_own_and_for_frozen_logs() -> None:
    feeds = Feeds()
    choose(feeds, peer(1, "a", a=5))
    turn = choose(feeds, peer(1, "a", a=5), refused=frozenset({A}))
    assert turn.unfeed == {1: [A]} and feeds.source(A) is None


def test_peers_that_are_not_live_are_not_asked() -> None:
    assert choose(Feeds(), peer(1, "a", phase=Phase.TELLING, a=5)).feed == {}


def test_the_author_takes_over_when_nothing_is_on_its_way() -> None:
    feeds = Feeds()
    middle, author = peer(1, "c", a=5), peer(2, "a", a=5)
    choose(feeds, middle)
    assert choose(feeds, middle, author, inbox=box(a=2)).feed == {}, "it would come in twice"
    turn = choose(feeds, middle, author, inbox=box(a=5))
    assert (turn.unfeed, turn.feed) == ({1: [A]}, {2: [(A, 6)]})


def test_a_link_that_ends_leaves_its_logs_to_others() -> None:
    feeds = Feeds()
    one, other = peer(1, "c", a=5, b=5), peer(2, "d", a=4)
    choose(feeds, one)
    choose(feeds, one, other)
    assert sorted(feeds.link_down(1)) == sorted([A, B])
    assert choose(feeds, other, inbox=box(a=1)).feed == {2: [(A, 2)]}
    assert feeds.forget(A) == 2 and feeds.forget(A) is None


# -- feeds that bring nothing -----------------------------------------------------------------------------------------


def test_news_that_another_told_first_are_no_stall() -> None:
    """A log that was quiet for an hour is not late the moment somebody else speaks of its next commit: the commit is on
    its way (seeds in which commits came in twice)."""
    feeds = Feeds()
    slow, quick = peer(1, "a", a=3), peer(2, "c", a=3)
    choose(feeds, slow, quick, inbox=box(a=3))
    quick.learn(A, head(4))
    assert stalled(feeds, 3_600.0, slow, quick, inbox=box(a=3)) == Turn({}, {}, {})
    assert stalled(feeds, 3_605.0, slow, quick, inbox=box(a=3)) == Turn({}, {}, {})
    turn = stalled(feeds, 3_600.0 + limits.feed_stall_s, slow, quick, inbox=box(a=3))
    assert (turn.unfeed, turn.feed) == ({1: [A]}, {2: [(A, 4)]})


def test_a_feed_with_progress_stays() -> None:
    feeds = Feeds()
    one, other = peer(1, "c", a=9), peer(2, "d", a=9)
    choose(feeds, one, other)
    for now in (5.0, 14.0, 23.0):
        assert stalled(feeds, now, one, other) == Turn({}, {}, {})
        feeds.progress(A, 1, now)
        feeds.progress(A, 2, now + 100.0)  # of another link: says nothing


def test_commits_of_other_logs_over_the_same_link_are_progress_too() -> None:
    feeds = Feeds()
    one, other = peer(1, "c", a=9), peer(2, "d", a=9)
    choose(feeds, one, other)
    stalled(feeds, 1.0, one, other)
    one.commits_at = 15.0
    assert stalled(feeds, 20.0, one, other) == Turn({}, {}, {})


def test_a_log_that_never_comes_over_a_busy_link_is_asked_for_again() -> None:
    """What was lost does not come because other logs do, which may themselves wait for it (seed 422: a site took the
    same commits again and again, and never the one that they depended on)."""
    feeds = Feeds()
    one = peer(1, "c", a=9)
    choose(feeds, one)
    stalled(feeds, 1.0, one)
    one.commits_at = 25.0
    assert stalled(feeds, 26.0, one) == Turn({}, {}, {1: None}), "are they on their way?"
    one.answered = 26.0
    turn = stalled(feeds, 30.0, one)
    assert (turn.unfeed, turn.feed, turn.ask) == ({1: [A]}, {1: [(A, 1)]}, {})


def test_the_same_peer_is_asked_again_only_behind_its_answer() -> None:
    """Over a slow line the commits may still be on their way: asking twice would make it slower (S14)."""
    feeds = Feeds()
    only = peer(1, "a", a=9)
    choose(feeds, only)
    assert stalled(feeds, 5.0, only) == Turn({}, {}, {})
    assert stalled(feeds, 20.0, only) == Turn({}, {}, {1: None}), "are you there?"
    assert stalled(feeds, 25.0, only) == Turn({}, {}, {1: None})
    only.answered = 20.0
    turn = stalled(feeds, 30.0, only)
    assert (turn.feed, turn.ask) == ({1: [(A, 1)]}, {})


def test_a_peer_whose_commits_wait_for_membership_brings_something() -> None:
    feeds = Feeds()
    one, other = peer(1, "c", a=9), peer(2, "d", a=9)
    choose(feeds, one, other)
    stalled(feeds, 1.0, one, other)
    one.stalled.append(None)  # type: ignore[arg-type]  # that there is one is all that counts
    assert stalled(feeds, 60.0, one, other) == Turn({}, {}, {})


def test_a_source_whose_link_is_gone() -> None:
    feeds = Feeds()
    choose(feeds, peer(1, "c", a=9))
    turn = stalled(feeds, 1.0, peer(2, "d", a=9))
    assert turn.feed == {2: [(A, 1)]}


def test_a_slow_peer_keeps_its_feed_while_commits_may_be_on_their_way() -> None:
    """It is heard of, and has not answered since: what it sends would come twice from somebody else."""
    feeds = Feeds()
    slow, quick = peer(1, "a", a=9), peer(2, "d", a=9)
    choose(feeds, slow)
    stalled(feeds, 1.0, slow, quick)
    slow.heard = 12.0
    assert stalled(feeds, 12.0, slow, quick) == Turn({}, {}, {1: None}), "what have you sent?"
    slow.answered = 12.5
    turn = stalled(feeds, 17.0, slow, quick)
    assert (turn.unfeed, turn.feed) == ({1: [A]}, {2: [(A, 1)]}), "it had sent nothing"


def test_a_peer_that_talks_and_never_answers_loses_its_feed() -> None:
    feeds = Feeds()
    talker, quick = peer(1, "a", a=9), peer(2, "d", a=9)
    choose(feeds, talker)
    stalled(feeds, 0.0, talker, quick)
    talker.heard = limits.feed_patience_s - 1
    assert stalled(feeds, limits.feed_patience_s - 1, talker, quick).feed == {}
    talker.heard = limits.feed_patience_s
    assert stalled(feeds, limits.feed_patience_s, talker, quick).feed == {2: [(A, 1)]}
