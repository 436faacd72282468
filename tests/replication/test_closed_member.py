"""A link to a member that was closed: it hands over what it has and is given nothing (L6: that ends no link)."""

from __future__ import annotations

from crdtsync import limits
from crdtsync.ids import LogId
from crdtsync.replication import messages
from crdtsync.replication.events import LinkDown, MembersStored
from crdtsync.replication.member_codec import decode_record
from tests.replication import people
from tests.replication.cores import Author, Site, commits, data_key, hello, sites

LINK_OF_C = 1


def closing(site: Site, stamp: int) -> None:
    """At `site`, c is closed by a: what it wrote up to `stamp` counts."""
    book = site.book.copy()
    record = book.closes("a", "c", stamp, readers="ab")
    site.handle(MembersStored([(record, dict(book.records())[record])]))


def closed(stamp: int = 2, written: int = 4) -> tuple[Site, Author]:
    """At b, which has two commits of its own, c was closed at `stamp`, and has linked; it wrote at 1, 2, 3 …"""
    _, b, c = sites("a", "b", "c")
    c.author.run(written)
    b.write(2)
    closing(b, stamp)
    b.greet(LINK_OF_C, "c", (c.author.log, c.author.head))
    return b, c.author


def told(said: list[messages.Message]) -> set[LogId]:
    return {log for each in said if isinstance(each, messages.Have | messages.Holding) for log, _ in each.heads}


def test_it_may_link_and_learns_that_it_is_closed() -> None:
    _, b, _ = sites("a", "b", "c")
    closing(b, 2)
    b.link(LINK_OF_C, "c")
    old = people.practice("b", "c")
    b.hear(LINK_OF_C, hello("c", b.book))
    assert LINK_OF_C not in b.closed
    b.said(LINK_OF_C)
    b.hear(LINK_OF_C, messages.Members(tuple(record for record, _ in old.records()), True))
    [records] = [said for said in b.said(LINK_OF_C) if isinstance(said, messages.Records)]
    assert [decode_record(data).op for data in records.records] == ["close"]


def test_what_it_had_written_by_then_is_taken_and_what_came_later_is_set_aside() -> None:
    b, gone = closed(stamp=2)
    b.hear(LINK_OF_C, commits(*gone.commits))
    assert [at for at in b.stored() if at[0] == gone.log] == [(gone.log, 1), (gone.log, 2)]
    assert b.core.late == {gone.log: 2} and b.alarms() == ["late"]
    assert b.core.late_heads == {gone.log: gone.head}, "as it has signed"
    assert LINK_OF_C not in b.closed and b.core.peers[LINK_OF_C].waiting == 0
    assert b.core.attests_due() == {}, "it counts by itself at everybody"


def test_what_was_taken_before_the_closing_was_known_is_attested() -> None:
    _, b, c = sites("a", "b", "c")
    b.greet(LINK_OF_C, "c")
    c.author.run(4)
    b.hear(LINK_OF_C, commits(*c.author.commits))
    closing(b, 2)
    assert b.core.attests_due() == {c.author.log: c.author.head}, "at others, what it wrote later would not count"


def test_what_counted_by_itself_is_attested_when_the_closed_one_is_removed() -> None:
    b, gone = closed(stamp=4)
    b.hear(LINK_OF_C, commits(*gone.commits))
    assert b.core.attests_due() == {}
    book = b.book.copy()
    record = book.removes("a", "c", readers="ab")
    b.handle(MembersStored([(record, dict(book.records())[record])]))
    assert b.core.attests_due() == {gone.log: gone.head}


def test_what_some_site_accepted_before_it_knew_counts_too() -> None:
    b, gone = closed(stamp=2)
    b.hear(LINK_OF_C, commits(*gone.commits))
    book = b.book.copy()
    other = people.m.attest(people.signer("a"), book.at("a"), {gone.log: gone.commits[2].head})
    b.handle(MembersStored([(decode_record(other).hash, other)]))
    asked = [said.cursors for said in b.said(LINK_OF_C) if isinstance(said, messages.Feed)]
    assert asked[-1] == ((gone.log, 3),), "it is asked for again"
    b.hear(LINK_OF_C, commits(*gone.commits[2:]))
    assert b.core.stored.sequence(gone.log) == 3 and b.core.late == {gone.log: 1}
    assert b.core.late_heads == {gone.log: gone.head}


def test_a_claim_of_more_is_nothing_that_could_be_accepted() -> None:
    """Heads are not signed: only what was shown is."""
    b, gone = closed(stamp=1, written=2)
    b.hear(LINK_OF_C, messages.Have(((gone.log, people.head(1_000_000)),), False))
    b.hear(LINK_OF_C, commits(*gone.commits))
    assert b.core.late_heads == {gone.log: gone.head}


