"""How two replicas come to know the same membership, whatever is lost between them."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.ids import MemberHash
from crdtsync.replication import messages
from crdtsync.replication.effects import MembersChanged, Store, StoreMembers
from crdtsync.replication.events import MembersStored
from crdtsync.replication.member_codec import decode_record
from tests.replication import people
from tests.replication.cores import Site, commits, connect, hello, pump, sites


def records_said(site: Site, link: int = 1) -> list[bytes]:
    return [data for said in site.said(link) if isinstance(said, messages.Records) for data in said.records]


def test_each_sends_what_the_other_lacks() -> None:
    a, b = sites("a", "b")
    a.book.adds("a", "c")
    b.book.adds("b", "d")
    connect(a, b)
    pump(a, b)
    assert a.book.heads == b.book.heads
    assert a.book.names() == "abcd"


def test_a_list_in_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "member_hashes_per_message_max", 2)
    a, b = sites("a", "b")
    for name in "cdefgh":
        a.book.adds("a", name)
    connect(a, b)
    pump(a, b)
    assert b.book.names() == "abcdefgh"


def test_nothing_is_passed_on_before_it_is_on_disk() -> None:
    """L1 for membership: a third site hears of a record when it is synced here."""
    a, b, _ = sites("a", "b", "c")
    b.greet(1, "a")
    b.greet(2, "c")
    b.hold = True
    added = a.book.adds("a", "d")
    data = dict(a.book.records())[added]
    [store, *_] = b.hear(1, messages.Records((data,)))
    assert isinstance(store, StoreMembers)
    assert records_said(b, 2) == []
    b.work()
    assert records_said(b, 2) == [data]
    assert records_said(b, 1) == [], "whoever sent it has it"


def test_who_asks_meanwhile_hears_only_of_what_is_on_disk() -> None:
    """L1: a list that comes in, and one that is told, while a record is on its way to the disk (found by a machine)."""
    a, b, _ = sites("a", "b", "c")
    b.greet(1, "a")
    b.greet(2, "c")
    before = {member for member, _ in b.book.records()}
    b.hold = True
    added = a.book.adds("a", "d")
    b.hear(1, messages.Records((dict(a.book.records())[added],)))
    b.hear(2, messages.Members(tuple(before), True))
    assert records_said(b, 2) == []
    b.hear(2, hello("c", b.book))
    told = [said for said in b.said(2) if isinstance(said, messages.Members)]
    assert {member for said in told for member in said.hashes} == before
    b.work()
    assert [decode_record(data).hash for data in records_said(b, 2)] == [added]


def test_records_that_were_lost_on_the_way_are_sent_again() -> None:
    """What the peer does not name it does not have, also where we sent it (once found by a seed)."""
    a, b = sites("a", "b")
    added = a.book.adds("a", "c")
    data = dict(a.book.records())[added]
    a.greet(1, "b")
    told = messages.Members(tuple(record for record, _ in b.book.records()), True)
    a.hear(1, told)
    assert records_said(a) == [data]
    a.hear(1, told)
    assert records_said(a) == [data], "it was lost, so it goes again"
    a.hear(1, messages.Members((*told.hashes, added), True))
    assert records_said(a) == []


def test_a_list_that_is_not_at_its_end_yet_asks_for_nothing() -> None:
    a, b = sites("a", "b")
    a.book.adds("a", "c")
    a.greet(1, "b")
    a.hear(1, messages.Members(tuple(record for record, _ in b.book.records()), False))
    assert records_said(a) == []


def test_a_list_that_never_ends_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: what is named before the list's end is kept in memory."""
    monkeypatch.setattr(limits, "membership_records_max", 20)
    a, _ = sites("a", "b")
    a.greet(1, "b")
    for start in range(0, 30, 10):
        names = tuple(MemberHash(bytes([number]) * 32) for number in range(start, start + 10))
        a.hear(1, messages.Members(names, False))
    assert a.closed[1].startswith("TooLarge: the peer names more membership records")


