"""Receiving: what a commit must pass, and when others hear of it (L1, L2, L3, L6, L7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crdtsync import limits
from crdtsync.ids import MemberHash, PracticeId
from crdtsync.replication import membership, messages
from crdtsync.replication.commit import Commit, encode_header
from crdtsync.replication.effects import Store
from crdtsync.replication.events import MembersStored
from tests.replication import people
from tests.replication.cores import Author, Site, commits, data_key, sites


def feeds_said(site: Site, link: int = 1) -> list[tuple[tuple[bytes, int], ...]]:
    return [said.cursors for said in site.said(link) if isinstance(said, messages.Feed)]


def offered(site: Site, author: Author, link: int = 1) -> None:
    """The peer on `link` is live and has all that `author` wrote."""
    site.greet(link, author.name, (author.log, author.head))


# -- the path of an honest commit -------------------------------------------------------------------------------------


def test_a_run_is_stored_with_its_keys_in_one_go() -> None:
    a, b = sites("a", "b")
    key = data_key("erika")
    a.author.commit(key=key)
    a.author.run(2)
    offered(b, a.author)
    [store] = [e for e in b.hear(1, commits(*a.author.commits, keys=[key])) if isinstance(e, Store)]
    assert [checked for _, checked in store.commits] == [False, False, True], "one signature covers the run"
    assert list(store.keys) == [key]
    assert b.stored() == [(a.author.log, n) for n in (1, 2, 3)]
    assert b.core.stored.head(a.author.log) == a.author.head


def test_one_batch_at_a_time_and_the_next_behind_it() -> None:
    a, b = sites("a", "b")
    run = a.author.run(4)
    offered(b, a.author)
    b.hold = True
    b.hear(1, commits(*run[:2]))
    assert b.core.busy
    b.hear(1, commits(*run[2:]))
    assert len(b.waiting) == 1 and b.core.inbox.commits == 2
    b.work()
    assert b.stored() == [(a.author.log, n) for n in (1, 2, 3, 4)]
    assert not b.core.busy


def test_a_commit_waits_for_what_it_depends_on() -> None:
    a, b, c = sites("a", "b", "c")
    first = a.author.commit()
    second = b.author.commit({a.author.log: first.head})
    offered(c, b.author, 1)
    offered(c, a.author, 2)
    c.hear(1, commits(second))
    assert c.stored() == []
    c.hear(2, commits(first))
    assert c.stored() == [(a.author.log, 1), (b.author.log, 1)]


def test_what_came_already_is_counted_and_nothing_else() -> None:
    a, b = sites("a", "b")
    run = a.author.run(3)
    offered(b, a.author)
    b.hear(1, commits(*run), commits(*run), commits(*run[1:]))
    assert len(b.disk) == 3
    assert b.core.peers[1].counters.duplicates_in == 5
    assert b.closed == {} and b.alarms() == []


def test_a_gap_is_asked_for_once_in_a_while() -> None:
    a, b = sites("a", "b")
    run = a.author.run(5)
    offered(b, a.author)
    b.hear(1, commits(run[0]))
    b.said(1)
    b.hear(1, commits(run[2]), commits(run[3]))
    assert feeds_said(b) == [((a.author.log, 2),)]
    b.now += 2.0
    b.hear(1, commits(run[4]))
    assert feeds_said(b) == [((a.author.log, 2),)]
    b.hear(1, commits(*run[1:]))
    assert len(b.disk) == 5


# -- what is refused, and why -----------------------------------------------------------------------------------------


def refused(site: Site, *run: Commit) -> str:
    """Why the link over which this came was ended; nothing was stored of it."""
    before = len(site.disk)
    site.hear(1, commits(*run))
    assert len(site.disk) == before
    assert list(site.core.peers) == []
    return site.closed[1]


def test_a_commit_of_another_practice() -> None:
    a, b = sites("a", "b")
    commit = a.author.commit(practice=PracticeId(b"another practice"))
    offered(b, a.author)
    assert refused(b, commit) == "Malformed: a commit of another practice"


def test_a_run_that_its_author_did_not_sign() -> None:
    a, b = sites("a", "b")
    run = [a.author.commit(), a.author.commit(forged=True)]
    offered(b, a.author)
    assert refused(b, *run) == "BadSignature: a run of commits whose last signature does not verify"


def test_a_commit_that_is_not_chained_and_not_signed() -> None:
    a, b = sites("a", "b")
    first = a.author.commit()
    stranger = Author("a", a.book.practice, a.book.heads)
    stranger.commit(size=41)
    other = stranger.commit(forged=True)
    offered(b, a.author)
    b.hear(1, commits(first))
    assert refused(b, other).startswith("BadSignature: a commit does not continue its log")
    assert b.core.frozen == {}, "nobody's log is frozen by what anybody may make up"


def test_commits_that_wait_for_membership_are_bounded_with_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: a message may hold thousands of keys beside one small commit."""
    monkeypatch.setattr(limits, "inbox_bytes_max", 10_000)
    a, b = sites("a", "b")
    unknown = a.author.commit(members=[MemberHash(bytes(32))])
    offered(b, a.author)
    keys = [data_key(str(number)) for number in range(50)]
    b.hear(1, commits(unknown, keys=keys))
    assert b.core.peers[1].waiting > limits.inbox_bytes_max
    assert refused(b, unknown).startswith("NotAMember: commits name membership records that never came")


