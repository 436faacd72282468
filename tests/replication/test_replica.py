"""The core of a replica as a whole: links, hellos, convergence over any chain, own logs, total over input (L4, L6)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.ids import PracticeId
from crdtsync.replication import events, messages
from crdtsync.replication.effects import Alarm, Close, NewBoot, Send
from crdtsync.replication.session import Phase
from tests.replication import people
from tests.replication.cores import Author, Site, commits, connect, hello, pump, sites

# -- links ------------------------------------------------------------------------------------------------------------


def test_a_stranger_is_shown_the_door() -> None:
    [a] = sites("a")
    found = a.handle(events.LinkUp(1, people.replica("x"), True))
    assert found[0] == Close(1, "the peer is no member of this practice")
    assert a.core.peers == {}


def test_of_two_links_both_sides_keep_the_same() -> None:
    """Each has dialled the other at the same moment."""
    a, b = sites("a", "b")
    for first, second in ((a, b), (b, a)):
        first.link(1, second.name, dialled=first is a)
        first.link(2, second.name, dialled=first is b)
    for first, second in ((a, b), (b, a)):
        for link in sorted(set(first.core.peers)):
            first.hear(link, hello(second.name, second.book))
    assert list(a.core.peers) == list(b.core.peers)
    assert set(a.closed) == set(b.closed)
    assert len(a.core.peers) == 1


def test_of_two_links_of_one_dialler_the_newer_stays() -> None:
    """Whoever dials again knows that the older one is dead."""
    a, _ = sites("a", "b")
    a.link(1, "b", dialled=False)
    a.link(2, "b", dialled=False)
    assert list(a.core.peers) == [2] and list(a.closed) == [1]


def test_what_comes_over_a_link_that_is_gone_is_nothing() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.handle(events.LinkDown(1))
    assert a.hear(1, messages.Ping(0, 0)) == []
    assert a.handle(events.LinkDown(1)) == []
    assert a.handle(events.KeysRead(1, [])) == a.handle(events.BacklogRead(1, 1, 1)) == []
    assert a.handle(events.FeedsRead(1, [], [])) == []


# -- hellos -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "practice", "name", "reason"),
    [
        (1, b"", "b", ""),
        (1, b"another practice", "b", "NotAMember: the peer belongs to another practice"),
        (1, b"", "c", "NotAMember: the peer says that it is another than its key"),
        (2, b"", "b", "Malformed: the peer speaks protocol version 2; update the older program"),
    ],
)
def test_a_hello_is_checked(version: int, practice: bytes, name: str, reason: str) -> None:
    a, _ = sites("a", "b")
    a.link(1, "b")
    a.hear(1, messages.Hello(version, PracticeId(practice or a.book.practice), people.replica(name), b"", False))
    assert a.closed == ({1: reason} if reason else {})
    assert bool(a.core.peers) != bool(reason)


def test_before_the_hello_nothing_else_is_taken() -> None:
    a, b = sites("a", "b")
    commit = b.author.commit()
    a.link(1, "b")
    a.said(1)
    a.hear(1, messages.Have(((b.author.log, commit.head),), True), commits(commit), messages.Ping(0, 0))
    assert a.said(1) == [] and a.stored() == []
    assert a.core.peers[1].phase is Phase.OPENING


def test_it_is_live_when_the_whole_frontier_was_told() -> None:
    a, _ = sites("a", "b")
    a.link(1, "b")
    a.hear(1, hello("b", a.book))
    assert a.core.peers[1].phase is Phase.TELLING
    a.hear(1, messages.Have((), False))
    assert a.core.peers[1].phase is Phase.TELLING
    a.hear(1, messages.Have((), True))
    assert a.core.peers[1].live


def test_hellos_that_cross_are_not_answered_for_ever() -> None:
    """Each said it twice before it heard the other: once found by a seed, as a storm of messages."""
    a, b = sites("a", "b")
    connect(a, b)
    a.later(limits.repair_interval_s)
    b.later(limits.repair_interval_s)
    assert pump(a, b) < 50
    assert a.core.peers[1].live and b.core.peers[1].live


def test_a_hello_that_was_not_heard_is_answered_with_everything() -> None:
    a, _ = sites("a", "b")
    a.write()
    a.greet(1, "b")
    a.hear(1, hello("b", a.book))
    kinds = {type(message) for message in a.said(1)}
    assert {messages.Hello, messages.Members, messages.Have} <= kinds
    a.hear(1, hello("b", a.book, heard=True))
    assert a.said(1) == []


# -- convergence ------------------------------------------------------------------------------------------------------


def test_two_sites_have_the_same_in_the_end() -> None:
    a, b = sites("a", "b")
    a.write(5)
    b.write(3)
    connect(a, b)
    pump(a, b)
    assert a.core.stored == b.core.stored and len(a.disk) == 8
    a.write(2)
    pump(a, b)
    assert a.core.stored == b.core.stored and len(b.disk) == 10


def test_a_third_site_gets_it_through_the_second() -> None:
    a, b, c = sites("a", "b", "c")
    connect(a, b, 1)
    connect(b, c, 2)
    a.write(4)
    for _ in range(3):
        pump(a, b, 1)
        pump(b, c, 2)
    assert c.core.stored.sequence(a.author.log) == 4
    c.later(1.0)
    b.later(1.0)
    for _ in range(3):
        pump(b, c, 2)
        pump(a, b, 1)
        for site in (a, b, c):
            site.later(1.0)
    assert a.core.holding(c.core.id).sequence(a.author.log) == 4, "the first knows that the third has it"


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_whatever_a_line_loses_and_doubles_both_have_the_same_in_the_end(
    seed: int, lost: float, doubled: float
) -> None:
    chance = random.Random(seed)
    a, b = sites("a", "b")
    connect(a, b)
    for round_ in range(200):
        for sender, receiver in ((a, b), (b, a)):
            queue = list(sender.sent[1])
            sender.sent[1].clear()
            if round_ < 60:
                queue = [
                    data for data in queue if chance.random() >= lost for _ in range(1 + (chance.random() < doubled))
                ]
                chance.shuffle(queue)
            for data in queue:
                receiver.handle(events.Received(1, data))
        if round_ < 50 and chance.random() < 0.4:
            chance.choice((a, b)).write(chance.randint(1, 4))
        a.later(1.0)
        b.later(1.0)
    assert a.core.stored == b.core.stored
    assert a.closed == b.closed == {}
    assert a.core.inbox.commits == b.core.inbox.commits == 0


# -- the own log (L4) -------------------------------------------------------------------------------------------------


def test_a_peer_that_knows_more_of_our_log_stops_our_writing_until_we_have_it() -> None:
    a, b = sites("a", "b")
    later_life = Author("a", a.book.practice, a.book.heads)
    later_life.run(3)
    a.greet(1, "b")
    found = a.hear(1, messages.Have(((later_life.log, later_life.head),), False))
    assert any(isinstance(effect, NewBoot) for effect in found)
    assert a.alarms() == ["rollback"]
    assert a.core.recovering and a.core.log is None
    a.handle(events.BootOpened(people.log("a", 2)))
    assert a.core.recovering
    assert any(isinstance(message, messages.Feed) for message in a.said(1))
    a.hear(1, commits(*later_life.commits))
    assert not a.core.recovering
    assert b.alarms() == []


def test_what_we_wrote_ourselves_is_no_surprise() -> None:
    a, _ = sites("a", "b")
    [commit] = a.write()
    a.greet(1, "b")
    found = a.hear(1, messages.Have(((a.author.log, commit.head),), False))
    assert not any(isinstance(effect, NewBoot | Alarm) for effect in found)
    assert not a.core.recovering


def test_our_own_log_is_taken_from_nobody() -> None:
    a, _ = sites("a", "b")
    stranger = Author("a", a.book.practice, a.book.heads)
    a.greet(1, "b")
    a.hear(1, commits(stranger.commit()))
    assert a.stored() == []


# -- total over input (L6), and at rest (L7) --------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_no_bytes_of_a_peer_raise_anything(seed: int) -> None:
    """Messages of an honest peer, changed anywhere: they end the link or say something else, and are never raised."""
    chance = random.Random(seed)
    a, b = sites("a", "b")
    connect(a, b)
    b.write(3)
    pump(a, b)
    honest = [
        messages.encode(message)
        for message in (
            hello("b", a.book),
            messages.Have(((b.author.log, b.author.head),), True),
            commits(*b.author.commits),
            messages.Feed(((b.author.log, 1),)),
            messages.Records(tuple(data for _, data in a.book.records())),
            messages.Holding(people.replica("b"), ((b.author.log, b.author.head),)),
        )
    ]
    for _ in range(10):
        data = bytearray(chance.choice(honest))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for effect in a.handle(events.Received(1, bytes(data))):
            assert not isinstance(effect, Close) or effect.reason
        if not a.core.peers:
            connect(a, b)
            pump(a, b)
    assert a.core.stored.sequence(b.author.log) == 3


def test_a_core_at_rest_wants_to_be_woken_later_and_not_at_once() -> None:
    a, b = sites("a", "b")
    connect(a, b)
    a.write(3)
    pump(a, b)
    for site in (a, b):
        for _ in range(5):
            site.later(1.0)
            assert site.core.wakeup > site.now
            assert site.core.wakeup <= site.now + limits.repair_interval_s


def test_it_is_deterministic() -> None:
    def play() -> list[tuple[int, bytes]]:
        a, b, c = sites("a", "b", "c")
        connect(a, b, 1)
        connect(b, c, 2)
        a.write(3)
        c.write(2)
        for _ in range(3):
            pump(a, b, 1)
            pump(b, c, 2)
        return [(effect.link, effect.message) for effect in b.seen if isinstance(effect, Send)]

    assert play() == play()


def test_members_are_described_by_name() -> None:
    a, _ = sites("a", "b")
    assert a.core.describe(people.replica("b")) == "B"
    assert a.core.describe(people.replica("x")) not in ("", "X")


def test_a_site_is_put_together_from_what_is_stored() -> None:
    a, b = sites("a", "b")
    b.write(2)
    connect(a, b)
    pump(a, b)
    again = Site("a", a.book, disk=a.disk)
    assert again.core.stored == a.core.stored
    b.handle(events.LinkDown(1))
    b.write()
    connect(again, b, 3)
    pump(again, b, 3)
    assert again.core.stored.sequence(b.author.log) == 3
    assert len(again.disk) == 3, "what it has is not asked for again"


def test_a_frontier_of_more_logs_than_a_practice_has_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: for a peer that is no member any more, too, of whom no holdings are kept."""
    monkeypatch.setattr(limits, "frontier_entries_max", 4)
    a, _ = sites("a", "b")
    a.greet(1, "b")
    heads = [(people.log("b", boot), people.head(1)) for boot in range(1, 7)]
    a.hear(1, messages.Have(tuple(heads), False))
    assert a.closed[1].startswith("TooLarge: the peer's frontier names more logs")


def test_a_peer_that_asks_for_more_logs_than_a_practice_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: what a peer wants is kept, also of logs that nobody has."""
    monkeypatch.setattr(limits, "frontier_entries_max", 4)
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.hear(1, messages.Feed(tuple((people.log("b", boot), 1) for boot in range(1, 7))))
    assert a.closed[1].startswith("TooLarge: the peer asks for more logs")
