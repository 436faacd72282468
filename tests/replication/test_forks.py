"""Forks (L3): claims prove nothing; the first place where two copies part is found, and its proof freezes the log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, PeerError
from crdtsync.ids import Head, PracticeId
from crdtsync.replication import effects, events, membership, messages
from crdtsync.replication.commit import NO_HASH, Commit
from crdtsync.replication.fork_proof import Branch, ForkProof, fork_proof, proof_from_items, proof_items
from crdtsync.replication.frontier import NOTHING
from crdtsync.replication.replica import Replica
from tests.replication import people
from tests.replication.cores import Author, Site, commits, connect, pump, sites


def forked(shared: int, more: int, others: int, author: str = "a", book: people.Book | None = None) -> Sequence[Author]:
    """One log that goes on in two ways behind `shared` commits."""
    book = book or people.practice("b", "c", "d")
    one = Author(author, book.practice, book.heads)
    one.run(shared)
    other = Author(author, book.practice, book.heads, commits=list(one.commits))
    for _ in range(more):
        one.commit(size=40)
    for _ in range(others):
        other.commit(size=41)
    return one, other


def holding(site: Site, log: Author) -> None:
    """`site` has it all, from the author, whose link is gone again."""
    site.greet(99, log.name, (log.log, log.head))
    for start in range(0, len(log.commits), 100):
        site.hear(99, commits(*log.commits[start : start + 100]))
    site.handle(events.LinkDown(99))
    assert site.core.stored.head(log.log) == log.head


def settle(*pairs: tuple[Site, Site, int]) -> None:
    """Carry messages and write down what was proved, until nothing is said any more."""
    for _ in range(20):
        busy = 0
        for one, other, link in pairs:
            busy += pump(one, other, link)
        for site in {id(site): site for one, other, _ in pairs for site in (one, other)}.values():
            busy += site.witness()
        if not busy:
            return
    raise AssertionError("they never come to rest")


def meeting(shared: int, more: int, others: int) -> tuple[Site, Site, Author, Author]:
    """Two sites that hold one log's two branches have met."""
    _, b, c, _ = sites("a", "b", "c", "d")
    one, other = forked(shared, more, others, book=b.book)
    holding(b, one)
    holding(c, other)
    connect(b, c)
    settle((b, c, 1))
    b.later(limits.repair_interval_s)
    c.later(limits.repair_interval_s)
    settle((b, c, 1))
    return b, c, one, other


def ends(*all_sites: Site) -> list[dict[bytes, Head]]:
    return [dict(site.core.frozen) for site in all_sites]


@pytest.mark.parametrize(
    ("shared", "more", "others"), [(0, 1, 1), (1, 1, 1), (1, 3, 1), (1, 1, 3), (5, 40, 2), (122, 180, 250), (300, 1, 1)]
)
def test_the_log_ends_everywhere_where_its_copies_part(shared: int, more: int, others: int) -> None:
    b, c, one, _ = meeting(shared, more, others)
    end = one.commits[shared - 1].head if shared else NOTHING
    assert ends(b, c) == [{one.log: end}] * 2
    assert b.core.stored.head(one.log) == c.core.stored.head(one.log) == end
    assert b.core.stored.digest() == c.core.stored.digest(), "so that contents can be compared again (L5)"
    assert b.alarms() == c.alarms() == ["fork"]
    assert b.core.arrived == shared + more, "what is on disk stays there"
    assert b.closed == c.closed == {}, "whoever passes a fork on is not to blame"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 150), st.integers(1, 150), st.integers(1, 150))
def test_any_fork_is_found_at_its_place(shared: int, more: int, others: int) -> None:
    b, c, one, _ = meeting(shared, more, others)
    assert ends(b, c) == [{one.log: one.commits[shared - 1].head if shared else NOTHING}] * 2


def test_whoever_has_neither_branch_takes_what_is_common() -> None:
    b, _, one, _ = meeting(5, 2, 3)
    d = Site("d", b.book.copy())
    connect(b, d, 7)
    settle((b, d, 7))
    assert d.core.stored.head(one.log) == one.commits[4].head
    assert d.core.frozen == b.core.frozen
    third = one.commit()
    d.greet(8, "c", (one.log, third.head))
    d.hear(8, commits(*one.commits[5:]))
    assert d.core.stored.sequence(one.log) == 5
    for _ in range(5):
        d.later(limits.feed_stall_s)
    asked = [said for said in d.said(8) if isinstance(said, messages.Feed)]
    assert not any(log == one.log for said in asked for log, _ in said.cursors), "nobody is asked for what counts not"


def test_what_depends_on_a_branch_flows_on() -> None:
    b, c, _, other = meeting(1, 2, 2)
    d = Author("d", b.book.practice, c.book.heads)
    seen = d.commit({other.log: other.head})
    b.greet(5, "d", (d.log, d.head))
    b.hear(5, commits(seen))
    assert b.core.stored.head(d.log) == d.head, "though b never had that branch"


