"""Repair: what was lost is said again, silent peers are given up, equal frontiers are held against each other (L5)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.ids import DataKeyId, LogId
from crdtsync.replication import events, messages
from crdtsync.replication.effects import Close, ReadSums, Send
from crdtsync.replication.messages import members_digest
from crdtsync.replication.session import Phase
from tests.replication import people
from tests.replication.cores import Site, commits, data_key, hello, sites

STEP = limits.repair_interval_s


def said(site: Site, kind: type[messages.Message], link: int = 1) -> list[messages.Message]:
    return [message for message in site.said(link) if isinstance(message, kind)]


def derived(site: Site, digest: bytes, *waiting: DataKeyId) -> None:
    site.handle(events.Derived(len(site.disk), digest, waiting))


def digest_of(site: Site, content: bytes) -> messages.Digest:
    return messages.Digest(site.core.stored.digest(), members_digest(site.book.heads), content)


def test_an_unanswered_hello_is_said_again() -> None:
    a, _ = sites("a", "b")
    a.link(1, "b")
    assert len(said(a, messages.Hello)) == 1
    a.later(STEP)
    [again] = said(a, messages.Hello)
    assert isinstance(again, messages.Hello) and not again.heard
    a.hear(1, hello("b", a.book))
    a.said(1)
    a.later(STEP)
    assert said(a, messages.Hello) == []


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.later(limits.ping_interval_s)
    [ping] = said(a, messages.Ping)
    assert isinstance(ping, messages.Ping) and ping.time == int(a.now * 1000)
    found = a.later(limits.idle_seconds_max)
    assert [effect.reason for effect in found if isinstance(effect, Close)] == ["nothing was heard for a minute"]


def test_whoever_answers_is_not_given_up() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    for _ in range(30):
        a.later(STEP)
        for ping in said(a, messages.Ping):
            assert isinstance(ping, messages.Ping)
            a.hear(1, messages.Pong(ping.time))
    assert a.closed == {}
    assert a.core.peers[1].answered > 100.0


def test_pings_and_pongs_go_behind_commits() -> None:
    """Else a ping would vouch for commits that are still on their way, and credit would be given for them twice."""
    a, b = sites("a", "b")
    a.greet(1, "b")
    b.greet(1, "a")
    pings = [e for e in a.later(20.0) if isinstance(e, Send) and messages.decode(e.message).__class__ is messages.Ping]
    assert pings and not any(effect.urgent for effect in pings)
    [pong] = [e for e in b.handle(events.Received(1, pings[0].message)) if isinstance(e, Send)]
    assert messages.decode(pong.message).__class__ is messages.Pong and not pong.urgent


def test_an_answer_from_the_future_counts_as_one_from_now() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.hear(1, messages.Pong(2**53))
    assert a.core.peers[1].answered == a.now


def test_credit_is_told_again() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.later(STEP)
    [told] = said(a, messages.Digest)
    assert isinstance(told, messages.Digest) and told.credit == a.core.peers[1].granted > 0


def test_credit_that_comes_with_a_digest_counts() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.core.peers[1].sent = 4_000
    a.hear(1, messages.Digest(bytes(32), bytes(32), bytes(32), 4_000 + limits.in_flight_bytes_max))
    assert a.core.peers[1].credit == limits.in_flight_bytes_max
    a.hear(1, messages.Digest(bytes(32), bytes(32), bytes(32)))  # an older program's says nothing of it
    assert a.core.peers[1].credit == limits.in_flight_bytes_max


def test_a_lost_message_of_commits_leaks_no_credit() -> None:
    a, b = sites("a", "b")
    lost, came = a.author.commit(size=3_000), a.author.commit()
    b.greet(1, "a", (a.author.log, came.head))
    total = lost.size + came.size
    b.hear(1, commits(came, sent=total))
    assert b.core.peers[1].allowance() == total + limits.in_flight_bytes_max
    b.hear(1, messages.Ping(total + 500, 1))
    assert b.core.peers[1].allowance() == total + 500 + limits.in_flight_bytes_max


def test_another_frontier_is_told_ours_once_in_a_while() -> None:
    a, _ = sites("a", "b")
    a.write(2)
    a.greet(1, "b")
    a.now += STEP
    other = messages.Digest(bytes(32), members_digest(a.book.heads), bytes(32))
    a.said(1)
    a.hear(1, other, other)
    [have] = said(a, messages.Have)
    assert isinstance(have, messages.Have) and have.whole and have.heads == ((a.author.log, a.author.head),)


def test_another_membership_is_told_ours() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    a.hear(1, messages.Digest(a.core.stored.digest(), bytes(32), bytes(32)))
    assert len(said(a, messages.Members)) == 1


def test_equal_frontiers_with_other_content_raise_an_alarm_and_are_compared_once() -> None:
    a, _ = sites("a", "b")
    a.write(2)
    derived(a, bytes([1]) * 32)
    a.greet(1, "b", (a.author.log, a.author.head))
    found = a.hear(1, digest_of(a, bytes([2]) * 32), digest_of(a, bytes([2]) * 32))
    assert [type(effect) for effect in found].count(ReadSums) == 1
    assert a.alarms() == ["digest"]


@pytest.mark.parametrize("content", [bytes([1]) * 32, bytes(32)], ids=["equal", "not derived yet"])
def test_no_alarm_without_a_difference(content: bytes) -> None:
    a, _ = sites("a", "b")
    a.write()
    derived(a, bytes([1]) * 32)
    a.greet(1, "b", (a.author.log, a.author.head))
    a.hear(1, digest_of(a, content))
    assert a.alarms() == []


def test_a_view_that_is_behind_or_waits_for_keys_is_not_compared() -> None:
    a, _ = sites("a", "b")
    a.write(2)
    a.handle(events.Derived(1, bytes([1]) * 32, ()))
    derived(a, bytes([1]) * 32, data_key("erika").id)
    a.greet(1, "b", (a.author.log, a.author.head))
    a.hear(1, digest_of(a, bytes([2]) * 32))
    assert a.alarms() == []
    a.said(1)
    a.later(STEP)
    assert [message.digest for message in said(a, messages.Digest) if isinstance(message, messages.Digest)] == [
        bytes(32)
    ]


def test_views_are_compared_when_both_leave_out_what_the_membership_holds() -> None:
    a, _ = sites("a", "b")
    a.write(2)
    a.greet(1, "b", (a.author.log, a.author.head))
    derived(a, bytes([1]) * 32)
    a.book.holds("a", "b", 1)
    hold = a.book.records()[-1]
    a.handle(events.MembersStored([hold]))
    a.hear(1, digest_of(a, bytes([2]) * 32))
    assert a.alarms() == [], "the view does not leave it out yet"
    a.handle(events.Derived(len(a.disk), bytes([3]) * 32, (), -1))
    a.hear(1, digest_of(a, bytes([2]) * 32))
    assert a.alarms() == [], "it leaves out something that nobody has signed"
    a.handle(events.Derived(len(a.disk), bytes([2]) * 32, (), 1))
    a.hear(1, digest_of(a, bytes([2]) * 32))
    assert a.alarms() == []
    a.hear(1, digest_of(a, bytes([4]) * 32))
    assert a.alarms() == ["digest"]


def test_only_some_digests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "digests_remembered_max", 2)
    a, _ = sites("a", "b")
    first = None
    for number in range(4):
        a.write()
        derived(a, bytes([number + 1]) * 32)
        first = first or digest_of(a, bytes([9]) * 32)
    a.greet(1, "b", (a.author.log, a.author.head))
    assert first is not None
    a.hear(1, first, digest_of(a, bytes([4]) * 32))
    assert a.alarms() == []


def test_keys_that_parts_wait_for_are_asked_of_one_peer_after_the_other() -> None:
    a, _, _ = sites("a", "b", "c")
    wanted = data_key("erika").id
    a.greet(1, "b")
    a.greet(2, "c")
    derived(a, bytes(32), wanted)
    asked = []
    for _ in range(4):
        a.later(STEP)
        for link in (1, 2):
            asked += [link for message in said(a, messages.WantKeys, link) if message == messages.WantKeys((wanted,))]
    assert sorted(asked) == [1, 1, 2, 2]


def test_keys_are_given_to_whoever_asks_and_kept_when_they_come() -> None:
    a, _ = sites("a", "b")
    key, other = data_key("erika"), data_key("otto")
    a.keys[key.id] = key
    a.greet(1, "b")
    a.hear(1, messages.WantKeys((key.id, other.id)))
    assert said(a, messages.Keys) == [messages.Keys((key,))]
    derived(a, bytes(32), other.id)
    a.hear(1, messages.Keys((key, other)))
    assert a.keys[other.id] == other


def test_keys_that_nobody_asked_for_are_not_kept() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    derived(a, bytes(32), data_key("erika").id)
    a.hear(1, messages.Keys((data_key("otto"), data_key("hans"))))
    assert not a.keys


def test_who_cannot_read_is_not_compared_with() -> None:
    """An archive has no view: its digest says nothing, and sums over records are none of its business."""
    book = people.practice("b")
    book.adds("a", "z", "archive", False)
    a = Site("a", book)
    a.greet(1, "z")
    derived(a, bytes([1]) * 32)
    a.hear(1, digest_of(a, bytes([4]) * 32))
    assert a.alarms() == []
    a.greet(2, "b")
    asked = messages.encode(messages.WantSums(a.core.stored.digest(), members_digest(a.book.heads), ((),)))
    found = [[type(effect) for effect in a.handle(events.Received(link, asked))] for link in (1, 2)]
    assert ReadSums not in found[0] and ReadSums in found[1]


def test_a_feed_that_brings_nothing_is_asked_for_again_when_the_peer_has_answered() -> None:
    a, b = sites("a", "b")
    a.author.run(3)
    b.greet(1, "a", (a.author.log, a.author.head))
    for _ in range(6):
        b.later(STEP)
        for message in b.said(1):
            assert not isinstance(message, messages.Feed)
    b.hear(1, messages.Pong(int(b.now * 1000)))
    b.later(STEP)
    assert messages.Feed(((a.author.log, 1),)) in b.said(1)


def test_a_link_full_of_what_waits_for_another_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "in_flight_bytes_max", 3_000)
    a, b, c = sites("a", "b", "c")
    missing = a.author.commit()
    b.author.commit({a.author.log: missing.head}, size=2_500)
    c.greet(1, "b", (b.author.log, b.author.head))
    c.hear(1, commits(*b.author.commits))
    assert c.core.peers[1].waiting > 1_500
    c.later(limits.feed_stall_s)
    [asked, *_] = [said for said in c.said(1) if isinstance(said, messages.Ping)]
    assert c.core.peers[1].waiting > 1_500, "more may be on its way"
    c.hear(1, messages.Pong(asked.time))
    c.later(limits.repair_interval_s)
    assert c.core.peers[1].waiting == 0 and c.core.inbox.commits == 0


def test_giving_up_many_logs_takes_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message of them all was more than its receiver takes (once found by a seed)."""
    monkeypatch.setattr(limits, "frontier_entries_per_message_max", 1)
    a, b, c = sites("a", "b", "c")
    a.author.run(1)
    b.author.run(1)
    for link, other in ((1, a), (2, b)):
        c.greet(link, other.name)
    heads = [(a.author.log, a.author.head), (b.author.log, b.author.head)]
    for head in heads:
        c.hear(1, messages.Have((head,), False))
    for head in heads:
        c.hear(2, messages.Have((head,), False))
    c.said(1)
    c.later(STEP)
    c.later(limits.feed_stall_s)
    unfed = [message for message in c.said(1) if isinstance(message, messages.Unfeed)]
    assert len(unfed) == 2 and all(len(message.logs) == 1 for message in unfed)