def test_logs_that_commits_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: a commit behind a gap is not verified, and yet its log is noted as one that the peer has."""
    monkeypatch.setattr(limits, "frontier_entries_max", 5)
    a, b = sites("a", "b")
    offered(b, a.author)
    many = []
    for boot in range(2, 9):
        author = Author("a", a.book.practice, a.book.heads, boot=boot)
        many.append(author.run(2)[1])
    assert refused(b, *many).startswith("TooLarge: the peer sends commits of more logs")


def test_a_log_of_nobody() -> None:
    a, b = sites("a", "b")
    nobody = Author("x", a.book.practice, a.book.heads)
    offered(b, a.author)
    assert refused(b, nobody.commit()).startswith("BadSignature")


# -- members that were removed ----------------------------------------------------------------------------------------


def removal(cut: int) -> tuple[Site, Author]:
    """At b, c was removed by a, who had accepted `cut` commits of its log; b has none of them."""
    a, b, c = sites("a", "b", "c")
    c.author.run(4)
    heads = {c.author.log: c.author.commits[cut - 1].head} if cut else {}
    a.book.removes("a", "c", readers="ab")
    if heads:
        a.book.attests("a", "c", 1)
    b.greet(1, "a")
    b.hear(1, messages.Records(tuple(data for _, data in a.book.records())))
    return b, c.author


def test_what_a_removed_one_wrote_is_set_aside_until_it_is_attested() -> None:
    b, gone = removal(0)
    b.hear(1, commits(*gone.commits))
    assert b.stored() == []
    assert b.core.late == {gone.log: 4} and b.alarms() == ["late"]
    b.hear(1, messages.Have((), False))
    attest = b.book.copy()
    record = attest.put(_attest(attest, gone, 2))
    b.said(1)
    b.hear(1, messages.Records((dict(attest.records())[record],)))
    assert messages.Feed(((gone.log, 1),)) in b.said(1), "nothing of it was kept: it had taken the room of others (L7)"
    b.hear(1, commits(*gone.commits))
    assert b.stored() == [(gone.log, 1), (gone.log, 2)]


def test_a_log_that_is_set_aside_takes_no_credit_and_is_not_asked_for() -> None:
    """Seed 40095 of the simulator: an archive has what a removed site wrote, and its link had less credit for ever."""
    b, gone = removal(0)
    b.hear(1, commits(*gone.commits))
    peer = b.core.peers[1]
    assert peer.waiting == 0 and b.core.inbox.commits == 0
    b.hear(1, messages.Have(((gone.log, gone.commits[-1].head),), False))
    b.later(10 * limits.feed_stall_s)
    assert not [said for said in b.said(1) if isinstance(said, messages.Feed)]


def _attest(book: people.Book, gone: Author, upto: int) -> bytes:
    return membership.attest(people.signer("a"), book.at("a"), {gone.log: gone.commits[upto - 1].head})


def test_a_commit_that_names_its_own_author_as_removed() -> None:
    b, _ = removal(0)
    commit = Author("c", b.book.practice, b.book.heads, boot=9).commit()
    b.hear(1, commits(commit))
    assert b.stored() == [] and b.alarms() == ["late"]


def test_what_was_accepted_before_the_removal_is_to_be_attested() -> None:
    a, b, c = sites("a", "b", "c")
    run = c.author.run(2)
    offered(b, c.author)
    b.hear(1, commits(*run))
    assert b.core.attests_due() == {}
    gone = a.book.removes("a", "c", readers="ab")
    b.book.add(dict(a.book.records())[gone])
    b.handle(MembersStored([(gone, dict(a.book.records())[gone])]))
    assert b.core.attests_due() == {c.author.log: c.author.head}


# -- bounds (L7) ------------------------------------------------------------------------------------------------------


def test_a_full_inbox_lets_go_of_what_waits_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not of what the others wait for, which would never end (once found by a seed)."""
    monkeypatch.setattr(limits, "inbox_commits_max", 6)
    a, b, c = sites("a", "b", "c")
    wanted = a.author.run(4)
    b.author.commit({a.author.log: wanted[3].head})
    b.author.run(4)
    offered(c, b.author, 1)
    offered(c, a.author, 2)
    c.hear(1, commits(*b.author.commits))
    c.hear(2, commits(*wanted[:2]))
    c.hear(2, commits(*wanted[2:]))
    assert c.core.stored.sequence(a.author.log) == 4
    assert c.core.stored.sequence(b.author.log) == 5


