"""Replicas that have branched: seen at first contact by everybody, suspended until an admin decides (L4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from crdtsync import limits
from crdtsync.ids import CommitId, Head, LogId
from crdtsync.replication import effects, events, messages
from crdtsync.replication import membership as m
from crdtsync.replication.effects import Close
from crdtsync.replication.replica import Replica
from tests.replication import people
from tests.replication.cores import Author, Site, commits, connect, hello, pump, sites


def branches(site: Site, name: str = "b", common: int = 3) -> tuple[Author, Author, Author]:
    """A log of `name`, and the logs of two copies of its disk that both go on from its end."""
    first = Author(name, site.book.practice, site.book.heads)
    first.run(common)
    return first, *(
        Author(name, site.book.practice, site.book.heads, boot, continues=(first.log, first.head)) for boot in (2, 3)
    )


def sign(site: Site, *, goes_on: LogId, ends: dict[LogId, Head], by: str = "c") -> None:
    """An admin says which branch goes on, at this site."""
    data = m.succeed(people.signer(by), site.book.at(by), goes_on, ends)
    record = site.book.put(data)
    site.handle(events.MembersStored([(record, data)]))


def take(site: Site, link: int, *authors: Author) -> None:
    """All that these wrote comes in."""
    site.hear(link, messages.Have(tuple((author.log, author.head) for author in authors), False))
    for author in authors:
        site.hear(link, commits(*author.commits))


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["one first", "the other first"])
def test_the_second_branch_raises_one_alarm_when_it_comes(order: Sequence[int]) -> None:
    c, _, _ = sites("c", "b", "d")
    authors = branches(c)
    for author in authors[1:]:
        author.run(2)
    c.greet(1, "d")
    take(c, 1, authors[0], authors[order[0]])
    assert c.alarms() == [] and c.core.suspended == {}
    take(c, 1, authors[order[1]])
    assert c.alarms() == ["clone"]
    assert c.core.suspended == {people.replica("b"): (authors[1].log, authors[2].log)}
    for author in authors[1:]:
        author.run(2)
    take(c, 1, *authors[1:])
    assert c.alarms() == ["clone"], "once"
    assert len(c.stored()) == sum(len(author.commits) for author in authors), "nothing is lost"


def test_a_disk_that_was_set_back_and_written_to_is_a_branch() -> None:
    c, _ = sites("c", "b")
    first, second, _ = branches(c, common=2)
    first.run(2)
    second.run(1)
    c.greet(1, "b")
    take(c, 1, first, second)
    assert c.core.suspended == {people.replica("b"): (first.log, second.log)}


def test_a_restart_raises_the_alarm_again_until_it_is_settled() -> None:
    c, _ = sites("c", "b")
    authors = branches(c)
    for author in authors[1:]:
        author.run(1)
    c.greet(1, "b")
    take(c, 1, *authors)
    again = Site("c", c.book.copy(), disk=c.disk)
    again.later(0.0)
    assert again.alarms() == ["clone"] and again.core.suspended == c.core.suspended
    sign(again, goes_on=authors[1].log, ends={authors[2].log: authors[2].head})
    assert again.core.suspended == {}
    once_more = Site("c", again.book.copy(), disk=again.disk)
    once_more.later(0.0)
    assert once_more.alarms() == [] and once_more.core.suspended == {}


def test_it_is_settled_by_an_admin_and_opens_again_when_the_loser_goes_on() -> None:
    c, _ = sites("c", "b")
    first, one, two = branches(c)
    one.run(2)
    two.run(2)
    c.greet(1, "b")
    take(c, 1, first, one, two)
    sign(c, goes_on=one.log, ends={two.log: two.head})
    assert c.core.suspended == {} and c.alarms() == ["clone"]
    one.run(1)
    take(c, 1, one)
    assert c.core.suspended == {}, "the winner goes on"
    two.run(1)
    take(c, 1, two)
    assert c.alarms() == ["clone", "clone"] and c.core.suspended == {people.replica("b"): (one.log, two.log)}


def test_an_end_that_the_admin_had_not_seen_is_open() -> None:
    c, _ = sites("c", "b")
    first, one, two = branches(c)
    one.run(1)
    two.run(3)
    c.greet(1, "b")
    take(c, 1, first, one, two)
    sign(c, goes_on=one.log, ends={two.log: two.commits[1].head})
    assert people.replica("b") in c.core.suspended
    sign(c, goes_on=one.log, ends={two.log: two.head})
    assert c.core.suspended == {}


def test_who_was_removed_is_not_suspended() -> None:
    c, _ = sites("c", "b")
    authors = branches(c)
    for author in authors[1:]:
        author.run(1)
    c.greet(1, "b")
    take(c, 1, *authors)
    heads = {author.log: author.head for author in authors}
    data = m.remove(
        people.signer("c"),
        c.book.at("c"),
        people.replica("b"),
        reason="stolen",
        heads=heads,
        epoch=people.epoch("2", "cs"),
    )
    record = c.book.put(data)
    c.handle(events.MembersStored([(record, data)]))
    assert c.core.suspended == {}


# -- its own line ------------------------------------------------------------------------------------------------------


def test_the_loser_knows_it_and_the_winner_goes_on() -> None:
    a, c = sites("a", "c")
    _, one, two = branches(a, "a")
    a.author = one
    a.core = a._core(one.log)
    a.write(2)
    two.run(2)
    assert not a.core.superseded
    a.greet(1, "c")
    take(a, 1, _, two)
    assert a.alarms() == ["clone"] and not a.core.superseded
    sign(a, goes_on=two.log, ends={one.log: one.head})
    assert a.core.superseded
    a.handle(events.BootOpened(people.log("a", 9)))
    assert a.core.superseded, "a fresh boot is of the same line"
    assert Site("a", a.book.copy(), disk=a.disk)._core(people.log("a", 9)).superseded is False, "a folder of no line"
    sign(a, goes_on=one.log, ends={two.log: two.head})
    assert not a.core.superseded
    assert c.alarms() == []


def test_a_fresh_process_of_the_loser_is_superseded_too() -> None:
    a, _ = sites("a", "c")
    first, one, two = branches(a, "a")
    for author in (one, two):
        author.run(1)
    a.greet(1, "c")
    take(a, 1, first, one, two)
    sign(a, goes_on=two.log, ends={one.log: one.head})
    for line, expected in ((one, True), (two, False), (first, False)):
        a.author = line
        assert a._core(people.log("a", 9)).superseded is expected


# -- links -------------------------------------------------------------------------------------------------------------


def says_hello(site: Site, link: int, name: str, log: LogId) -> None:
    site.hear(link, messages.Hello(messages.PROTOCOL_VERSION, site.book.practice, people.replica(name), log, False))


def seen(site: Site) -> Author:
    """Both branches of b are here."""
    first, one, two = branches(site)
    one.run(1)
    two.run(1)
    site.greet(9, "d")
    take(site, 9, first, one, two)
    site.seen.clear()
    return one


def test_two_copies_that_run_have_a_link_each() -> None:
    c, _, _ = sites("c", "b", "d")
    seen(c)
    for link, boot in ((1, 2), (2, 3)):
        c.link(link, "b", dialled=False)
        says_hello(c, link, "b", people.log("b", boot))
    assert c.closed == {} and set(c.core.peers) == {9, 1, 2}


def test_two_links_of_one_process_are_one_too_many() -> None:
    c, _, _ = sites("c", "b", "d")
    seen(c)
    for link in (1, 2):
        c.link(link, "b", dialled=False)
        says_hello(c, link, "b", people.log("b", 2))
    assert c.closed == {1: "there is another link to this peer"} and set(c.core.peers) == {9, 2}


@pytest.mark.parametrize("ours_first", [True, False])
def test_both_ends_keep_the_same_of_two_that_crossed(ours_first: bool) -> None:
    """As without branches: the one that the smaller id dialled."""
    c, _, _ = sites("c", "b", "d")
    seen(c)
    for link, dialled in ((1, ours_first), (2, not ours_first)):
        c.link(link, "b", dialled=dialled)
    for link in (1, 2):
        says_hello(c, link, "b", people.log("b", 2))
    ours = people.replica("c") < people.replica("b")
    assert list(c.closed) == [2 if ours == ours_first else 1]


def test_a_replica_that_has_not_branched_has_one_link() -> None:
    c, _ = sites("c", "b")
    for link, boot in ((1, 2), (2, 3)):
        c.link(link, "b", dialled=False)
        if link in c.core.peers:
            says_hello(c, link, "b", people.log("b", boot))
    assert c.closed == {1: "there is another link to this peer"}


def test_a_copy_whose_link_would_give_way_is_heard_first() -> None:
    """Or it would never get in: the other copy's link, dialled from the other end, always wins."""
    b, c = sites("b", "c")
    inner, outer = (b, c) if people.replica("b") < people.replica("c") else (c, b)
    site, other = inner, outer.name
    site.link(1, other, dialled=True)
    says_hello(site, 1, other, people.log(other, 2))
    for boot in (2, 3):
        site.link(boot, other, dialled=False)
        says_hello(site, boot, other, people.log(other, boot))
    assert site.closed == {2: "there is another link to this peer"} and set(site.core.peers) == {1, 3}