def test_what_waited_for_a_branch_flows_when_the_fork_is_known() -> None:
    _, b, c, _ = sites("a", "b", "c", "d")
    one, other = forked(1, 1, 3, book=b.book)
    holding(b, one)
    holding(c, other)
    d = Author("d", b.book.practice, b.book.heads)
    b.greet(5, "c", (d.log, Head(1, d.commit({other.log: other.head}).hash)))
    b.hear(5, commits(*d.commits))
    assert d.log not in b.core.stored
    connect(b, c, 1)
    settle((b, c, 1))
    assert b.core.stored.head(d.log) == d.head


def test_a_restart_keeps_it() -> None:
    b, _, one, _ = meeting(4, 3, 2)
    again = Replica(
        practice=b.book.practice,
        replica=b.core.id,
        membership=b.book,
        verify=people.verify,
        frontier={one.log: one.head},
        boots={one.log: None},
    )
    assert again.stored.head(one.log) == one.commits[3].head
    assert again.arrived == 7
    assert again.frozen == b.core.frozen


def test_what_is_being_stored_when_the_fork_is_shown_counts_no_further_than_its_end() -> None:
    _, b, c = sites("a", "b", "c")
    one, other = forked(2, 2, 2, book=b.book)
    b.greet(2, "c")
    b.hear(2, messages.Credit(2**20), messages.Feed(((one.log, 1),)))
    b.greet(1, "a", (one.log, one.head))
    b.hold = True
    b.hear(1, commits(*one.commits))
    b.hear(1, messages.Records((membership.fork(people.signer("c"), c.book.at("c"), proof(one, other, 2)),)))
    b.hold = False
    b.work()
    assert b.core.frozen == {one.log: one.commits[1].head}
    assert b.core.stored.head(one.log) == one.commits[1].head and b.core.arrived == 4
    told = [commit for said in b.said(2) if isinstance(said, messages.Commits) for commit in said.commits]
    assert [commit.header.sequence for commit in told] == [1, 2]


def test_of_a_message_that_goes_beyond_the_end_only_what_counts_is_taken() -> None:
    _, b, c = sites("a", "b", "c")
    one, other = forked(2, 2, 2, book=b.book)
    b.greet(1, "a", (one.log, one.head))
    b.hear(1, messages.Records((membership.fork(people.signer("c"), c.book.at("c"), proof(one, other, 2)),)))
    b.hear(1, commits(*one.commits))
    assert b.closed == {} and b.core.stored.head(one.log) == one.commits[1].head
    assert b.stored() == [(one.log, 1), (one.log, 2)], "nothing is kept that counts nowhere"


def test_our_own_log_is_taken_from_nobody() -> None:
    b, _ = sites("b", "c")
    run = b.write(2)
    clone = Author("b", b.book.practice, b.book.heads, commits=run)
    b.greet(1, "c")
    b.hear(1, commits(clone.commit(size=41)))
    assert b.stored() == [(clone.log, 1), (clone.log, 2)] and b.closed == {}
    assert b.core.stored.head(clone.log) == run[1].head


def test_an_earlier_place_that_is_shown_later_counts() -> None:
    b, c, one, _ = meeting(6, 2, 2)
    earlier = Author("a", b.book.practice, b.book.heads, commits=one.commits[:2])
    earlier.commit(size=42)
    proof = fork_proof(people.sig_of("a"), _branch(one.commits[2]), _branch(earlier.commits[2]))
    b.hear(1, messages.Records((membership.fork(people.signer("c"), c.book.at("c"), proof),)))
    assert b.core.frozen == {one.log: one.commits[1].head}
    assert b.core.stored.sequence(one.log) == 2


def test_our_own_log_is_followed_by_a_new_boot() -> None:
    b, c, *_ = sites("b", "c", "d")
    run = b.write(3)
    clone = Author("b", b.book.practice, b.book.heads, commits=run[:1])
    clone.commit(size=41)
    clone.commit(size=41)
    holding(c, clone)
    connect(b, c)
    settle((b, c, 1))
    assert c.core.frozen == b.core.frozen == {clone.log: run[0].head}
    assert any(isinstance(effect, effects.NewBoot) for effect in b.seen)
    assert b.core.log is None


# -- lies -------------------------------------------------------------------------------------------------------------


def liar() -> tuple[Site, Author, Author]:
    _, b = sites("a", "b", "c")[:2]
    one, other = forked(2, 2, 2, book=b.book)
    holding(b, one)
    b.greet(1, "c")
    b.said(1)
    return b, one, other