def test_an_inbox_never_holds_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "inbox_commits_max", 6)
    a, b, c = sites("a", "b", "c")
    missing = a.author.commit()
    b.author.commit({a.author.log: missing.head})
    b.author.run(30)
    offered(c, b.author)
    for start in range(0, 31, 3):
        c.hear(1, commits(*b.author.commits[start : start + 3]))
        assert c.core.inbox.commits <= 6
    assert any(isinstance(said, messages.Unfeed) for said in c.said(1))
    assert c.core.peers[1].waiting == c.core.inbox.bytes


def test_credit_comes_back_when_commits_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "in_flight_bytes_max", 4_000)
    a, b = sites("a", "b")
    run = a.author.run(8)
    offered(b, a.author)
    b.hold = True
    b.hear(1, commits(*run))
    peer = b.core.peers[1]
    assert peer.waiting == sum(commit.size for commit in run)
    assert peer.allowance() == 4_000
    b.work()
    assert peer.waiting == 0
    assert peer.allowance() == 4_000 + sum(commit.size for commit in run)


# -- what is looked at besides the signature ------------------------------------------------------------------------


def test_a_commit_comes_with_all_its_content() -> None:
    a, b = sites("a", "b")
    commit = a.author.commit()
    offered(b, a.author)
    assert refused(b, replace(commit, parts=(b"",))) == "Malformed: a commit without all of its content"


def test_messages_that_wait_for_membership_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "stalled_messages_max", 2)
    a, b = sites("a", "b")
    unknown = a.author.commit(members=[MemberHash(bytes(32))])
    offered(b, a.author)
    b.hear(1, commits(unknown), commits(unknown))
    assert refused(b, unknown).startswith("NotAMember: commits name membership records that never came")


def test_what_a_removed_one_wrote_counts_for_nothing_after_it_came_back() -> None:
    """It names the membership in which it was removed: there it had no right to write."""
    a, b, _ = sites("a", "b", "c")
    a.book.removes("a", "c", readers="ab")
    removed = a.book.heads
    a.book.adds("a", "c")
    b.greet(1, "a")
    b.hear(1, messages.Records(tuple(data for _, data in a.book.records())))
    assert b.book.names() == "abc"
    b.hear(1, commits(Author("c", b.book.practice, removed, boot=2).commit()))
    assert b.stored() == [] and b.alarms() == ["late"]
    b.hear(1, commits(Author("c", b.book.practice, b.book.heads, boot=3).commit()))
    assert len(b.stored()) == 1


def attested(upto: int) -> tuple[Site, Author, Author]:
    """At b, c was removed and `upto` of its commits are attested; and another branch of its log, signed by it too."""
    b, gone = removal(0)
    record = b.book.copy()
    attest = record.put(_attest(record, gone, upto))
    b.hear(1, messages.Records((dict(record.records())[attest],)))
    other = Author("c", gone.practice, gone.members, commits=gone.commits[: upto - 1])
    other.commit(size=77)
    return b, gone, other


def test_what_lies_behind_the_cut_is_set_aside() -> None:
    b, gone, _ = attested(2)
    b.hear(1, commits(*gone.commits))
    assert b.stored() == [(gone.log, 1), (gone.log, 2)]
    assert b.core.late == {gone.log: 2} and b.alarms() == ["late"]


def test_the_cut_names_one_commit_and_no_other_in_its_place() -> None:
    b, gone, other = attested(2)
    b.hear(1, commits(*other.commits))
    assert b.stored() == [(gone.log, 1)]


def test_what_waits_for_membership_that_never_comes_gives_way_to_the_same_from_another() -> None:
    """Found by seed 2723: a flipped bit in the name of a membership record kept a link's credit for ever."""
    a, b, _ = sites("a", "b", "c")
    commit = a.author.commit()
    offered(b, a.author)
    b.greet(2, "c", (a.author.log, a.author.head))
    flipped = replace(commit, header=replace(commit.header, members=(MemberHash(bytes(32)),)))
    flipped = replace(flipped, header_bytes=encode_header(flipped.header))
    b.hear(2, commits(flipped))
    assert b.core.peers[2].waiting > 0
    b.hear(1, commits(commit))
    assert len(b.stored()) == 1
    b.later(limits.repair_interval_s)
    assert b.core.peers[2].waiting == 0 and not b.core.peers[2].stalled
