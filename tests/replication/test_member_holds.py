"""Holds of commits: who may sign one, that it stays, and who knew of it (L6)."""

from __future__ import annotations

import pytest

from crdtsync.errors import NotAMember
from crdtsync.ids import CommitId

from .people import Book, every_order, head, log, practice, replica


def held(name: str, sequence: int) -> CommitId:
    return CommitId(log(name), sequence)


def test_any_active_reader_holds() -> None:
    book = practice("b")
    book.adds("a", "c", admin=False)
    book.holds("c", "b", 3, "reach")
    book.holds("sheet", "a", 1)
    assert book.state().holds == {
        held("b", 3): {head(3).hash: "reach"},
        held("a", 1): {head(1).hash: "form"},
    }


@pytest.mark.parametrize("role", ["workstation", "archive"])
def test_a_member_that_reads_nothing_holds_nothing(role: str) -> None:
    book = practice("b")
    book.adds("a", "w", role, False)
    record = book.holds("w", "b", 3)
    assert book.state().holds == {}
    assert book.has(record), "it is kept and passed on all the same"


def test_who_was_removed_before_holds_nothing() -> None:
    book = practice("b", "c")
    book.removes("a", "b", readers="acs")
    with pytest.raises(NotAMember):
        book.holds("b", "c", 1)


def test_a_hold_stays_when_its_author_is_removed_later() -> None:
    book = practice("b", "c")
    book.holds("b", "c", 3)
    before = book.state().holds
    book.removes("a", "b", readers="acs")
    assert book.state().holds == before != {}


def test_a_hold_stays_when_its_author_was_being_removed() -> None:
    """Documents were derived without the commit as soon as the hold was known: nobody can take that back."""
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "b", readers="acs")
    b.holds("b", "c", 3)
    state = every_order(a, b)
    assert state.active(replica("b")) is None
    assert state.holds == {held("c", 3): {head(3).hash: "form"}}


def test_a_hold_by_somebody_whom_only_a_void_add_let_in_stays_too() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "b", readers="acs")
    b.adds("b", "d")
    b.holds("d", "c", 3)
    assert held("c", 3) in every_order(a, b).holds


def test_of_several_for_one_commit_the_first_gives_the_word_and_no_hash_hides_another() -> None:
    base = practice("b", "c")
    a, b, c = base.copy(), base.copy(), base.copy()
    a.holds("a", "c", 3, "reach")
    b.holds("b", "c", 3, "library")
    c.holds("c", "c", 3, "form", branch="another commit")
    words = every_order(a, b, c).holds[held("c", 3)]
    assert words.keys() == {head(3).hash, head(3, "another commit").hash}
    assert words[head(3).hash] in ("reach", "library")


def test_the_state_of_earlier_heads_lacks_later_holds() -> None:
    book = practice("b")
    before = book.heads
    book.holds("a", "b", 3)
    assert book.state(before).holds == {} and book.state().holds != {}


def test_who_knew_of_a_hold() -> None:
    book = practice("b", "c")
    before = book.heads
    apart: Book = book.copy()
    first = book.holds("a", "b", 3)
    after = book.addresses("c", "c:1")
    elsewhere = apart.addresses("c", "c:2")
    state = every_order(book, apart)
    knew = state.held_by
    assert knew([first], held("b", 3)) and knew([after], held("b", 3)) and knew([elsewhere, after], held("b", 3))
    assert not knew(before, held("b", 3)) and not knew([elsewhere], held("b", 3)) and not knew([], held("b", 3))
    assert not knew([after], held("b", 4))
