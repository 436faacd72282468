"""Which branch of a replica goes on: what admins said, in every order, and what does not count (L4)."""

from __future__ import annotations

from crdtsync.replication import membership as m

from .people import every_order, head, log, practice, replica

ONE, TWO, THREE = (log("b", boot) for boot in (1, 2, 3))


def test_one_goes_on_and_the_others_end_where_the_admin_saw_them() -> None:
    book = practice("b")
    assert book.state().successions == {} and book.state().closed == {}
    book.succeeds("a", "b", 1, boot_2=5, boot_3=7)
    state = book.state()
    assert state.successions == {replica("b"): m.Succession(ONE, {TWO: head(5), THREE: head(7)})}
    assert state.closed == {TWO: head(5), THREE: head(7)}


def test_of_two_that_saw_each_other_the_later_names_the_log() -> None:
    book = practice("b")
    book.succeeds("a", "b", 1, boot_2=5)
    book.succeeds("a", "b", 2, boot_1=9)
    assert book.state().successions[replica("b")].log == TWO
    assert book.state().closed == {ONE: head(9)}, "what goes on is not closed, whatever was said before"


def test_concurrent_ones_have_one_outcome_everywhere() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.succeeds("a", "b", 1, boot_2=5, boot_3=4)
    c.succeeds("c", "b", 2, boot_1=9, boot_3=6)
    state = every_order(a, c)
    winner = state.successions[replica("b")].log
    assert winner in (ONE, TWO)
    assert state.closed == {THREE: head(6), **({TWO: head(5)} if winner == ONE else {ONE: head(9)})}


def test_ends_only_move_on() -> None:
    """An admin that had seen less signs last."""
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.succeeds("a", "b", 1, boot_2=5)
    c.succeeds("c", "b", 1, boot_2=3)
    assert every_order(a, c).closed == {TWO: head(5)}


def test_the_recovery_sheet_may_and_a_site_without_the_flag_may_not() -> None:
    book = practice("b")
    book.adds("a", "d", "site", False)
    book.succeeds("d", "b", 2, boot_1=1)
    assert book.state().successions == {}
    book.succeeds("sheet", "b", 1, boot_2=5)
    assert book.state().successions[replica("b")].log == ONE


def test_an_admin_that_is_being_removed_decides_nothing() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.removes("a", "c")
    c.succeeds("c", "b", 2, boot_1=100)
    assert every_order(a, c).successions == {}


def test_what_a_removed_admin_decided_before_holds() -> None:
    book = practice("b", "c")
    book.succeeds("c", "b", 1, boot_2=5)
    book.removes("a", "c")
    assert book.state().closed == {TWO: head(5)}


def test_the_branched_one_may_decide_for_itself() -> None:
    """It is an admin like the others: its person stands before both machines."""
    book = practice("b")
    book.succeeds("b", "b", 2, boot_1=5)
    assert book.state().closed == {ONE: head(5)}