def test_a_claim_alone_freezes_nothing_and_who_does_not_show_it_is_given_up() -> None:
    b, one, other = liar()
    b.hear(1, messages.Have(((one.log, other.head),), False))
    assert [said.log for said in b.said(1) if isinstance(said, messages.WantHeads)] == [one.log]
    for _ in range(13):
        b.hear(1, messages.Pong(0))
        b.later(limits.repair_interval_s)
    assert 1 in b.closed and "does not show" in b.closed[1]
    assert b.core.frozen == {} and b.alarms() == []
    assert b.core.stored.head(one.log) == one.head


def test_who_claims_other_commits_and_shows_ours_is_given_up() -> None:
    b, one, other = liar()
    b.hear(1, messages.Have(((one.log, other.head),), False))
    b.hear(1, messages.Heads(one.log, tuple((c.header_bytes, c.signature) for c in one.commits)))
    assert "than it shows" in b.closed[1]
    assert b.core.frozen == {}


def test_who_shows_what_nobody_signed_is_given_up() -> None:
    b, one, _ = liar()
    forged = Author("a", b.book.practice, b.book.heads, commits=one.commits[:2])
    forged.commit(size=43, forged=True)
    forged.commit(size=43, forged=True)
    b.hear(1, messages.Have(((one.log, forged.head),), False))
    shown = tuple((c.header_bytes, c.signature) for c in forged.commits)
    b.hear(1, messages.Heads(one.log, shown), messages.Heads(one.log, shown))
    assert "not signed" in b.closed[1]
    assert b.core.frozen == {}


@pytest.mark.parametrize("at", [3, 4], ids=["in the place of the last one", "behind another last one"])
def test_a_made_up_commit_in_front_of_a_signed_one_begins_no_search(at: int) -> None:
    """Only what is signed, or chained to what is, tells of a fork: else anybody could make any log suspect (L6)."""
    b, one, other = liar()
    made_up = Author("a", b.book.practice, b.book.heads, commits=other.commits[:at])
    made_up.commit(size=50, forged=True)
    b.hear(1, commits(made_up.commits[-1], one.commit()))
    assert b.closed[1].startswith("BadSignature: a commit does not continue its log")
    assert b.said(1) == [] and b.core.frozen == {}


@pytest.mark.parametrize("at", [3, 4], ids=["in the place of the last one", "behind another last one"])
def test_other_commits_that_come_begin_a_search(at: int) -> None:
    b, one, other = liar()
    other.commit()
    b.hear(1, commits(other.commits[at]))
    assert b.closed == {} and b.core.stored.head(one.log) == one.head
    assert [said.log for said in b.said(1) if isinstance(said, messages.WantHeads)] == [one.log]


def test_headers_that_differ_and_then_agree_end_the_link() -> None:
    b, one, other = liar()
    b.hear(1, messages.Have(((one.log, other.head),), False))
    forged = Author("a", b.book.practice, b.book.heads, commits=one.commits[:1])
    forged.commit(size=43, forged=True)
    shown = [forged.commits[0], forged.commits[1], one.commits[2], other.commits[3]]
    b.hear(1, messages.Heads(one.log, tuple((c.header_bytes, c.signature) for c in shown)))
    assert "no chain" in b.closed[1] and b.core.frozen == {}


def test_a_fork_that_no_record_can_hold_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    b, one, other = liar()
    monkeypatch.setattr(limits, "membership_record_bytes_max", 8 * 1024 + 200)
    b.hear(1, messages.Have(((one.log, other.head),), False))
    shown = tuple((c.header_bytes, c.signature) for c in other.commits)
    b.hear(1, messages.Heads(one.log, shown), messages.Heads(one.log, shown))
    assert "TooLarge" in b.closed[1] and b.core.forks_due() == []


def test_headers_of_another_log_end_the_link() -> None:
    b, one, other = liar()
    b.hear(1, messages.Have(((one.log, other.head),), False))
    foreign = Author("c", b.book.practice, b.book.heads).commit()
    b.hear(1, messages.Heads(one.log, ((foreign.header_bytes, foreign.signature),)))
    assert 1 in b.closed


def test_a_branch_that_is_signed_further_on() -> None:
    _, b, c = sites("a", "b", "c")
    one, _ = forked(2, 3, 0, book=b.book)
    other = Author("a", b.book.practice, b.book.heads, commits=one.commits[:2])
    other.commit(size=41, forged=True)
    other.commit(size=41)
    holding(b, one)
    holding(c, other)
    connect(b, c)
    settle((b, c, 1))
    assert ends(b, c) == [{one.log: one.commits[1].head}] * 2


# -- proofs -----------------------------------------------------------------------------------------------------------


def _branch(*run: Commit) -> Branch:
    return Branch(tuple(commit.header_bytes for commit in run), run[-1].signature)


def proof(one: Author, other: Author, at: int) -> ForkProof:
    return fork_proof(people.sig_of(one.name), _branch(one.commits[at]), _branch(other.commits[at]))


