"""Recovering: what peers claim of our own logs, how long they are waited for, and what a liar can do (L4, L6, L7)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.ids import Head, LogId
from crdtsync.replication import events, messages
from crdtsync.replication.commit import Commit
from crdtsync.replication.effects import Alarm, Close, Confirmed, Effect, NewBoot, NoteRecovering
from crdtsync.replication.fork_proof import Branch, fork_proof
from crdtsync.replication.membership import fork
from tests.replication import people
from tests.replication.cores import Author, Site, commits, hello, sites

PATIENCE = limits.claim_patience_s
STEP = 5.0


def later_life(site: Site, boot: int = 1, count: int = 3) -> Author:
    """What the replica of `site` wrote on a disk that is newer than this one."""
    author = Author(site.name, site.book.practice, site.book.heads, boot=boot)
    author.run(count)
    return author


def says(site: Site, link: int, *heads: tuple[LogId, Head]) -> list[Effect]:
    return site.hear(link, messages.Have(heads, False))


def wait(site: Site, seconds: float, *alive: int) -> list[Effect]:
    """Time passes; the peers on these links answer."""
    found: list[Effect] = []
    until = site.now + seconds
    while site.now < until:
        found += site.later(min(STEP, until - site.now))
        for link in alive:
            if link not in site.closed:
                found += site.hear(link, messages.Pong(int(site.now * 1000)))
    return found


def alarm(site: Site, kind: str) -> str:
    return next(each.text for each in site.seen if isinstance(each, Alarm) and each.kind == kind)


def moved(site: Site, boot: int) -> None:
    """A new boot is open: the author writes that from now on."""
    site.author = Author(site.name, site.book.practice, site.book.heads, boot=boot)
    site.handle(events.BootOpened(site.author.log))


# -- honest peers ------------------------------------------------------------------------------------------------------


def test_the_log_that_is_written_is_never_written_again_once_a_peer_has_more_of_it() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a)
    a.greet(1, "b")
    found = says(a, 1, (newer.log, newer.head))
    assert [type(each) for each in found if isinstance(each, NewBoot | NoteRecovering)] == [NewBoot, NoteRecovering]
    assert a.core.recovering and a.core.log is None and a.recovering
    moved(a, 2)
    a.hear(1, commits(*newer.commits))
    assert NoteRecovering(False) in a.seen and not a.core.recovering and not a.recovering
    assert a.core.log == people.log("a", 2)
    assert a.alarms() == ["rollback"]


def test_an_empty_boot_waits_for_what_its_replica_wrote_in_other_ones() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    assert a.core.recovering and a.alarms() == ["restored"]
    assert not any(isinstance(each, NewBoot) for each in a.seen), "the log that is written has no commits elsewhere"
    a.hear(1, commits(*newer.commits[:2]))
    assert a.core.recovering
    a.hear(1, commits(newer.commits[2]))
    assert not a.core.recovering


def test_a_boot_that_has_begun_waits_for_nothing() -> None:
    """What comes of other logs then is another branch."""
    a, _ = sites("a", "b")
    a.write()
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    assert not a.core.recovering and a.alarms() == []
    a.hear(1, commits(*newer.commits))
    assert a.alarms() == ["clone"] and not a.core.recovering
    assert a.core.suspended == {a.core.id: (a.author.log, newer.log)}


def test_the_past_is_waited_for_and_life_is_not() -> None:
    """A running clone writes all the time: that must not keep this one from ever writing."""
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    a.hear(1, commits(*newer.commits))
    newer.run(2)
    says(a, 1, (newer.log, newer.head))
    assert not a.core.recovering


def test_all_peers_that_claim_are_waited_for() -> None:
    a, _, _ = sites("a", "b", "c")
    newer = later_life(a, boot=7, count=5)
    a.greet(1, "b", (newer.log, newer.commits[2].head))
    a.greet(2, "c", (newer.log, newer.head))
    a.hear(1, commits(*newer.commits[:3]))
    assert a.core.recovering, "the other one has more"
    a.hear(2, commits(*newer.commits[3:]))
    assert not a.core.recovering and a.alarms() == ["restored"]


def test_what_comes_in_time_may_take_long_as_a_whole() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7, count=6)
    a.greet(1, "b", (newer.log, newer.head))
    for commit in newer.commits:
        assert a.core.recovering
        wait(a, PATIENCE * 0.9, 1)
        a.hear(1, commits(commit))
    assert not a.core.recovering and a.alarms() == ["restored"] and a.closed == {}


def test_a_slow_line_is_no_lie() -> None:
    """It brings other commits, which ours may stand behind: writing goes on, and nobody is blamed."""
    a, b = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head), (b.author.log, people.head(90)))
    for _ in range(20):
        wait(a, PATIENCE / 4, 1)
        a.hear(1, commits(b.author.commit()))
    assert not a.core.recovering and a.alarms() == ["restored"] and a.closed == {}
    a.hear(1, commits(*newer.commits))
    assert a.core.stored.head(newer.log) == newer.head


def test_who_is_not_linked_is_not_waited_for_and_goes_on_when_it_is_back() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    assert a.core.recovering
    found = a.handle(events.LinkDown(1))
    assert NoteRecovering(False) in found and not a.core.recovering
    a.greet(2, "b", (newer.log, newer.head))
    assert a.core.recovering
    a.hear(2, commits(*newer.commits))
    assert not a.core.recovering and a.alarms() == ["restored"]


def test_an_honest_peer_may_find_two_rollbacks_in_one_life() -> None:
    """A machine that is set back together with its memory: it does not know what it wrote after that moment."""
    a, _ = sites("a", "b")
    newer = later_life(a)
    a.greet(1, "b", (newer.log, newer.head))
    moved(a, 2)
    a.hear(1, commits(*newer.commits))
    second = later_life(a, boot=2)
    says(a, 1, (second.log, second.head))
    assert a.core.recovering and a.core.log is None and a.closed == {}
    moved(a, 3)
    a.hear(1, commits(*second.commits))
    assert not a.core.recovering and a.closed == {}


# -- liars -------------------------------------------------------------------------------------------------------------

FAR = people.head(1_000_000)


@pytest.mark.parametrize("boot", [1, 7], ids=["of the current log", "of another log"])
def test_who_claims_and_does_not_deliver_stops_us_once_and_is_named(boot: int) -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    says(a, 1, (people.log("a", boot), FAR))
    if boot == 1:
        moved(a, 2)
    wait(a, PATIENCE - 1, 1)
    assert a.core.recovering
    wait(a, 2, 1)
    assert not a.core.recovering and a.closed == {}
    assert alarm(a, "claim").startswith("B says that it holds commits of this site")
    says(a, 1, (people.log("a", 9), FAR))
    assert not a.core.recovering, "nobody is waited for twice who broke its word"
    wait(a, PATIENCE + STEP, 1)
    assert "does not send them, for the second time" in a.closed[1]
    a.greet(2, "b", (people.log("a", 9), FAR))
    assert not a.core.recovering
    wait(a, PATIENCE + STEP, 2)
    assert 2 in a.closed
    assert a.alarms().count("claim") == 1


def test_a_liar_opens_one_new_boot() -> None:
    a, _ = sites("a", "b")
    a.greet(1, "b")
    says(a, 1, (people.log("a", 1), FAR))
    moved(a, 2)
    found = says(a, 1, (people.log("a", 2), FAR))
    assert not any(isinstance(each, NewBoot) for each in found)
    assert [each.link for each in found if isinstance(each, Close)] == [1]
    assert a.core.log == people.log("a", 2) and not a.core.recovering
    a.greet(2, "b", (people.log("a", 2), FAR))
    assert "for the second time" in a.closed[2] and a.core.log == people.log("a", 2)


def test_coming_back_does_not_give_a_liar_more_time() -> None:
    a, _ = sites("a", "b")
    for link in range(1, 40):
        a.greet(link, "b", (people.log("a", 7), FAR))
        wait(a, PATIENCE / 10, link)
        a.handle(events.LinkDown(link))
        if "claim" in a.alarms():
            break
    assert 9 <= link <= 11
    a.greet(50, "b", (people.log("a", 7), FAR))
    assert not a.core.recovering


def test_many_liars_stop_us_together_not_one_after_the_other() -> None:
    names = "bcdef"
    a, *_ = sites("a", *names)
    for link, name in enumerate(names):
        a.greet(link, name, (people.log("a", 7), FAR))
    wait(a, PATIENCE + STEP, *range(len(names)))
    assert not a.core.recovering and a.alarms().count("claim") == len(names)


def test_beside_a_liar_the_truth_is_fetched() -> None:
    a, _, _ = sites("a", "b", "c")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, FAR))
    a.greet(2, "c", (newer.log, newer.head))
    wait(a, limits.feed_stall_s + STEP, 1, 2)
    asked = {link for link in (1, 2) for said in a.said(link) if isinstance(said, messages.Feed)}
    assert 2 in asked, "the liar is asked first, since it claims more; then the other one"
    a.hear(2, commits(*newer.commits))
    assert a.core.stored.head(newer.log) == newer.head
    wait(a, PATIENCE + STEP, 1, 2)
    assert not a.core.recovering and a.alarms() == ["restored", "claim"]


def test_forged_commits_deliver_nothing() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    forger = Author("a", a.book.practice, a.book.heads, boot=7)
    a.hear(1, commits(forger.commit(forged=True)))
    assert "signature does not verify" in a.closed[1] and not a.core.recovering


def proved(one: Author, other: Author, at: int) -> messages.Records:
    """A record that shows where these two copies of a log part."""
    book = people.practice("b")
    sides = [Branch((log.commits[at].header_bytes,), log.commits[at].signature) for log in (one, other)]
    return messages.Records((fork(people.signer("b"), book.at("b"), fork_proof(people.sig_of("a"), *sides)),))


def test_nobody_is_waited_for_that_claims_more_of_a_frozen_log() -> None:
    """Nothing more of it is taken, whoever has it (L3)."""
    a, *_ = sites("a", "b", "c")
    one, other = later_life(a, boot=7, count=2), later_life(a, boot=7, count=1)
    other.commit(size=50)
    a.greet(1, "b", (one.log, one.head))
    a.hear(1, commits(*one.commits))
    a.hear(1, proved(one, other, 1))
    assert a.alarms() == ["restored", "fork"] and not a.core.recovering
    a.greet(2, "c", (one.log, people.head(20)))
    assert not a.core.recovering and a.alarms() == ["restored", "fork"]


def test_who_is_waited_for_when_its_log_freezes_is_waited_for_up_to_its_end() -> None:
    a, _ = sites("a", "b")
    one, other = later_life(a, boot=7, count=4), later_life(a, boot=7, count=2)
    other.commit(size=50)
    a.greet(1, "b", (one.log, one.head))
    a.hear(1, commits(*one.commits[:1]))
    a.hear(1, proved(one, other, 2))
    assert "fork" in a.alarms() and a.core.recovering, "the second commit counts, and is not here"
    a.hear(1, commits(*one.commits[1:]))
    assert not a.core.recovering
    assert a.core.stored.head(one.log) == one.commits[1].head


# -- over restarts, and by a person's word -----------------------------------------------------------------------------


def restarted(site: Site, *, boot: int = 2) -> Site:
    """The next process over the same disk."""
    twin = Site(site.name, site.book.copy(), disk=site.disk, recovering=site.recovering)
    twin.author = Author(site.name, site.book.practice, site.book.heads, boot=boot)
    twin.core = twin._core(twin.author.log)
    return twin


def test_it_survives_a_restart() -> None:
    a, b = sites("a", "b")
    newer = later_life(a)
    a.greet(1, "b", (newer.log, newer.head))
    again = restarted(a)
    assert again.core.recovering
    again.later(1.0)
    assert again.core.recovering and again.recovering, "nobody has been heard"
    again.greet(1, "b", (newer.log, newer.head), (b.author.log, b.author.commit().head))
    again.hear(1, commits(*newer.commits))
    assert again.core.recovering, "all that the first peer had told"
    again.hear(1, commits(*b.author.commits))
    assert not again.core.recovering and not again.recovering


def test_a_peer_that_has_nothing_more_ends_it() -> None:
    a, _ = sites("a", "b")
    a.recovering = True
    again = restarted(a)
    again.greet(1, "b")
    assert not again.core.recovering and not again.recovering


def test_who_is_alone_in_the_practice_waits_for_nobody() -> None:
    (a,) = sites("a")
    a.recovering = True
    again = restarted(a)
    again.later(1.0)
    assert not again.core.recovering and not again.recovering


def test_a_first_peer_that_does_not_deliver_is_followed_by_the_next() -> None:
    a, _, c = sites("a", "b", "c")
    a.recovering = True
    again = restarted(a)
    news = c.author.run(2)
    again.greet(1, "b", (people.log("a", 7), FAR))
    again.greet(2, "c", (c.author.log, c.author.head))
    wait(again, PATIENCE + STEP, 1, 2)
    assert again.core.recovering, "the other one is asked now"
    again.hear(2, commits(*news))
    assert not again.core.recovering


def test_a_first_peer_that_goes_is_followed_by_the_next() -> None:
    a, *_ = sites("a", "b", "c")
    a.recovering = True
    again = restarted(a)
    again.greet(1, "b", (people.log("b"), people.head(3)))
    again.handle(events.LinkDown(1))
    assert again.core.recovering
    again.greet(2, "c")
    assert not again.core.recovering


def test_a_persons_word_ends_it() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    found = a.handle(events.GoOnAlone())
    assert NoteRecovering(False) in found and not a.core.recovering
    says(a, 1, (newer.log, newer.head))
    assert not a.core.recovering, "the person knew that"
    current = later_life(a)
    says(a, 1, (current.log, current.head))
    assert a.core.recovering and a.core.log is None, "a log that others have more of is never written"


def test_a_persons_word_ends_it_over_restarts_too() -> None:
    a, _ = sites("a", "b")
    a.recovering = True
    again = restarted(a)
    again.handle(events.GoOnAlone())
    assert not again.core.recovering and not again.recovering


def test_a_first_commit_waits_for_what_it_continues() -> None:
    """Also when it does not name it among what it depends on: no order of arrival shows a branch that is none (L2)."""
    a, _ = sites("a", "b")
    first = Author("b", a.book.practice, a.book.heads)
    first.run(3)
    second = Author("b", a.book.practice, a.book.heads, boot=2, continues=(first.log, first.head))
    commit: Commit = second.commit()
    a.greet(1, "b", (first.log, first.head), (second.log, second.head))
    a.hear(1, commits(commit))
    assert a.stored() == []
    a.hear(1, commits(*first.commits))
    assert [log for log, _ in a.stored()] == [first.log] * 3 + [second.log]
    assert a.alarms() == []


def test_what_is_missing_is_asked_of_whoever_has_it() -> None:
    """Found by seeds 377 and 2227: it was awaited from a source that lacked it as well."""
    a, *_ = sites("a", "b", "c", "d")
    newer = later_life(a, boot=7, count=1)
    other = Author("d", a.book.practice, a.book.heads)
    other.run(1)
    a.greet(1, "b", (newer.log, newer.head), (other.log, other.head))
    a.hear(1, commits(*newer.commits), commits(*other.commits))
    newer.run(1)
    other.run(1)
    a.greet(2, "c")
    a.said(1), a.said(2)
    a.hear(2, messages.Have(((newer.log, newer.head), (other.log, other.head)), True))
    asked = [said for said in a.said(2) if isinstance(said, messages.Feed)]
    assert {log for feed in asked for log, _ in feed.cursors} == {newer.log, other.log}
    given_up = [said for said in a.said(1) if isinstance(said, messages.Unfeed)]
    assert {log for unfeed in given_up for log in unfeed.logs} == {newer.log, other.log}


# -- confirming that this boot goes on from all ------------------------------------------------------------------------


def confirmed(site: Site) -> int:
    return sum(isinstance(each, Confirmed) for each in site.seen)


def test_a_site_that_knows_no_more_of_ours_confirms_once() -> None:
    a, *_ = sites("a", "b", "c")
    a.write(2)
    a.link(1, "b")
    a.hear(1, hello("b", a.book))
    assert confirmed(a) == 0, "it has not told its whole frontier"
    a.hear(1, messages.Have(((a.author.log, a.author.commits[0].head),), True))
    assert confirmed(a) == 1
    a.greet(2, "c")
    assert confirmed(a) == 1


def test_nobody_confirms_while_something_of_ours_is_missing() -> None:
    a, _ = sites("a", "b")
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    assert confirmed(a) == 0
    a.hear(1, commits(*newer.commits))
    assert confirmed(a) == 1


def test_nobody_confirms_beside_a_site_that_claims_more() -> None:
    """It was waited for in vain, and writing goes on; but if it tells the truth, numbers would be given twice."""
    a, *_ = sites("a", "b", "c")
    a.greet(1, "b", (people.log("a", 7), FAR))
    a.greet(2, "c")
    wait(a, PATIENCE + STEP, 1, 2)
    assert not a.core.recovering and confirmed(a) == 0
    a.handle(events.LinkDown(1))
    wait(a, STEP, 2)
    assert confirmed(a) == 1


def test_where_there_is_no_other_site_nobody_is_waited_for() -> None:
    (a,) = sites("a")
    a.later(1.0)
    assert confirmed(a) == 1


def test_where_there_are_only_archives_one_of_them_is_asked() -> None:
    book = people.practice(founder="a")
    book.adds("a", "b", "archive", admin=False)
    a = Site("a", book)
    a.later(1.0)
    assert confirmed(a) == 0
    newer = later_life(a, boot=7)
    a.greet(1, "b", (newer.log, newer.head))
    assert confirmed(a) == 0
    a.hear(1, commits(*newer.commits))
    assert confirmed(a) == 1


def test_beside_other_sites_the_word_of_an_archive_is_none() -> None:
    book = people.practice("c", founder="a")
    book.adds("a", "b", "archive", admin=False)
    a = Site("a", book)
    a.greet(1, "b")
    wait(a, STEP, 1)
    assert confirmed(a) == 0
    a.greet(2, "c")
    assert confirmed(a) == 1


def test_a_persons_word_confirms() -> None:
    a, _ = sites("a", "b")
    a.handle(events.GoOnAlone())
    assert confirmed(a) == 1
