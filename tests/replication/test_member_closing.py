"""Members that are closed: dead, but honest. Who may say so, what it makes void (nothing), and what beats it."""

from __future__ import annotations

import pytest

from crdtsync.errors import NotAMember

from .people import active, epoch_id, every_order, head, log, practice, replica


def test_a_closed_one_is_out_and_what_it_had_written_by_then_counts() -> None:
    book = practice("b", "c")
    book.closes("a", "b", 500, readers="acs", number="2", cut=3)
    state = book.state()
    gone = state.members[replica("b")]
    assert active(state) == "ac" and (gone.active, gone.closed_at) == (False, 500)
    assert gone.links and not gone.reader and not gone.administers
    assert state.cuts == {log("b"): head(3)}, "what the admin had accepted is attested"
    assert state.sealing_epoch() == epoch_id("2"), "the next epoch came with it"
    assert state.members[replica("c")].closed_at is None


def test_who_is_removed_may_not_connect_and_who_belongs_may() -> None:
    book = practice("b", "c")
    book.removes("a", "b")
    state = book.state()
    assert not state.members[replica("b")].links and state.members[replica("c")].links


@pytest.mark.parametrize(("role", "admin"), [("site", False), ("workstation", True), ("archive", True)])
def test_only_admin_sites_close(role: str, admin: bool) -> None:
    book = practice("b")
    book.adds("a", "c", role, admin)
    book.closes("c", "b", 500)
    assert book.names() == "abc" and epoch_id("c/b") not in book.state().epochs
    book.closes("sheet", "b", 500)
    assert book.names() == "ac", "the recovery identity does as well"


def test_closing_somebody_who_never_was_there_has_no_effect() -> None:
    book = practice("b")
    book.closes("a", "c", 500)
    book.adds("a", "c")
    assert book.names() == "abc"


def test_what_the_closed_one_did_unseen_holds_in_every_order() -> None:
    """It is honest: nothing of it is void."""
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.closes("a", "b", 500, readers="ac")
    b.addresses("b", "b.example:1")
    b.adds("b", "d")
    b.attests("b", "a", 7)
    state = every_order(a, b)
    assert active(state) == "acd"
    assert state.members[replica("b")].addresses == ("b.example:1",)


def test_who_has_seen_its_closing_writes_nothing_more() -> None:
    book = practice("b")
    book.closes("a", "b", 500)
    with pytest.raises(NotAMember, match="no active member when it was written"):
        book.addresses("b", "b.example:1")


@pytest.mark.parametrize("first", ["remove", "close"])
def test_a_removal_wins_over_a_closing_also_one_that_came_before(first: str) -> None:
    book = practice("b", "c")
    for what in (first, "close" if first == "remove" else "remove"):
        if what == "remove":
            book.removes("a", "b", cut=2)
        else:
            book.closes("a", "b", 500, cut=1)
    gone = book.state().members[replica("b")]
    assert (gone.active, gone.closed_at, gone.links) == (False, None, False)
    assert book.state().cuts == {log("b"): head(2)}


def test_a_removal_unseen_beside_a_closing_wins_in_every_order() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.closes("a", "b", 500, readers="ac")
    c.removes("c", "b", readers="ac", cut=4)
    state = every_order(a, c)
    assert active(state) == "ac" and state.members[replica("b")].closed_at is None
    assert state.cuts == {log("b"): head(4)}


def test_of_two_closings_the_latest_stamp_counts_in_every_order() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.closes("a", "b", 500, readers="ac")
    c.closes("c", "b", 300, readers="ac")
    c.addresses("c", "c.example:1")
    assert every_order(a, c).members[replica("b")].closed_at == 500


def test_two_that_close_each_other_are_both_closed_in_every_order() -> None:
    base = practice("b", "c")
    a, b, c = base.copy(), base.copy(), base.copy()
    a.closes("a", "b", 500)
    b.closes("b", "a", 600)
    c.addresses("c", "c.example:1")
    state = every_order(a, b, c)
    assert active(state) == "c"
    assert [state.members[replica(name)].closed_at for name in "ab"] == [600, 500]
    assert state.sealing_epoch() is None, "the one who remains makes the next one"


def test_a_closing_by_somebody_who_is_being_removed_is_void() -> None:
    """Only removals stand whoever signs them: else a thief could not be stopped by removing him."""
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.removes("a", "c", readers="ab")
    c.closes("c", "b", 500)
    state = every_order(a, c)
    assert active(state) == "ab" and state.members[replica("b")].closed_at is None
    assert state.epochs[epoch_id("c/b")].void


def test_what_was_written_by_one_whom_a_void_closing_had_put_out() -> None:
    """Who knew the closing could not write; who did not, wrote as a member."""
    base = practice("b", "c")
    a, b, c = base.copy(), base.copy(), base.copy()
    a.removes("a", "c", readers="ab")
    c.closes("c", "b", 500)
    b.adds("b", "d")
    state = every_order(a, b, c)
    assert active(state) == "abd"


def test_a_closed_one_comes_again_by_an_add_that_has_seen_it() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.closes("a", "b", 500, readers="ac", cut=3)
    c.adds("c", "b")
    assert active(every_order(a, c)) == "ac", "an add beside it has not seen it"
    c.meet(a)
    c.adds("c", "b")
    state = c.state()
    assert active(state) == "abc"
    assert state.members[replica("b")].closed_at is None and state.cuts == {}


def test_an_add_must_have_seen_removal_and_closing() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.closes("a", "b", 500, readers="ac")
    c.removes("c", "b", readers="ac")
    c.adds("c", "b")
    state = every_order(a, c)
    assert active(state) == "ac"
    assert state.members[replica("b")].closed_at == 500, "the removal was taken back by the add, the closing was not"


def test_the_state_of_earlier_heads_is_what_it_was() -> None:
    book = practice("b")
    before, then = book.heads, book.state()
    book.closes("a", "b", 500)
    assert book.state(before) == then and active(then) == "ab"