def test_a_proof_is_the_same_whoever_makes_it() -> None:
    one, other = forked(2, 1, 1)
    assert proof(one, other, 2) == proof(other, one, 2)
    assert proof_from_items(proof_items(proof(one, other, 2))) == proof(one, other, 2)
    assert proof(one, other, 2).end == one.commits[1].head


def test_what_is_no_proof() -> None:
    one, other = forked(2, 2, 2)
    sig = people.sig_of("a")
    with pytest.raises(Malformed, match="one commit"):
        fork_proof(sig, _branch(one.commits[2]), _branch(one.commits[2]))
    with pytest.raises(Malformed, match="part before"):
        fork_proof(sig, _branch(one.commits[3]), _branch(other.commits[3]))
    with pytest.raises(Malformed, match="one place"):
        fork_proof(sig, _branch(one.commits[3]), _branch(other.commits[2]))
    with pytest.raises(Malformed, match="follow each other"):
        fork_proof(sig, _branch(one.commits[2], other.commits[3]), _branch(other.commits[2]))
    with pytest.raises(Malformed, match="signing key"):
        fork_proof(people.sig_of("b"), _branch(one.commits[2]), _branch(other.commits[2]))


@pytest.mark.parametrize(
    ("place", "item", "reason"),
    [
        ((0,), bytes(31), "fork signing key: not 32 bytes"),
        ((1,), b"branch", "not headers and a signature"),
        ((1,), [[b"header"]], "not headers and a signature"),
        ((1, 0), [], "without headers"),
        ((1, 0), ["header"], "without headers"),
        ((1, 0), [b"x"] * (limits.fork_chain_max + 1), "fork headers: not a list of at most"),
        ((2, 1), bytes(63), "fork signature"),
        ((2, 0), [b"x"], "commit header"),
    ],
)
def test_each_other_form_of_a_proof_is_refused(place: tuple[int, ...], item: object, reason: str) -> None:
    one, other = forked(2, 1, 1)
    items = proof_items(proof(one, other, 2))
    *way, last = place
    inside = items
    for step in way:
        inside = inside[step]
    inside[last] = item
    with pytest.raises(PeerError, match=reason):
        proof_from_items(items)


def test_membership_takes_no_proof_that_the_author_has_not_signed() -> None:
    book = people.practice("b", "c")
    one, _ = forked(1, 1, 0, book=book)
    other = Author("a", book.practice, book.heads, commits=one.commits[:1])
    other.commit(size=41, forged=True)
    with pytest.raises(BadSignature, match="not signed by the log"):
        book.add(membership.fork(people.signer("b"), book.at("b"), proof(one, other, 1)))
    assert book.state().frozen == {}


def test_membership_takes_no_proof_of_another_practice() -> None:
    book = people.practice("b", "c")
    elsewhere = [Author("a", PracticeId(bytes(16)), book.heads) for _ in range(2)]
    for size, author in enumerate(elsewhere):
        author.commit(size=40 + size)
    with pytest.raises(Malformed, match="another practice"):
        book.add(membership.fork(people.signer("b"), book.at("b"), proof(*elsewhere, 0)))


@pytest.mark.parametrize("earlier_first", [True, False])
def test_of_several_proofs_the_earliest_place_counts(earlier_first: bool) -> None:
    book = people.practice("b", "c")
    one, other = forked(3, 1, 1, book=book)
    third = Author("a", book.practice, book.heads, commits=one.commits[:1])
    third.commit(size=42)
    earlier = fork_proof(people.sig_of("a"), _branch(one.commits[1]), _branch(third.commits[1]))
    shown = [earlier, proof(one, other, 3)]
    for each in shown if earlier_first else reversed(shown):
        book.put(membership.fork(people.signer("b"), book.at("b"), each))
    assert book.state().frozen == {one.log: one.commits[0].head}


def test_a_proof_counts_for_ever() -> None:
    book = people.practice("b", "c")
    one, other = forked(3, 1, 1, book=book)
    apart = book.copy()
    book.put(membership.fork(people.signer("b"), book.at("b"), proof(one, other, 3)))
    apart.removes("a", "b", readers="ac")
    state = people.every_order(book, apart)
    assert state.active(people.replica("b")) is None
    assert state.frozen == {one.log: one.commits[2].head}, "its bytes prove it, whoever brought it"


def test_who_has_cut_a_forked_log_meanwhile_is_not_given_up_for_not_showing_it() -> None:
    """Found by seed 3703: the search went on although it was known already where the log ends."""
    b, one, other = liar()
    b.hear(1, messages.Have(((one.log, other.head),), False))
    b.core._core.frozen[one.log] = Head(0, NO_HASH)
    for _ in range(13):
        b.hear(1, messages.Pong(0))
        b.later(limits.repair_interval_s)
    assert 1 not in b.closed