def test_what_it_wrote_knowing_that_it_is_closed_counts_for_nothing() -> None:
    """A program that does not know of closings, or one that lies about the time."""
    b, _ = closed(stamp=10**6)
    knowing = Author("c", b.book.practice, b.book.heads, boot=9).commit()
    b.hear(LINK_OF_C, commits(knowing))
    assert knowing.header.log not in b.core.stored and b.alarms() == ["late"]


def test_it_is_given_nothing() -> None:
    b, gone = closed()
    own = b.author.log
    key = data_key("erika")
    b.keys[key.id] = key
    b.said(LINK_OF_C)
    b.hear(
        LINK_OF_C,
        messages.Feed(((own, 1), (gone.log, 1))),
        messages.WantKeys((key.id,)),
        messages.WantAgain(own, (1,)),
        messages.WantHeads(own, (1,)),
        messages.Have((), True),
    )
    b.write(3)
    for _ in range(5):
        b.later(limits.repair_interval_s)
    said = b.said(LINK_OF_C)
    data = messages.Commits | messages.Keys | messages.Again | messages.Heads | messages.Backlog | messages.SumsOf
    assert not [each for each in said if isinstance(each, data)]
    assert told(said) <= {gone.log}, "not even how much there is"


def test_it_hears_what_is_durable_here_of_its_own() -> None:
    """Acknowledged, so that it need not say it again."""
    b, gone = closed(stamp=4)
    b.said(LINK_OF_C)
    b.hear(LINK_OF_C, commits(*gone.commits))
    b.later(limits.repair_interval_s)
    heads = [dict(each.heads) for each in b.said(LINK_OF_C) if isinstance(each, messages.Have)]
    assert {gone.log: gone.head} in heads


def test_third_ones_are_not_told_of_to_it_but_it_is_to_them() -> None:
    b, gone = closed(stamp=4)
    b.greet(2, "a", (people.log("a"), people.head(7)))
    b.hear(LINK_OF_C, commits(*gone.commits))
    for _ in range(3):
        b.later(1.0)
    assert people.log("a") not in told(b.said(LINK_OF_C))
    assert gone.log in told(b.said(2)), "what it handed over is offered to those who belong"


def test_a_live_link_stays_and_gives_nothing_more() -> None:
    _, b, c = sites("a", "b", "c")
    b.greet(LINK_OF_C, "c")
    b.hear(LINK_OF_C, messages.Feed(((b.author.log, 1),)))
    b.write(1)
    assert [said for said in b.said(LINK_OF_C) if isinstance(said, messages.Commits)]
    closing(b, 2)
    b.said(LINK_OF_C)
    b.write(1)
    assert LINK_OF_C not in b.closed
    assert not [said for said in b.said(LINK_OF_C) if isinstance(said, messages.Commits | messages.Have)]
    c.author.run(1)
    b.hear(LINK_OF_C, commits(*c.author.commits))
    assert b.core.stored.sequence(c.author.log) == 1


def test_its_link_ends_when_it_is_removed_after_all() -> None:
    b, gone = closed(stamp=4)
    book = b.book.copy()
    record = book.removes("a", "c", readers="ab")
    b.handle(MembersStored([(record, dict(book.records())[record])]))
    assert b.closed[LINK_OF_C] == "the practice has removed this replica"
    b.handle(LinkDown(LINK_OF_C))
    b.link(2, "c")
    assert b.closed[2] == "the peer is no member of this practice"
    assert gone.log not in b.core.stored


def test_a_site_that_recovers_does_not_ask_one_that_was_closed() -> None:
    """That one knows the less."""
    _, b, c = sites("a", "b", "c")
    closing(b, 2)
    b.recovering = True
    b.core = b._core(b.author.log)
    b.greet(LINK_OF_C, "c", (c.author.log, c.author.head))
    assert b.core.recovering, "its word that nothing is missing is not enough"
    b.greet(2, "a")
    assert not b.core.recovering


def test_the_headers_of_its_own_log_are_shown_to_it() -> None:
    """Seed 210 of the simulator: it was told of another head than its own, and gave up whoever did not show it (L3)."""
    b, gone = closed(stamp=4)
    b.hear(LINK_OF_C, commits(*gone.commits))
    b.said(LINK_OF_C)
    b.hear(LINK_OF_C, messages.WantHeads(gone.log, (1,)))
    [shown] = [said for said in b.said(LINK_OF_C) if isinstance(said, messages.Heads)]
    assert shown.log == gone.log and len(shown.signed) == 1