def test_a_new_boot_is_told_to_peers() -> None:
    """They tell two links of one process by it."""
    c, _ = sites("c", "b")
    c.greet(1, "b")
    c.handle(events.BootOpened(people.log("c", 9)))
    assert [m.log for m in c.said(1) if isinstance(m, messages.Hello)] == [people.log("c", 9)]


def test_links_beside_each_other_have_a_bound() -> None:
    c, _, _ = sites("c", "b", "d")
    seen(c)
    most = limits.links_per_replica_max
    for link in range(20, 20 + most):
        c.link(link, "b", dialled=False)
    assert c.closed == {}
    c.link(99, "b", dialled=False)
    assert set(c.closed) == set(range(20, 20 + most)) and 99 in c.core.peers


def test_both_copies_linked_to_one_peer_hand_over_all_that_they_have() -> None:
    """The copies do not know each other: the peer carries what each wrote to the other one."""
    c, b1, d = sites("c", "b", "d")
    first, one, two = branches(c)
    b2 = Site("b", b1.book.copy())
    for site, author in ((b1, one), (b2, two)):
        site._append([(commit, True) for commit in first.commits])
        site.author = author
        site.core = site._core(author.log)
        site.write(2)
    connect(c, b1, 1)
    pump(c, b1, 1)
    connect(c, b2, 2)
    assert c.closed == {1: "there is another link to this peer"}, "so far they look like one that came back"
    b1.handle(events.LinkDown(1))
    pump(c, b2, 2)
    assert c.alarms() == ["clone"]
    connect(c, b1, 3)
    for _ in range(10):
        pump(c, b1, 3)
        pump(c, b2, 2)
        for site in (c, b1, b2):
            site.later(1.0)
    assert set(c.core.peers) == {2, 3}
    assert not [each for each in c.seen if isinstance(each, Close) and each.link != 1]
    assert c.core.stored == b1.core.stored == b2.core.stored and len(c.disk) == 7
    assert b1.core.suspended == b2.core.suspended == c.core.suspended != {}
    b1.write()
    b2.write()
    for _ in range(10):
        pump(c, b1, 3)
        pump(c, b2, 2)
        for site in (c, b1, b2):
            site.later(1.0)
    assert c.core.stored == b1.core.stored == b2.core.stored and len(c.disk) == 9
    assert d.alarms() == [] and hello("b", c.book).log == b""