def test_a_record_whose_parents_are_missing_makes_us_say_what_is_here() -> None:
    a, b = sites("a", "b")
    first = a.book.adds("a", "c")
    second = a.book.adds("a", "d")
    data = dict(a.book.records())
    b.greet(1, "a")
    b.hear(1, messages.Records((data[second],)))
    [told] = [said for said in b.said(1) if isinstance(said, messages.Members)]
    assert first not in told.hashes
    b.hear(1, messages.Records((data[first], data[second])))
    assert b.book.has(second)


def test_what_stands_before_a_forged_record_is_kept() -> None:
    """It counts from the moment it was verified, so it must reach the disk: later records build on it."""
    a, b = sites("a", "b")
    added = a.book.adds("a", "c")
    good = dict(a.book.records())[added]
    other = people.Book(*(data for _, data in a.book.records()))
    added_later = other.adds("a", "d")
    forged = bytearray(dict(other.records())[added_later])
    forged[-1] ^= 1
    b.greet(1, "a")
    found = b.hear(1, messages.Records((good, bytes(forged))))
    [store] = [effect for effect in found if isinstance(effect, StoreMembers)]
    assert [record for record, _ in store.records] == [added]
    assert b.closed[1].startswith("BadSignature: membership record")
    assert b.book.has(added) and not b.book.has(added_later)


def test_the_link_of_somebody_who_was_removed_ends() -> None:
    a, _, _ = sites("a", "b", "c")
    a.greet(1, "b")
    a.greet(2, "c")
    gone = a.book.removes("a", "c")
    found = a.handle(_stored(a, gone))
    assert a.closed == {2: "the practice has removed this replica"}
    assert any(isinstance(effect, MembersChanged) for effect in found)
    assert records_said(a, 1) == [dict(a.book.records())[gone]]


def _stored(site: Site, *records: MemberHash) -> MembersStored:
    data = dict(site.book.records())
    return MembersStored([(record, data[record]) for record in records])


def test_commits_that_name_a_record_which_is_not_here_wait_for_it() -> None:
    a, b = sites("a", "b")
    added = a.book.adds("a", "c")
    data = dict(a.book.records())[added]
    commit = a.author.commit(members=[added])
    b.greet(1, "a", (a.author.log, commit.head))
    assert not any(isinstance(effect, Store) for effect in b.hear(1, commits(commit)))
    assert b.core.peers[1].waiting == commit.size, "it takes from the peer's credit"
    b.hear(1, messages.Records((data,)))
    assert b.stored() == [(a.author.log, 1)]
    assert b.core.peers[1].waiting == 0


def test_a_false_commit_that_waited_ends_the_link_that_brought_it_and_no_other() -> None:
    """Also when the record comes from elsewhere, or from this site's own hand (L6: nothing is raised)."""
    a, b, c = sites("a", "b", "c")
    added = a.book.adds("a", "d")
    data = dict(a.book.records())[added]
    forged = a.author.commit(members=[added], forged=True)
    b.greet(1, "a", (a.author.log, forged.head))
    b.greet(2, "c")
    b.hear(1, commits(forged))
    b.hear(2, messages.Records((data,)))
    assert list(b.closed) == [1] and b.closed[1].startswith("BadSignature: a run of commits")
    assert list(b.core.peers) == [2]
    c.greet(1, "a", (a.author.log, forged.head))
    c.hear(1, commits(forged))
    c.book.add(data)
    c.handle(_stored(c, decode_record(data).hash))
    assert list(c.closed) == [1]


def test_too_many_messages_that_wait_end_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "stalled_messages_max", 3)
    a, b = sites("a", "b")
    added = a.book.adds("a", "c")
    b.greet(1, "a")
    for _ in range(3):
        b.hear(1, commits(a.author.commit(members=[added])))
    assert not b.closed
    b.hear(1, commits(a.author.commit(members=[added])))
    assert "name membership records that never came" in b.closed[1]


def test_before_the_hello_nothing_is_taken() -> None:
    a, b = sites("a", "b")
    added = a.book.adds("a", "c")
    b.link(1, "a")
    b.hear(1, messages.Records((dict(a.book.records())[added],)))
    assert not b.book.has(added)
    b.hear(1, hello("a", b.book), messages.Records((dict(a.book.records())[added],)))
    assert b.book.has(added)