def test_what_was_lost_on_a_full_link_is_asked_for_before_anything_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was let go comes again, looks like progress, and the lost one is never asked for (a machine's find)."""
    monkeypatch.setattr(limits, "in_flight_bytes_max", 3_000)
    a, b, c = sites("a", "b", "c")
    lost = a.author.commit()
    b.author.commit({a.author.log: lost.head}, size=2_500)
    heads = ((a.author.log, lost.head), (b.author.log, b.author.head))
    c.greet(1, "b", *heads)
    c.hear(1, commits(*b.author.commits))
    asked_for: set[LogId] = set()
    for _ in range(10):
        c.later(limits.repair_interval_s)
        c.now += 0.1  # the way there and back
        said = c.said(1)
        c.hear(1, *(messages.Pong(ping.time) for ping in said if isinstance(ping, messages.Ping)))
        c.hear(1, messages.Have(heads, True))
        feeds = [feed for feed in (*said, *c.said(1)) if isinstance(feed, messages.Feed)]
        fed = {log for feed in feeds for log, _ in feed.cursors}
        asked_for |= fed
        if b.author.log in fed:
            c.hear(1, commits(*b.author.commits, sent=10_000))
    assert a.author.log in asked_for


def test_an_equal_hash_tells_what_was_lost_of_a_frontier() -> None:
    """Found by seed 473: at rest nothing else is said, and rotten commits were asked of nobody."""
    a, b = sites("a", "b")
    a.write()
    a.link(1, "b")
    a.hear(1, hello("b", a.book))
    assert a.core.peers[1].phase is Phase.TELLING
    a.hear(1, digest_of(a, bytes(32)))
    peer = a.core.peers[1]
    assert peer.live and peer.have.sequence(a.author.log) == 1
    assert a.core.holding(b.core.id).sequence(a.author.log) == 1