def test_a_log_whose_first_commit_has_rotted_is_no_branch_until_it_is_whole() -> None:
    """Found by seed 2768: what a boot continues cannot be told then."""
    c, _ = sites("c", "b")
    first, second, third = branches(c)
    second.run(2)
    c.greet(1, "b")
    take(c, 1, first, second)
    rotten = CommitId(second.log, 1)
    core = Replica(
        practice=c.core._core.practice,
        replica=c.core.id,
        membership=c.book,
        verify=c.core._core.verify,
        frontier=dict(c.core.stored.items()),
        boots={first.log: None},
        log=c.core.log,
    )
    core.handle(1.0, events.LinkUp(1, people.replica("b"), True))
    for said in (hello("b", c.book), messages.Have(tuple(c.core.stored.items()), True)):
        core.handle(1.0, events.Received(1, messages.encode(said)))
    assert core.suspended == {}
    core.handle(2.0, events.RotFound([rotten]))
    found = core.handle(3.0, events.Received(1, messages.encode(messages.Again((second.commits[0],)))))
    assert any(isinstance(each, effects.Mend) for each in found)
    core.handle(4.0, events.Mended([rotten]))
    assert core.suspended == {}
    third.run(1)
    core.handle(5.0, events.Received(1, messages.encode(messages.Commits(0, (), tuple(third.commits)))))
    core.handle(6.0, events.Stored())
    assert core.suspended == {people.replica("b"): tuple(sorted((second.log, third.log)))}
